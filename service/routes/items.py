"""`POST /embed_items`."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Body, Request

from service.dependencies import EngineDep, SettingsDep
from service.disconnect import unless_disconnected
from service.openapi import problem_responses
from service.parsing import parse_items
from service.schemas import EMBED_EXAMPLES, EmbedItemsRequest, EmbedItemsResponse, ItemEmbedding
from service.snapshot import item_vector

router = APIRouter(tags=["items"])


@router.post(
    "/embed_items",
    summary="Embed items by their attributes",
    responses=problem_responses(
        "invalid_json", "catalogue_full", "body_too_large", "unsupported_media_type", "invalid_request",
        "overloaded", "internal", "storage", "not_ready", "deadline",
    ),
)  # fmt: skip
async def embed_items(
    body: Annotated[EmbedItemsRequest, Body(openapi_examples=EMBED_EXAMPLES)],
    request: Request,
    engine: EngineDep,
    settings: SettingsDep,
) -> EmbedItemsResponse:
    """Embed items, and with `index` put them in the catalogue: the next `/recommend` can return them.

    An id of the bundle keeps what its interactions taught, whatever attributes come with it. With `index`, an id that
    the catalogue holds gets the new attributes and embedding.
    """
    items = parse_items(body.items, engine.bundle.prompt, settings)
    semantic = await unless_disconnected(request, engine.embedder.embed([item.attributes for item in items]))
    if body.index:
        # Not cut off by a client that goes: begun is done.
        await asyncio.to_thread(engine.catalogue.add, items, [each.vector for each in semantic])
    dim = engine.bundle.manifest.dim
    return EmbedItemsResponse(
        bundle_id=engine.bundle.manifest.id,
        dimension=dim,
        embeddings=[
            ItemEmbedding(
                id=item.id,
                embedding=item_vector(engine.bundle, item.id, each.vector)[:dim].tolist(),
                cached=each.cached,
            )
            for item, each in zip(items, semantic, strict=True)
        ],
    )
