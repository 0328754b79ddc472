"""`POST /v1/embeddings` and `GET /v1/models`, compatible with OpenAI's clients.

`N` texts, `h` the LLM's width, `d` the width of item embeddings.
"""

import asyncio
import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Body, Request, Response
from numpy.typing import NDArray

from llmemb.api.embeddings import (
    ADAPTED_MODEL,
    MAX_TEXTS,
    MAX_TOKENS,
    RAW_MODEL,
    Embedding,
    EmbeddingsRequest,
    EmbeddingsResponse,
    ModelBody,
    ModelsResponse,
    Usage,
)
from llmemb.bundle import Bundle
from llmemb_service.encoding.embedder import ItemEmbedder, TextEmbedding
from llmemb_service.errors import Fault, InvalidRequestError, ModelNotFoundError
from llmemb_service.http.openapi.description import problem_responses
from llmemb_service.http.parsing.faults import raise_any, too_many
from llmemb_service.http.routes.dependencies import EngineDep, SettingsDep, unless_disconnected
from llmemb_service.settings import Settings

Array = NDArray[np.float32]

OWNER = "llmemb"
MODELS = (RAW_MODEL, ADAPTED_MODEL)
_EXAMPLES = {
    "text": {
        "summary": "Embed texts with the LLM",
        "value": {"input": ["a thriller with a heist", "a quiet drama"], "model": RAW_MODEL},
    },
    "adapted": {
        "summary": "Embed a text into the space of item embeddings",
        "value": {"input": "a thriller with a heist", "model": ADAPTED_MODEL, "encoding_format": "base64"},
    },
}

router = APIRouter(prefix="/v1", tags=["embeddings"])


@router.post(
    "/embeddings",
    summary="Embed texts, compatible with OpenAI's API",
    response_model=EmbeddingsResponse,
    responses=problem_responses(
        "invalid_json", "body_too_large", "unsupported_media_type", "invalid_request", "overloaded", "internal",
        "encoder_unavailable", "not_ready", "deadline",
    ),
)  # fmt: skip
async def embeddings(
    body: Annotated[EmbeddingsRequest, Body(openapi_examples=_EXAMPLES)],
    request: Request,
    engine: EngineDep,
    settings: SettingsDep,
) -> Response:
    """Embed texts unchanged; the service makes no prompt of them.

    With `llmemb-adapted`, the prompt of a new item gives its item embedding. Tokens after the encoder's limit are
    ignored. OpenAI's Python client requests base64 and decodes it by default.
    """
    request.state.bundle_id = engine.bundle.manifest.id
    texts = _checked_texts(body, engine.bundle, settings)
    embedded = await unless_disconnected(
        request, embed_in_parts(texts, engine.embedder, settings.max_client_batch_size)
    )
    # Writing thousands of numbers as text would block the event loop for too long.
    content = await asyncio.to_thread(_answer, body, engine.bundle, embedded)
    return Response(content, media_type="application/json")


@router.get("/models", summary="List the models of /v1/embeddings", responses=problem_responses("internal"))
async def models(engine: EngineDep) -> ModelsResponse:
    """List the two models, both of the current bundle."""
    return ModelsResponse(data=[_model(name, engine.bundle) for name in MODELS])


@router.get(
    "/models/{model}",
    summary="A model of /v1/embeddings",
    responses=problem_responses("model_not_found", "internal"),
)
async def read_model(model: str, engine: EngineDep) -> ModelBody:
    """Return one of the two models.

    Raises:
        ModelNotFoundError: there is no model of this name.
    """
    if model not in MODELS:
        raise ModelNotFoundError(model, MODELS)
    return _model(model, engine.bundle)


def _model(name: str, bundle: Bundle) -> ModelBody:
    created = int(datetime.fromisoformat(bundle.manifest.provenance.created_at).timestamp())
    return ModelBody(id=name, created=created, owned_by=OWNER)


def _checked_texts(body: EmbeddingsRequest, bundle: Bundle, settings: Settings) -> list[str]:
    """Validate and return the texts of a request.

    Raises:
        InvalidRequestError: there are no or too many texts, one is empty, too long or not valid Unicode, or the model
            has other dimensions than requested.
    """
    texts = [body.input] if isinstance(body.input, str) else body.input
    if not texts:
        raise InvalidRequestError([Fault(("body", "input"), "must have at least one text", "too_short")])
    if len(texts) > MAX_TEXTS:
        raise too_many("input", len(texts), MAX_TEXTS)
    faults: list[Fault] = []
    for i, text in enumerate(texts):
        loc: tuple[str | int, ...] = ("body", "input") if isinstance(body.input, str) else ("body", "input", i)
        faults += _text_faults(loc, text, settings.max_value_characters)
    width = bundle.manifest.encoder.width if body.model == RAW_MODEL else bundle.manifest.dim
    if body.dimensions is not None and body.dimensions != width:
        message = (
            f"embeddings of {body.model} have {width} dimensions, which are not ordered by variance, so they cannot be "
            f"cut; send {width} or leave `dimensions` out"
        )
        faults.append(Fault(("body", "dimensions"), message, "wrong_width"))
    raise_any(faults)
    return list(texts)


async def embed_in_parts(texts: Sequence[str], embedder: ItemEmbedder, part_size: int) -> list[TextEmbedding]:
    """Embed texts in parts, one after another, so that a long request leaves room in the encoder's queue.

    Args:
        texts: any number.
        embedder: of the bundle.
        part_size: maximum number of texts of a part.

    Raises:
        InvalidRequestError: the texts have more than `MAX_TOKENS` tokens. The tokens of a part are known after it was
            embedded, so up to a part more may have been computed.
    """
    embedded: list[TextEmbedding] = []
    tokens = 0
    for start in range(0, len(texts), part_size):
        part = await embedder.embed_texts(texts[start : start + part_size])
        tokens += sum(text.tokens for text in part)
        if tokens > MAX_TOKENS:
            message = (
                f"the first {start + len(part)} of {len(texts)} texts have {tokens} tokens; the maximum is {MAX_TOKENS}"
            )
            raise InvalidRequestError([Fault(("body", "input"), message, "too_long")])
        embedded += part
    return embedded


def _text_faults(loc: tuple[str | int, ...], text: str, maximum: int) -> list[Fault]:
    if not text:
        return [Fault(loc, "must not be empty", "too_short")]
    if len(text) > maximum:
        return [Fault(loc, f"has {len(text)} characters; the maximum is {maximum}", "too_long")]
    try:
        text.encode()
    except UnicodeEncodeError:
        return [Fault(loc, "is not valid Unicode: it has half a surrogate pair", "not_unicode")]
    return []


def _answer(body: EmbeddingsRequest, bundle: Bundle, embedded: Sequence[TextEmbedding]) -> bytes:
    vectors = np.stack([text.raw for text in embedded])  # (N, h)
    if body.model == ADAPTED_MODEL:
        space = bundle.space
        vectors = space.item_vectors(space.semantic_vectors(vectors), None)[:, : space.dim]  # (N, d)
    tokens = sum(text.tokens for text in embedded)
    answer = EmbeddingsResponse(
        data=[Embedding(index=i, embedding=_written(vector, body.encoding_format)) for i, vector in enumerate(vectors)],
        model=body.model,
        usage=Usage(prompt_tokens=tokens, total_tokens=tokens),
        bundle_id=bundle.manifest.id,
    )
    return answer.model_dump_json().encode()


def _written(vector: Array, encoding_format: str) -> list[float] | str:
    if encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    numbers: list[float] = vector.tolist()
    return numbers
