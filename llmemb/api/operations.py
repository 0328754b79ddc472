"""Bodies of the health and information routes."""

from typing import Literal

from pydantic import JsonValue

from llmemb.api.base import ResponseBody


class HealthResponse(ResponseBody):
    """The process is alive."""

    status: Literal["alive"]


class ReadyResponse(ResponseBody):
    """The service answers; `degraded` if a part that recommendations do not need fails."""

    status: Literal["ready", "degraded"]
    bundle_id: str
    checks: dict[str, str]
    """Each part and `ok`, or why it is not."""


class MetricBody(ResponseBody):
    """One figure of the bundle's evaluation."""

    model: str
    group: str
    name: str
    value: float


class CatalogueCounts(ResponseBody):
    """How many items the catalogue holds, and where they come from."""

    items: int
    bundle: int
    """Of the bundle, less those removed or replaced."""
    added: int
    """Added or replaced since."""
    pending: int
    """Stored, and not embedded by this bundle yet."""
    left_out: int
    """Stored, but with attributes that this bundle does not know."""


class InfoResponse(ResponseBody):
    """What is running."""

    bundle_id: str
    created_at: str
    domain: str
    attribute_names: list[str]
    categories_attribute: str | None
    """The attribute whose values are an item's categories, unless it was given others."""
    encoder: dict[str, JsonValue]
    sequence_model: dict[str, JsonValue]
    dimension: int
    has_residual: bool
    scoring: Literal["dot", "cosine"]
    """`cosine`: item embeddings have unit length."""
    semantic_term: dict[str, JsonValue] | None
    """The term added to a score for text similarity; null if there is none."""
    index: dict[str, JsonValue]
    """The index's kind and parameters, and its recall against exact search."""
    metrics: list[MetricBody]
    selection: list[dict[str, JsonValue]]
    """What was chosen on validation, with the figures behind it."""
    catalogue: CatalogueCounts
    limits: dict[str, int]
    report: bool
    """Whether `/report` shows the trainer's report."""
    versions: dict[str, str]
