"""The map of the catalogue."""

from llmemb.api.base import ResponseBody

MAX_MAP_POINTS = 200_000
"""Points of one answer."""


class MapResponse(ResponseBody):
    """Items as points, one column for each thing about them: the n-th of every column is of the same item."""

    bundle_id: str
    total: int
    """Items of the catalogue. Where there are more than points, these are spread evenly over the catalogue's order."""
    weight: list[list[float]]
    """A row of two numbers for each dimension of an item embedding. With `bias` it places any embedding of this
    bundle: point = embedding @ weight + bias."""
    bias: list[float]
    categories: list[str]
    """The categories that `category` counts, those with the most points first."""
    ids: list[str]
    x: list[float]
    y: list[float]
    popularity: list[int]
    """Interactions in training; 0 for an item that came later."""
    category: list[int]
    """Place of the item's first category in `categories`; -1 where it has none."""
