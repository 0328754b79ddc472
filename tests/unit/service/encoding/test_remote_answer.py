import base64
import json

import numpy as np
import pytest

from llmemb_service.encoding.remote import read_answer


def entry(index: int, embedding: object) -> dict[str, object]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def written(*entries: dict[str, object], **members: object) -> bytes:
    return json.dumps({"object": "list", "data": entries, **members}).encode()


def test_answer_in_numbers_or_base64_comes_in_the_order_of_the_prompts() -> None:
    """By index, whatever order the server sends; the tokens of all are shared out evenly."""
    encoded = base64.b64encode(np.array([3.0, 4.0], dtype="<f4").tobytes()).decode()
    content = written(entry(1, encoded), entry(0, [1, 2.5]), usage={"prompt_tokens": 7, "total_tokens": 7})

    first, second = read_answer(content, 2)

    assert first.vector.tolist() == [1.0, 2.5]
    assert second.vector.tolist() == [3.0, 4.0]
    assert (first.tokens, second.tokens) == (4, 3)


def test_answer_without_usage_counts_no_tokens() -> None:
    """Some servers leave it out."""
    assert read_answer(written(entry(0, [1.0])), 1)[0].tokens == 0


@pytest.mark.parametrize(
    "content",
    [
        b"<html>busy</html>",
        b"{}",
        written(),
        written(entry(1, [1.0])),
        written(entry(0, [1.0]), entry(0, [1.0])),
        written(entry(0, "!!!!")),
        written(entry(0, "AAA=")),
        written(entry(0, base64.b64encode(np.array([np.nan], dtype="<f4").tobytes()).decode())),
        written(entry(0, ["a secret text"])),
    ],
)
def test_answer_that_is_none_is_refused_without_its_content(content: bytes) -> None:
    """A server may send anything, and its text has no place in our messages."""
    with pytest.raises(ValueError, match=r"^(no valid list|\d embeddings|embeddings that)") as refused:
        read_answer(content, 1)
    assert "secret" not in str(refused.value)
