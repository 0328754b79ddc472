"""The service's calls as data: the request, and how to parse the response."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from llmemb.api.admin import BundlesResponse, ExperimentRequest, LoadBundleRequest, SwapResponse
from llmemb.api.base import RequestBody
from llmemb.api.embeddings import EmbeddingsRequest, EmbeddingsResponse, ModelBody, ModelsResponse
from llmemb.api.items import (
    EmbedItemsRequest,
    EmbedItemsResponse,
    ItemBody,
    ItemListResponse,
    ItemResponse,
    MapResponse,
    PatchItemRequest,
    PutItemRequest,
    SimilarItemsResponse,
)
from llmemb.api.operations import HealthResponse, InfoResponse, ReadyResponse
from llmemb.api.recommend import (
    Event,
    EventsRequest,
    Filters,
    HistoryItem,
    RecommendBatchRequest,
    RecommendBatchResponse,
    RecommendRequest,
    RecommendResponse,
    SessionResponse,
    Strategy,
)

Answer = TypeVar("Answer")


class Repeat(Enum):
    """When a failed call may be retried."""

    ALWAYS = "always"
    """Idempotent."""
    IF_REFUSED = "if refused"
    """Only if the service has not begun: 429, or no connection."""
    NEVER = "never"
    """A failure is the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[Answer]):
    """One call; `llmemb.client.calls` has a maker for each route."""

    method: str
    path: str
    """Percent-encoded, from the service's root."""
    read: Callable[[bytes], Answer]
    """Parses the body of a successful response; raises `ValueError` if it cannot."""
    params: Mapping[str, str | int] = field(default_factory=dict)
    body: bytes | None = None
    """JSON."""
    repeat: Repeat = Repeat.ALWAYS
    timeout_seconds: float | None = None
    """How long to wait for the answer; None: as long as the client's other calls."""


def path_of(*segments: str) -> str:
    """Join path segments, each percent-encoded, slashes within one too.

    Raises:
        ValueError: a segment is empty, or holds half of a surrogate pair.
    """
    return "".join(f"/{_encoded(segment)}" for segment in segments)


def _encoded(segment: str) -> str:
    if not segment:
        raise ValueError("an id must not be empty")
    # "." and ".." would be taken for places in the path.
    return segment.replace(".", "%2E") if segment in {".", ".."} else quote(segment, safe="")


def json_of(body: RequestBody) -> bytes:
    """Write a body as JSON, what has its default left out.

    Raises:
        ValueError: it holds a number that JSON has not, such as NaN.
    """
    members = body.model_dump(exclude_defaults=True)
    return json.dumps(members, allow_nan=False, separators=(",", ":")).encode()


Attributes = Mapping[str, Any]
"""Attribute name -> a string, a number, or a list of these; the service checks them."""

LOADING_SECONDS = 900.0
"""How long a bundle may take to load and to embed the added items, unless the caller says otherwise."""


def embed_items(items: Sequence[ItemBody], *, index: bool = False) -> Call[EmbedItemsResponse]:
    """Embed items; with `index`, also put them in the catalogue, durable before the answer."""
    body = EmbedItemsRequest(items=list(items), index=index)
    return Call(method="POST", path="/embed_items", body=json_of(body), read=EmbedItemsResponse.model_validate_json)


def put_item(
    item_id: str, attributes: Attributes, *, categories: Sequence[str] | None = None, available: bool | None = None
) -> Call[ItemResponse]:
    """Add an item to the catalogue, or replace the one with the same id; durable before the answer."""
    body = PutItemRequest(attributes=dict(attributes), categories=_listed(categories), available=available)
    return Call(method="PUT", path=path_of("items", item_id), body=json_of(body), read=ItemResponse.model_validate_json)


def patch_item(
    item_id: str, *, categories: Sequence[str] | None = None, available: bool | None = None
) -> Call[ItemResponse]:
    """Change categories and availability; None keeps a value. Nothing is embedded."""
    body = PatchItemRequest(categories=_listed(categories), available=available)
    return Call(
        method="PATCH", path=path_of("items", item_id), body=json_of(body), read=ItemResponse.model_validate_json
    )


def get_item(item_id: str) -> Call[ItemResponse]:
    """Return an item of the catalogue."""
    return Call(method="GET", path=path_of("items", item_id), read=ItemResponse.model_validate_json)


def delete_item(item_id: str) -> Call[None]:
    """Remove an item from the catalogue; durable before the answer."""
    return Call(method="DELETE", path=path_of("items", item_id), read=_nothing)


def item_page(
    *, query: str | None = None, limit: int | None = None, cursor: str | None = None
) -> Call[ItemListResponse]:
    """Give one page of the catalogue, or of the items that a full-text search finds; `list_items` gives all pages."""
    params = _params(query=query, limit=limit, cursor=cursor)
    return Call(method="GET", path="/items", params=params, read=ItemListResponse.model_validate_json)


def similar_items(item_id: str, *, k: int | None = None) -> Call[SimilarItemsResponse]:
    """Return the items most similar to one."""
    path = path_of("items", item_id, "similar")
    return Call(method="GET", path=path, params=_params(k=k), read=SimilarItemsResponse.model_validate_json)


def item_map(*, limit: int | None = None) -> Call[MapResponse]:
    """Give the catalogue as points on its map."""
    return Call(method="GET", path="/map", params=_params(limit=limit), read=MapResponse.model_validate_json)


def recommend(
    history: Sequence[str | HistoryItem] | None = None,
    *,
    session_id: str | None = None,
    k: int = 10,
    filters: Filters | None = None,
    exclude_history: bool = True,
    explain: bool = False,
    strategy: Strategy = "all",
    bundle_id: str | None = None,
) -> Call[RecommendResponse]:
    """Recommend the next items after a history or a session's events; one of the two is given."""
    body = RecommendRequest(
        history=None if history is None else list(history),
        session_id=session_id,
        k=k,
        filters=filters or Filters(),
        exclude_history=exclude_history,
        explain=explain,
        strategy=strategy,
        bundle_id=bundle_id,
    )
    return Call(method="POST", path="/recommend", body=json_of(body), read=RecommendResponse.model_validate_json)


def recommend_batch(requests: Sequence[RecommendRequest]) -> Call[RecommendBatchResponse]:
    """Recommend for several requests at once."""
    body = json_of(RecommendBatchRequest(requests=list(requests)))
    return Call(method="POST", path="/recommend/batch", body=body, read=RecommendBatchResponse.model_validate_json)


def add_events(session_id: str, item_ids: Sequence[str]) -> Call[SessionResponse]:
    """Append to a session's history, the oldest first.

    Sent again after an answer that got lost it would append twice, so it is repeated only where the service has
    surely not begun.
    """
    body = EventsRequest(events=[Event(item_id=item_id) for item_id in item_ids])
    return Call(
        method="POST",
        path=path_of("sessions", session_id, "events"),
        body=json_of(body),
        read=SessionResponse.model_validate_json,
        repeat=Repeat.IF_REFUSED,
    )


def get_session(session_id: str) -> Call[SessionResponse]:
    """Give a session's history."""
    return Call(method="GET", path=path_of("sessions", session_id), read=SessionResponse.model_validate_json)


def delete_session(session_id: str) -> Call[None]:
    """Forget a session."""
    return Call(method="DELETE", path=path_of("sessions", session_id), read=_nothing)


def embeddings(
    texts: str | Sequence[str], *, model: Literal["llmemb-raw", "llmemb-adapted"] = "llmemb-adapted"
) -> Call[EmbeddingsResponse]:
    """Embed texts."""
    body = EmbeddingsRequest(input=texts if isinstance(texts, str) else list(texts), model=model)
    return Call(method="POST", path="/v1/embeddings", body=json_of(body), read=EmbeddingsResponse.model_validate_json)


def models() -> Call[ModelsResponse]:
    """List the models that `embeddings` takes."""
    return Call(method="GET", path="/v1/models", read=ModelsResponse.model_validate_json)


def get_model(model: str) -> Call[ModelBody]:
    """Read one of the models that `embeddings` takes."""
    return Call(method="GET", path=f"/v1/models/{quote(model, safe='')}", read=ModelBody.model_validate_json)


def health() -> Call[HealthResponse]:
    """Ask whether the process is alive; never repeated."""
    return Call(method="GET", path="/healthz", read=HealthResponse.model_validate_json, repeat=Repeat.NEVER)


def ready() -> Call[ReadyResponse]:
    """Ask whether the service answers, `UnavailableError` where it does not; never repeated."""
    return Call(method="GET", path="/readyz", read=ReadyResponse.model_validate_json, repeat=Repeat.NEVER)


def info() -> Call[InfoResponse]:
    """Tell of the bundle, the catalogue, the limits and the versions."""
    return Call(method="GET", path="/info", read=InfoResponse.model_validate_json)


def metrics() -> Call[str]:
    """Give the metrics in Prometheus' text format."""
    return Call(method="GET", path="/metrics", read=bytes.decode)


def load_bundle(bundle: str, *, timeout_seconds: float = LOADING_SECONDS) -> Call[SwapResponse]:
    """Load a bundle beside the running one and let it take over; repeated only where the service has not begun."""
    return Call(
        method="POST",
        path="/admin/bundles",
        body=json_of(LoadBundleRequest(bundle=bundle)),
        read=SwapResponse.model_validate_json,
        repeat=Repeat.IF_REFUSED,
        timeout_seconds=timeout_seconds,
    )


def bundles() -> Call[BundlesResponse]:
    """List the bundles in memory and those that could be loaded."""
    return Call(method="GET", path="/admin/bundles", read=BundlesResponse.model_validate_json)


def rollback() -> Call[SwapResponse]:
    """Let the bundle before take over again; repeated only where the service has not begun."""
    return Call(method="POST", path="/admin/rollback", read=SwapResponse.model_validate_json, repeat=Repeat.IF_REFUSED)


def set_experiment(bundle: str, share: float, *, timeout_seconds: float = LOADING_SECONDS) -> Call[BundlesResponse]:
    """Let a second bundle answer a share of the sessions."""
    return Call(
        method="PUT",
        path="/admin/experiment",
        body=json_of(ExperimentRequest(bundle=bundle, share=share)),
        read=BundlesResponse.model_validate_json,
        timeout_seconds=timeout_seconds,
    )


def end_experiment() -> Call[None]:
    """Let the current bundle answer all sessions again."""
    return Call(method="DELETE", path="/admin/experiment", read=_nothing)


def _params(**values: str | int | None) -> dict[str, str | int]:
    return {name: value for name, value in values.items() if value is not None}


def _listed(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)


def _nothing(body: bytes) -> None:
    """Read an answer that has no body."""
