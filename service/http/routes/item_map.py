"""`GET /map`: the catalogue as points."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from llmemb.api.item_map import MAX_MAP_POINTS, MapResponse
from service.http.dependencies import EngineDep
from service.http.json_response import JsonResponse
from service.http.openapi import problem_responses

router = APIRouter(tags=["items"])


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
