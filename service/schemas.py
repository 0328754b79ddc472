"""The bodies of requests and answers. Their examples work against the MovieLens bundle of `make demo`.

A request's types are checked here; its meaning, against the bundle and the limits, in `service/parsing.py`.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, JsonValue, Tag, WithJsonSchema

HEAT = {"title": "Heat", "release_year": 1995, "genres": ["Action", "Crime", "Thriller"]}

_VALUE = [{"type": "string"}, {"type": "number"}, {"type": "null"}]
AttributesBody = Annotated[
    dict[str, Any],  # checked by llmemb.item.parse_attributes, whose messages say more
    WithJsonSchema(
        {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"anyOf": [*_VALUE, {"type": "array", "items": {"anyOf": _VALUE}}]},
            "description": "Attribute name -> a string, a number or a list of these; the names are the bundle's own, "
            "see `/info`. `null`, an empty string and an empty list mean that the attribute is missing.",
        }
    ),
]


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)


class _Response(BaseModel):
    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ItemBody(_Request):
    """An item to embed."""

    id: str = Field(json_schema_extra={"minLength": 1, "maxLength": 256})
    """The caller's own id."""
    attributes: AttributesBody


class EmbedItemsRequest(_Request):
    """Items to embed, each id once."""

    items: Annotated[list[ItemBody], Field(min_length=1)]
    index: bool = False
    """Also put the items in the catalogue, on disk before the answer: all of them or, after an error, none."""


class ItemEmbedding(_Response):
    """One item's embedding."""

    id: str
    embedding: list[float]
    """Projection of the item's text; for an id of the bundle, plus what its interactions taught. Of unit length where
    the bundle scores by cosine."""
    cached: bool
    """Whether the text had been embedded before."""


class EmbedItemsResponse(_Response):
    """Embeddings in the order of the items."""

    bundle_id: str
    dimension: int
    embeddings: list[ItemEmbedding]


class HistoryItem(_Request):
    """An item of a history by its attributes; the catalogue need not hold it."""

    attributes: AttributesBody


def _history_kind(entry: object) -> str:
    return "id" if isinstance(entry, str) else "item"


HistoryEntry = Annotated[Annotated[str, Tag("id")] | Annotated[HistoryItem, Tag("item")], Discriminator(_history_kind)]


class RecommendRequest(_Request):
    """A history, and how many items to recommend after it."""

    history: list[HistoryEntry]
    """Ids and items by attributes, the oldest first. The model reads the most recent ones, as many as it was trained
    for. Empty: the most popular items are recommended."""
    k: int = Field(default=10, ge=1)
    """How many items; where the catalogue has fewer, all of them come."""
    exclude_history: bool = True
    """Recommend no item whose id is in the history."""


class RecommendedItem(_Response):
    """One recommended item."""

    id: str
    score: float
    """Inner product of session vector and item embedding, plus the semantic term where the bundle has one; with
    `fallback`, the popularity."""
    attributes: dict[str, str | list[str]]


class RecommendResponse(_Response):
    """Recommended items, the best first."""

    bundle_id: str
    items: list[RecommendedItem]
    fallback: Literal["popular"] | None
    """`popular` where the history was empty, else null."""


class HealthResponse(_Response):
    """The process is alive."""

    status: Literal["alive"]


class ReadyResponse(_Response):
    """The service answers; `degraded` where it does so without Redis."""

    status: Literal["ready", "degraded"]
    bundle_id: str
    checks: dict[str, str]
    """Each part and `ok`, or why it is not."""


class MetricBody(_Response):
    """One figure of the bundle's evaluation."""

    model: str
    group: str
    name: str
    value: float


class CatalogueCounts(_Response):
    """How many items can be recommended, and where they come from."""

    items: int
    bundle: int
    """Of the bundle, less those whose attributes were replaced."""
    added: int
    """Added or replaced since."""
    left_out: int
    """Stored, but with attributes that this bundle does not know."""


class InfoResponse(_Response):
    """What is running."""

    bundle_id: str
    created_at: str
    domain: str
    attribute_names: list[str]
    encoder: dict[str, JsonValue]
    sequence_model: dict[str, JsonValue]
    dimension: int
    has_residual: bool
    scoring: Literal["dot", "cosine"]
    """`cosine`: item embeddings have unit length."""
    semantic_term: dict[str, JsonValue] | None
    """What is added to a score for the likeness of the texts; null where nothing is."""
    metrics: list[MetricBody]
    selection: list[dict[str, JsonValue]]
    """What was chosen on validation, with the figures behind it."""
    catalogue: CatalogueCounts
    limits: dict[str, int]
    versions: dict[str, str]


EMBED_EXAMPLES: dict[str, Any] = {
    "embed": {
        "summary": "Embed one film",
        "value": {"items": [{"id": "heat", "attributes": HEAT}]},
    },
    "add": {
        "summary": "Embed a new film and put it in the catalogue",
        "value": {
            "items": [
                {
                    "id": "heat-2",
                    "attributes": {"title": "Heat 2", "release_year": 2026, "genres": ["Action", "Crime", "Thriller"]},
                }
            ],
            "index": True,
        },
    },
}

RECOMMEND_EXAMPLES: dict[str, Any] = {
    "ids": {
        "summary": "After two films of the catalogue",
        "value": {"history": ["50", "172"], "k": 5},
    },
    "new": {
        "summary": "After a film that the catalogue does not hold",
        "value": {"history": ["50", {"attributes": HEAT}], "k": 5, "exclude_history": True},
    },
    "popular": {
        "summary": "For somebody new: the most popular",
        "value": {"history": [], "k": 5},
    },
}
