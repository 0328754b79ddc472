"""`/recommend` and `/recommend/batch`. The answer's JSON is concatenated from stored JSON texts, which is fast."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from llmemb.api.recommend import RecommendBatchRequest, RecommendBatchResponse, RecommendRequest, RecommendResponse
from llmemb.errors import UnknownItemError
from llmemb_service.bundles.engine import Engine
from llmemb_service.bundles.versions import Versions
from llmemb_service.errors import Fault, InvalidRequestError, UnknownEntriesError
from llmemb_service.http.openapi.description import problem_responses
from llmemb_service.http.openapi.examples import RECOMMEND_BATCH_EXAMPLES, RECOMMEND_EXAMPLES
from llmemb_service.http.parsing.recommend import check_number_of_requests, parse_queries, parse_query, places_of
from llmemb_service.http.routes.dependencies import runtime_of, settings_of, unless_disconnected
from llmemb_service.http.routes.lean_route import JsonResponse
from llmemb_service.ranking.query import Query, Reason, Recommendation
from llmemb_service.storage.session_store import SessionStore


def recommendation_json(bundle_id: str, recommendation: Recommendation) -> str:
    """Write the answer of `/recommend`."""
    snapshot, explanation = recommendation.snapshot, recommendation.explanation
    texts = snapshot.texts(recommendation.rows.tolist())
    items = ",".join(
        [
            f'{{"id":{_text(item_id)},"score":{score!r},"attributes":{attributes_json},'
            f'"reasons":{"null" if explanation is None else _reasons(explanation.reasons(place))}}}'
            for place, ((item_id, attributes_json), score) in enumerate(
                zip(texts, recommendation.scores.tolist(), strict=True)
            )
        ]
    )
    fallback = '"popular"' if recommendation.by_popularity else "null"
    return f'{{"bundle_id":{_text(bundle_id)},"items":[{items}],"fallback":{fallback}}}'


def batch_json(results: Sequence[str]) -> str:
    """Write the answer of `/recommend/batch` from those of its requests."""
    return f'{{"results":[{",".join(results)}]}}'


def _reasons(reasons: Sequence[Reason]) -> str:
    return "[{}]".format(
        ",".join(
            f'{{"position":{reason.position},"id":{"null" if reason.id is None else _text(reason.id)},'
            f'"contribution":{reason.contribution!r}}}'
            for reason in reasons
        )
    )


_text = json.encoder.encode_basestring


router = APIRouter(tags=["recommendations"])
"""Its routes are called by `LeanMiddleware`; FastAPI describes them and reports faults of bodies."""

_PROBLEMS = problem_responses(
    "invalid_json", "body_too_large", "unsupported_media_type", "invalid_request", "unknown_item", "overloaded",
    "internal", "encoder_unavailable", "storage", "not_ready", "deadline",
)  # fmt: skip


@router.post(
    "/recommend",
    summary="Recommend the next items after a history",
    response_model=RecommendResponse,
    responses=_PROBLEMS,
)
async def recommend(
    body: Annotated[RecommendRequest, Body(openapi_examples=RECOMMEND_EXAMPLES)], request: Request
) -> Response:
    """Recommend items of the catalogue, the best first.

    A history entry is the id of an item of the catalogue, or the attributes of an item, which is embedded first. For an
    empty history, the most popular items are returned and `fallback` is `popular`.
    """
    runtime = runtime_of(request)
    engine = _engine(runtime.versions, body, "body")
    request.state.bundle_id = engine.bundle.manifest.id
    query = parse_query(body, engine.bundle.prompt, settings_of(request))
    if body.session_id is not None:
        query = await _with_history(query, body.session_id, runtime.storage.sessions)
    work = engine.recommender.recommend(query)
    try:
        # A history of known ids is answered too fast for a disconnect to matter.
        recommendation = await (unless_disconnected(request, work) if query.has_attributes else work)
    except UnknownItemError as error:
        raise UnknownEntriesError(error.item_ids, places_of(error.item_ids, body, "body")) from error
    return JsonResponse((await _json(engine, query, recommendation)).encode())


@router.post(
    "/recommend/batch",
    summary="Recommend after several histories",
    response_model=RecommendBatchResponse,
    responses=_PROBLEMS,
)
async def recommend_batch(
    body: Annotated[RecommendBatchRequest, Body(openapi_examples=RECOMMEND_BATCH_EXAMPLES)], request: Request
) -> Response:
    """Answer several requests, or none after an error; all requests to one bundle use the same catalogue snapshot."""
    runtime, settings = runtime_of(request), settings_of(request)
    check_number_of_requests(body, settings)
    engines = [_engine(runtime.versions, each, "body", "requests", i) for i, each in enumerate(body.requests)]
    request.state.bundle_id = engines[0].bundle.manifest.id
    queries = parse_queries(body, [engine.bundle.prompt for engine in engines], settings)
    for place, each in enumerate(body.requests):
        if each.session_id is not None:
            queries[place] = await _with_history(queries[place], each.session_id, runtime.storage.sessions)
    try:
        recommendations = await unless_disconnected(request, _recommend_all(engines, queries))
    except UnknownItemError as error:
        places = [
            place for i, each in enumerate(body.requests)
            for place in places_of(error.item_ids, each, "body", "requests", i)
        ]  # fmt: skip
        raise UnknownEntriesError(error.item_ids, places) from error
    results = []
    for answer in zip(engines, queries, recommendations, strict=True):
        results.append(await _json(*answer))
        await asyncio.sleep(0)  # let other tasks run, since all answers together may be large
    return JsonResponse(batch_json(results).encode())


def _engine(versions: Versions, body: RecommendRequest, *place: str | int) -> Engine:
    """Return the engine that answers a request.

    Raises:
        InvalidRequestError: the request names a bundle that is not loaded, or a strategy that the bundle lacks.
    """
    wanted = body.bundle_id
    engine = versions.for_session(body.session_id) if wanted is None else versions.find(wanted)
    if engine is None:
        raise InvalidRequestError([Fault((*place, "bundle_id"), "is not a loaded bundle", "unknown_bundle")])
    if body.strategy == "semantic" and engine.bundle.semantic_term is None:
        raise InvalidRequestError([Fault((*place, "strategy"), "the bundle has no semantic term", "no_semantic_term")])
    if body.strategy == "successors" and engine.bundle.successors is None:
        raise InvalidRequestError([Fault((*place, "strategy"), "the bundle has no successor vectors", "no_successors")])
    return engine


async def _with_history(query: Query, session_id: str, sessions: SessionStore) -> Query:
    session = await sessions.read(session_id)
    return query if session is None else replace(query, history=session.history)


async def _recommend_all(engines: Sequence[Engine], queries: Sequence[Query]) -> list[Recommendation]:
    """Answer each query with its engine; the results are in the order of the queries."""
    groups: defaultdict[str, list[int]] = defaultdict(list)
    for place, engine in enumerate(engines):
        groups[engine.bundle.manifest.id].append(place)
    found: dict[int, Recommendation] = {}
    for places in groups.values():
        recommender = engines[places[0]].recommender
        found |= zip(places, await recommender.recommend_many([queries[place] for place in places]), strict=True)
    return [found[place] for place in range(len(queries))]


async def _json(engine: Engine, query: Query, recommendation: Recommendation) -> str:
    bundle_id = engine.bundle.manifest.id
    if query.explain:
        # Up to thousands of items with a reason for each history entry would block the event loop for too long.
        return await asyncio.to_thread(recommendation_json, bundle_id, recommendation)
    return recommendation_json(bundle_id, recommendation)
