"""Integers of request bodies are those of JSON Schema."""

import pytest
from pydantic import ValidationError

from llmemb.api.embeddings import EmbeddingsRequest
from llmemb.api.recommend import RecommendRequest


def test_a_number_without_a_fraction_is_an_integer() -> None:
    """Some languages write every number with a point."""
    assert RecommendRequest.model_validate_json('{"history": [], "k": 3.0}').k == 3
    assert (
        EmbeddingsRequest.model_validate_json('{"input": "", "model": "llmemb-raw", "dimensions": 8e0}').dimensions == 8
    )


@pytest.mark.parametrize("k", ["1.5", "true", '"1"', "NaN", "Infinity", "0.0", "-1"])
def test_anything_else_is_none(k: str) -> None:
    """Nothing is rounded or read out of a text."""
    with pytest.raises(ValidationError):
        RecommendRequest.model_validate_json(f'{{"history": [], "k": {k}}}')


def test_description_says_integer() -> None:
    """With its bound."""
    k = RecommendRequest.model_json_schema()["properties"]["k"]

    assert k["anyOf"] == [{"type": "integer", "minimum": 1}, {"type": "null"}]
    assert k["default"] == 10
