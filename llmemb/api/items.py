"""Bodies of `/embed_items`, `/items` and `/map`."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from llmemb.api.base import NULL_IS_LEFT_OUT, AttributesBody, RequestBody, ResponseBody

MAX_CATEGORIES = 64
"""Categories of one item."""
Category = Annotated[str, Field(min_length=1, max_length=256)]
Categories = Annotated[list[Category], Field(max_length=MAX_CATEGORIES)]


class ItemBody(RequestBody):
    """An item to embed."""

    id: str = Field(json_schema_extra={"minLength": 1, "maxLength": 256})
    """The caller's own id."""
    attributes: AttributesBody
    categories: Categories | None = None
    """With `index`: what filters go by. Null keeps those that the item has, which at first are the values of the
    attribute that `/info` calls `categories_attribute`."""
    available: bool | None = None
    """With `index`: whether the item may be recommended. Null keeps what it was, at first true."""


class EmbedItemsRequest(RequestBody):
    """Items to embed, each id once."""

    items: Annotated[list[ItemBody], Field(min_length=1)]
    index: Annotated[bool, NULL_IS_LEFT_OUT] = False
    """Also put the items in the catalogue, durable before the answer: all of them or, after an error, none."""


class ItemEmbedding(ResponseBody):
    """One item's embedding."""

    id: str
    embedding: list[float]
    """Projection of the item's text; for an id of the bundle, plus what its interactions taught. Of unit length where
    the bundle scores by cosine."""
    cached: bool
    """Whether the embedding came from the cache."""


class EmbedItemsResponse(ResponseBody):
    """Embeddings in the order of the items."""

    bundle_id: str
    dimension: int
    embeddings: list[ItemEmbedding]


class PutItemRequest(RequestBody):
    """An item to add to the catalogue, or to replace the one with the same id."""

    attributes: AttributesBody
    categories: Categories | None = None
    """See `ItemBody`."""
    available: bool | None = None
    """See `ItemBody`."""


class PatchItemRequest(RequestBody):
    """The fields of an item to change; null keeps a value, but not both may be null. Nothing is embedded."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    categories: Categories | None = None
    available: bool | None = None


class ItemResponse(ResponseBody):
    """An item of the catalogue."""

    id: str
    attributes: dict[str, str | list[str]]
    categories: list[str]
    available: bool
    source: Literal["bundle", "added"]
    """`bundle`: as the bundle has it; `added`: added to it, or its attributes replaced."""
    bundle_id: str


class ListedItem(ResponseBody):
    """An item in a list."""

    id: str
    attributes: dict[str, str | list[str]]
    categories: list[str]
    available: bool
    source: Literal["bundle", "added"]


class ItemListResponse(ResponseBody):
    """A page of the catalogue."""

    bundle_id: str
    items: list[ListedItem]
    next_cursor: str | None
    """Send it as `cursor` for the next page; null on the last one."""


class SimilarItem(ResponseBody):
    """A similar item."""

    id: str
    similarity: float
    """Cosine of the two item embeddings."""
    attributes: dict[str, str | list[str]]


class SimilarItemsResponse(ResponseBody):
    """The items most similar to one, the most similar first."""

    bundle_id: str
    items: list[SimilarItem]


MAX_MAP_POINTS = 200_000
"""Points of one answer."""


class MapResponse(ResponseBody):
    """Items as points, one column for each property: the n-th value of every column belongs to the same item."""

    bundle_id: str
    total: int
    """Items of the catalogue. Where there are more than points, these are spread evenly over the catalogue's order."""
    categories: list[str]
    """The categories that `category` counts, those with the most points first."""
    ids: list[str]
    x: list[float]
    """Items with similar embeddings are near each other. The items of the bundle are at a distance of at most 1 along
    each axis; an item that was added later is at the median position of its nearest neighbours in the bundle."""
    y: list[float]
    popularity: list[int]
    """Interactions in training; 0 for an item added later."""
    category: list[int]
    """Place of the item's first category in `categories`; -1 where it has none."""
