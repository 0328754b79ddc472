"""`POST /recommend`."""

from typing import Annotated

from fastapi import APIRouter, Body, Request

from service.dependencies import EngineDep, SettingsDep
from service.disconnect import unless_disconnected
from service.openapi import problem_responses
from service.parsing import parse_history
from service.schemas import RECOMMEND_EXAMPLES, RecommendedItem, RecommendRequest, RecommendResponse

router = APIRouter(tags=["recommendations"])


@router.post(
    "/recommend",
    summary="Recommend the next items after a history",
    responses=problem_responses(
        "invalid_json", "body_too_large", "unsupported_media_type", "invalid_request", "unknown_item",
        "overloaded", "internal", "not_ready", "deadline",
    ),
)  # fmt: skip
async def recommend(
    body: Annotated[RecommendRequest, Body(openapi_examples=RECOMMEND_EXAMPLES)],
    request: Request,
    engine: EngineDep,
    settings: SettingsDep,
) -> RecommendResponse:
    """Recommend items of the catalogue, the best first.

    A history entry is the id of an item of the catalogue, or an item by its attributes, which is embedded first. An
    empty history is answered by popularity, and `fallback` says so.
    """
    history = parse_history(body, engine.bundle.prompt, settings)
    work = engine.recommender.recommend(history, k=body.k, exclude_history=body.exclude_history)
    # Ids alone are answered before a client can go.
    embeds = any(not isinstance(entry, str) for entry in history)
    recommendation = await (unless_disconnected(request, work) if embeds else work)
    return RecommendResponse(
        bundle_id=engine.bundle.manifest.id,
        items=[RecommendedItem.model_validate(item, from_attributes=True) for item in recommendation.items],
        fallback="popular" if recommendation.by_popularity else None,
    )
