"""A long request of `/v1/embeddings` is embedded in parts, with a maximum of tokens."""

import asyncio
from collections.abc import Sequence
from typing import cast

import numpy as np
import pytest

from llmemb_service.encoding.embedder import ItemEmbedder, TextEmbedding
from llmemb_service.errors import InvalidRequestError
from llmemb_service.http.routes.embeddings import embed_in_parts


class CountingEmbedder:
    """Gives each text the vector and the number of tokens that it names."""

    def __init__(self) -> None:
        self.parts: list[int] = []

    async def embed_texts(self, texts: Sequence[str]) -> list[TextEmbedding]:
        self.parts.append(len(texts))
        return [TextEmbedding(np.array([float(text)], dtype=np.float32), int(text), False) for text in texts]


def embed(texts: Sequence[str], embedder: CountingEmbedder) -> list[TextEmbedding]:
    return asyncio.run(embed_in_parts(texts, cast(ItemEmbedder, embedder), 4))


def test_parts_keep_the_order() -> None:
    """No part is larger than the maximum."""
    embedder = CountingEmbedder()

    found = embed([str(i) for i in range(10)], embedder)

    assert [text.tokens for text in found] == list(range(10))
    assert embedder.parts == [4, 4, 2]


def test_tokens_have_a_maximum() -> None:
    """300,000 are taken; above it the parts that follow are not computed, and the message says where it was passed."""
    embedder = CountingEmbedder()

    assert len(embed(["100000"] * 3, embedder)) == 3
    with pytest.raises(InvalidRequestError) as refused:
        embed(["50000"] * 20, embedder)

    (fault,) = refused.value.faults
    assert fault.loc == ("body", "input")
    assert fault.msg == "the first 8 of 20 texts have 400000 tokens; the maximum is 300000"
    assert embedder.parts == [3, 4, 4]
