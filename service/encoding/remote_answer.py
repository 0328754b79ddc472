"""What a server of `/v1/embeddings` answers, read with care: it is somebody else's."""

import base64

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from service.encoding.prompt_encoder import RawEmbedding

Array = NDArray[np.float32]


class _Entry(BaseModel):
    index: int
    embedding: list[float] | str

    def vector(self) -> Array:
        if isinstance(self.embedding, str):
            return np.frombuffer(base64.b64decode(self.embedding, validate=True), dtype="<f4")
        return np.array(self.embedding, dtype=np.float32)


class _Usage(BaseModel):
    prompt_tokens: int = Field(default=0, ge=0)


class _Answer(BaseModel):
    data: list[_Entry]
    usage: _Usage = _Usage()


def read_answer(content: bytes, number: int) -> list[RawEmbedding]:
    """Return the embeddings of `number` prompts, in their order.

    The server counts the tokens of all prompts together; each is given an even share of them.

    Raises:
        ValueError: it is no such answer, or to another number of prompts; the message holds nothing of it.
    """
    try:
        answer = _Answer.model_validate_json(content)
    except ValidationError:
        raise ValueError("what is no answer with embeddings") from None
    entries = sorted(answer.data, key=lambda entry: entry.index)
    if [entry.index for entry in entries] != list(range(number)):
        raise ValueError(f"{len(entries)} embeddings for {number} texts, or wrongly numbered")
    try:
        vectors = [entry.vector() for entry in entries]
    except ValueError:
        raise ValueError("embeddings that are not float32 in base64") from None
    if not all(np.isfinite(vector).all() for vector in vectors):
        raise ValueError("embeddings that are not finite")
    share, rest = divmod(answer.usage.prompt_tokens, number)
    return [RawEmbedding(vector, share + (i < rest)) for i, vector in enumerate(vectors)]
