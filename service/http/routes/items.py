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
from service.bundles.engine import Engine
from service.catalogue.search.listing import list_items
from service.catalogue.snapshot.edition import item_vectors
from service.catalogue.snapshot.snapshot import Snapshot
from service.errors import ItemNotFoundError
from service.http.openapi.description import problem_responses
from service.http.openapi.examples import EMBED_EXAMPLES, PATCH_EXAMPLES, PUT_EXAMPLES
from service.http.parsing.cursor import decode_cursor, encode_cursor
from service.http.parsing.items import check_limit, parse_items, parse_patch, parse_put
from service.http.routes.dependencies import EngineDep, SettingsDep, unless_disconnected
from service.http.routes.lean_route import ItemId, JsonResponse

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
    """Embed items, and with `index` put them in the catalogue: the next `/recommend` can return them.

    An id of the bundle keeps what its interactions taught, whatever attributes come with it. With `index`, an id that
    the catalogue holds gets the new attributes and embedding.
    """
    items = parse_items(body.items, engine.bundle.prompt, settings)
    semantic = await unless_disconnected(request, engine.embedder.embed([item.attributes for item in items]))
    vectors = [each.vector for each in semantic]
    if body.index:
        # Not cut off by a client that goes: begun is done.
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
            description="Words that an item's attributes must all hold, the last of which may be only begun; case and "
            "accents do not count. Without words all items come.",
        ),
    ] = None,
    limit: Annotated[int, Query(ge=1, description="The most items of a page.")] = 20,
    cursor: Annotated[str | None, Query(max_length=256, description="`next_cursor` of the page before.")] = None,
) -> ItemListResponse:
    """Give a page of the items that match, the best match first, by BM25; without a query, in the catalogue's order.

    Matches of the first attribute count more than those of the others, and equal matches come in the catalogue's order:
    the bundle's items first, then the added ones as they came. A page can lag a moment behind a change of an item.
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
    summary="Items like one of the catalogue",
    responses=problem_responses("item_not_found", "invalid_request", "internal", "not_ready"),
)
async def similar_items(
    item_id: ItemId,
    engine: EngineDep,
    settings: SettingsDep,
    k: Annotated[int, Query(ge=1, description="How many items; where there are fewer, all of them come.")] = 10,
) -> SimilarItemsResponse:
    """Give the available items whose embeddings are nearest to the item's, by cosine. The item itself does not come."""
    check_limit("k", k, settings)
    snapshot = engine.catalogue.snapshot
    row = _row(snapshot, item_id)
    # It reads every item's embedding.
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
    """Give an item as the catalogue has it now."""
    return _item_response(engine, item_id)


@router.put(
    "/items/{item_id}",
    summary="Add an item, or put it in place of the one with its id",
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
    """Embed an item and put it in the catalogue; it is durable when the answer comes, and can be recommended.

    404 if it was removed again before the answer.
    """
    item = parse_put(item_id, body, engine.bundle.prompt, settings)
    embedded = await unless_disconnected(request, engine.embedder.embed([item.attributes]))
    is_new = not engine.catalogue.holds(item_id)
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
    """Change what filters go by, without embedding anything; durable when the answer comes."""
    await engine.catalogue.patch(item_id, parse_patch(body), body.available)
    return _item_response(engine, item_id)


@router.delete(
    "/items/{item_id}",
    status_code=204,
    response_class=Response,
    summary="Take an item out of the catalogue",
    responses=problem_responses("item_not_found", "storage", "internal", "not_ready"),
)
async def delete_item(item_id: ItemId, engine: EngineDep) -> None:
    """Take an item out, one of the bundle too; durable when the answer comes. `PUT` brings it back."""
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
    limit: Annotated[int, Query(ge=1, le=MAX_MAP_POINTS, description="The most points that come.")] = 100_000,
) -> Response:
    """Give each item's place by the two directions in which item embeddings differ most.

    `weight` and `bias` place any other embedding of this bundle, such as one from `/embed_items`.
    """
    return JsonResponse(await engine.drawn_map.json(limit))
