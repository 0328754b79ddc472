"""`/v1/embeddings` and `/v1/models`, in OpenAI's format."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from llmemb.api.base import INTEGRAL, NULL_IS_LEFT_OUT, RequestBody, ResponseBody

RAW_MODEL = "llmemb-raw"
ADAPTED_MODEL = "llmemb-adapted"
MAX_TEXTS = 2048
"""Texts of one request, as OpenAI has it."""
MAX_TOKENS = 300_000
"""Tokens of one request, all texts together, as OpenAI has it."""

_TEXT = {"type": "string", "minLength": 1}


def _texts_only(value: object) -> object:
    """Say of token ids what they are: the union's own faults would be one for each of them."""
    if isinstance(value, list) and not all(isinstance(entry, str) for entry in value):
        raise PydanticCustomError("not_text", "send a text or a list of texts; token ids are not taken")
    return value


TextInput = Annotated[
    str | list[str],
    BeforeValidator(_texts_only),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "minItems": 1, "maxItems": MAX_TEXTS, "items": {"type": "string", "minLength": 1}},
            ]
        }
    ),
]


class EmbeddingsRequest(RequestBody):
    """Texts to embed."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, use_attribute_docstrings=True)

    input: TextInput
    """One text, or up to 2,048, with up to 300,000 tokens together; not token ids."""
    model: Literal["llmemb-raw", "llmemb-adapted"]
    """`llmemb-raw`: the LLM's output; `llmemb-adapted`: projected into the space of item embeddings."""
    encoding_format: Annotated[Literal["float", "base64"], NULL_IS_LEFT_OUT] = "float"
    """`base64`: little-endian float32."""
    dimensions: Annotated[int, Field(ge=1), INTEGRAL] | None = None
    """Only the model's own width: its dimensions are not ordered by variance, so they cannot be cut."""


class Embedding(ResponseBody):
    """One text's embedding."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class Usage(ResponseBody):
    """Tokens read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsResponse(ResponseBody):
    """Embeddings in the order of the texts."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage
    bundle_id: str


class ModelBody(ResponseBody):
    """A model that `/v1/embeddings` accepts."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelsResponse(ResponseBody):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[ModelBody]
