"""What operators read."""

from typing import Literal

from pydantic import JsonValue

from llmemb.api.base import ResponseBody


class HealthResponse(ResponseBody):
    """The process is alive."""

    status: Literal["alive"]


class ReadyResponse(ResponseBody):
    """The service answers; `degraded` where a part that recommendations can do without does not."""

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
    """What is added to a score for the likeness of the texts; null where nothing is."""
    index: dict[str, JsonValue]
    """Its kind and parameters, and its recall against exact search."""
    metrics: list[MetricBody]
    selection: list[dict[str, JsonValue]]
    """What was chosen on validation, with the figures behind it."""
    catalogue: CatalogueCounts
    limits: dict[str, int]
    report: bool
    """Whether `/report` shows the trainer's report."""
    versions: dict[str, str]
