"""`/embed_items`, `/items` and `/map`."""

import asyncio
from typing import Annotated

import numpy as np
from fastapi import APIRouter, Body, Query, Request, Response

from llmemb.api.items import (
    MAX_MAP_POINTS,
    EmbedItemsRequest,
    EmbedItemsResponse,
    ItemEmbedding,
    ItemListResponse,
    ItemResponse,
    ListedItem,
    MapResponse,
    PatchItemRequest,
    PutItemRequest,
    SimilarItem,
    SimilarItemsResponse,
)
from llmemb.api.recommend import Filters
from llmemb_service.bundles.engine import Engine
from llmemb_service.catalogue.search.listing import list_items
from llmemb_service.catalogue.snapshot.edition import item_vectors
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.errors import ItemNotFoundError
from llmemb_service.http.openapi.description import problem_responses
from llmemb_service.http.openapi.examples import EMBED_EXAMPLES, PATCH_EXAMPLES, PUT_EXAMPLES
from llmemb_service.http.parsing.cursor import decode_cursor, encode_cursor
from llmemb_service.http.parsing.items import check_limit, parse_items, parse_patch, parse_put
from llmemb_service.http.routes.dependencies import EngineDep, SettingsDep, unless_disconnected
from llmemb_service.http.routes.lean_route import ItemId, JsonResponse

router = APIRouter(tags=["items"])

_BODY = ("invalid_json", "body_too_large", "unsupported_media_type", "invalid_request")
_EMBEDDING = ("overloaded", "encoder_unavailable", "deadline")
_WRITING = ("catalogue_full", "storage")


@router.post(
    "/embed_items",
    summary="Embed items by their attributes",
    responses=problem_responses(*_BODY, *_EMBEDDING, *_WRITING, "internal", "not_ready"),
)
async def embed_items(
    body: Annotated[EmbedItemsRequest, Body(openapi_examples=EMBED_EXAMPLES)],
    request: Request,
    engine: EngineDep,
    settings: SettingsDep,
) -> EmbedItemsResponse:
    """Embed items and, with `index`, add them to the catalogue: the next `/recommend` can return them.

    An item of the bundle keeps its collaborative residual, even with new attributes. With `index`, an item that is
    already in the catalogue gets the new attributes and embedding.
    """
    items = parse_items(body.items, engine.bundle.prompt, settings)
    semantic = await unless_disconnected(request, engine.embedder.embed([item.attributes for item in items]))
    vectors = [each.vector for each in semantic]
    if body.index:
        # Not cancelled by a disconnect: a write that has begun must finish.
        await engine.catalogue.put(items, vectors)
    dim = engine.bundle.manifest.dim
    embeddings = item_vectors(engine.bundle, [item.id for item in items], np.stack(vectors))[:, :dim]
    return EmbedItemsResponse(
        bundle_id=engine.bundle.manifest.id,
        dimension=dim,
        embeddings=[
            ItemEmbedding(id=item.id, embedding=embedding, cached=each.cached)
            for item, each, embedding in zip(items, semantic, embeddings.tolist(), strict=True)
        ],
    )


@router.get(
    "/items",
    summary="Search the catalogue, or list it",
    responses=problem_responses("invalid_request", "overloaded", "internal", "not_ready"),
)
async def search_items(
    engine: EngineDep,
    settings: SettingsDep,
    query: Annotated[
        str | None,
        Query(
            max_length=256,
            description="An item matches if its attributes contain all words, the last one as a prefix; case and "
            "accents are ignored. Without words, all items are listed.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, description="Maximum number of items of a page.")] = 20,
    cursor: Annotated[str | None, Query(max_length=256, description="`next_cursor` of the previous page.")] = None,
) -> ItemListResponse:
    """Return a page of the matching items, the best match first, by BM25; without a query, in the catalogue's order.

    Matches in the first attribute have a higher weight. Equal matches are in the catalogue's order: the bundle's items
    first, then the added ones in the order of their addition. A page can lag a moment behind a change of an item.
    """
    check_limit("limit", limit, settings)
    bundle_id = engine.bundle.manifest.id
    page = await list_items(engine.catalogue, query, decode_cursor(cursor, bundle_id, query), limit)
    return ItemListResponse(
        bundle_id=bundle_id,
        items=[_listed(page.snapshot, row) for row in page.rows],
        next_cursor=None if page.end is None else encode_cursor(page.end, bundle_id, query),
    )


@router.get(
    "/items/{item_id}/similar",
    summary="Items similar to one of the catalogue",
    responses=problem_responses("item_not_found", "invalid_request", "internal", "not_ready"),
)
async def similar_items(
    item_id: ItemId,
    engine: EngineDep,
    settings: SettingsDep,
    k: Annotated[int, Query(ge=1, description="Maximum number of items.")] = 10,
) -> SimilarItemsResponse:
    """Return the available items with the nearest embeddings, by cosine, without the item itself."""
    check_limit("k", k, settings)
    snapshot = engine.catalogue.snapshot
    row = _row(snapshot, item_id)
    # In a thread, because the search reads every item's embedding.
    hits = await asyncio.to_thread(lambda: snapshot.similar(row, k, snapshot.selection(Filters(), ())))
    return SimilarItemsResponse(
        bundle_id=engine.bundle.manifest.id,
        items=[
            SimilarItem(id=snapshot.item_id(other), similarity=score, attributes=_attributes(snapshot, other))
            for other, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)
        ],
    )


@router.get(
    "/items/{item_id}",
    summary="An item of the catalogue",
    responses=problem_responses("item_not_found", "internal", "not_ready"),
)
async def get_item(item_id: ItemId, engine: EngineDep) -> ItemResponse:
    """Return an item of the catalogue."""
    return _item_response(engine, item_id)


@router.put(
    "/items/{item_id}",
    summary="Add or replace an item",
    responses={
        201: {"model": ItemResponse, "description": "The item is new."},
        **problem_responses(*_BODY, *_EMBEDDING, *_WRITING, "item_not_found", "internal", "not_ready"),
    },
)
async def put_item(
    item_id: ItemId,
    body: Annotated[PutItemRequest, Body(openapi_examples=PUT_EXAMPLES)],
    request: Request,
    response: Response,
    engine: EngineDep,
    settings: SettingsDep,
) -> ItemResponse:
    """Embed an item and add it to the catalogue, or replace the one with its id.

    When the service answers, the item is durable and can be recommended. The status is 404 if the item was removed
    again before the answer.
    """
    item = parse_put(item_id, body, engine.bundle.prompt, settings)
    embedded = await unless_disconnected(request, engine.embedder.embed([item.attributes]))
    is_new = not engine.catalogue.contains(item_id)
    await engine.catalogue.put([item], [embedded[0].vector])
    response.status_code = 201 if is_new else 200
    return _item_response(engine, item_id)


@router.patch(
    "/items/{item_id}",
    summary="Change an item's categories or availability",
    responses=problem_responses(*_BODY, "item_not_found", "storage", "internal", "not_ready"),
)
async def patch_item(
    item_id: ItemId, body: Annotated[PatchItemRequest, Body(openapi_examples=PATCH_EXAMPLES)], engine: EngineDep
) -> ItemResponse:
    """Change the values that filters use, without a new embedding. The change is durable when the service answers."""
    await engine.catalogue.patch(item_id, parse_patch(body), body.available)
    return _item_response(engine, item_id)


@router.delete(
    "/items/{item_id}",
    status_code=204,
    response_class=Response,
    summary="Remove an item from the catalogue",
    responses=problem_responses("item_not_found", "storage", "internal", "not_ready"),
)
async def delete_item(item_id: ItemId, engine: EngineDep) -> None:
    """Remove an item, also one of the bundle. The removal is durable when the service answers; `PUT` adds it again."""
    await engine.catalogue.remove(item_id)


def _row(snapshot: Snapshot, item_id: str) -> int:
    row = snapshot.row(item_id)
    if row is None:
        raise ItemNotFoundError(item_id)
    return row


def _item_response(engine: Engine, item_id: str) -> ItemResponse:
    snapshot = engine.catalogue.snapshot
    listed = _listed(snapshot, _row(snapshot, item_id))
    return ItemResponse(bundle_id=engine.bundle.manifest.id, **dict(listed))


def _listed(snapshot: Snapshot, row: int) -> ListedItem:
    return ListedItem(
        id=snapshot.item_id(row),
        attributes=_attributes(snapshot, row),
        categories=list(snapshot.categories(row)),
        available=snapshot.available(row),
        source=snapshot.source(row),
    )


def _attributes(snapshot: Snapshot, row: int) -> dict[str, str | list[str]]:
    attributes = snapshot.attributes(row)
    return {name: value if isinstance(value, str) else list(value) for name, value in attributes.items()}


@router.get(
    "/map",
    summary="The catalogue as points on a map",
    response_model=MapResponse,
    responses=problem_responses("invalid_request", "internal", "not_ready"),
)
async def item_map(
    engine: EngineDep,
    limit: Annotated[int, Query(ge=1, le=MAX_MAP_POINTS, description="Maximum number of points.")] = 100_000,
) -> Response:
    """Return each item's position on a map on which items with similar embeddings are near each other.

    An item that was added later is at the median position of its nearest neighbours in the bundle.
    """
    return JsonResponse(await engine.map_cache.json(limit))
