"""What an index is: its kind, the kind's parameters, and the recall that was measured."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

IndexKind = Literal["flat", "hnsw", "ivf"]

MEASURED_K = 10
"""The best items of a query by which recall is measured."""
_FLAT_ITEMS = 200_000
"""Up to here an exact search costs no more than a few milliseconds."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class HnswParameters(_Part):
    """A graph of items of near directions, which a search walks towards the largest inner product."""

    neighbours: PositiveInt = 32
    """Links of an item in the graph; twice as many in its lowest layer."""
    ef_construction: PositiveInt = 128
    """Candidates that are kept when an item is linked."""
    ef_search: PositiveInt = 128
    """Candidates that a search keeps, at least."""


class IvfParameters(_Part):
    """Items in cells around centroids; a search looks into the cells nearest to the query."""

    cells: PositiveInt
    """How many there are."""
    probes: PositiveInt = 16
    """Cells that a search looks into, at least."""


class IndexSpec(_Part):
    """An index over the inner product, as a manifest describes it."""

    kind: IndexKind = "flat"
    """`flat` compares every item and is exact; `hnsw` and `ivf` look at some of them."""
    hnsw: HnswParameters | None = None
    """Of kind `hnsw`."""
    ivf: IvfParameters | None = None
    """Of kind `ivf`."""
    recall_at_10: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the exact ten best that come, without a filter."""
    recall_queries: NonNegativeInt = 0
    """Session vectors of the run on which it was measured; 0: exact, or not measured yet."""

    @model_validator(mode="after")
    def _has_the_parameters_of_its_kind(self) -> "IndexSpec":
        if (self.hnsw is not None, self.ivf is not None) != (self.kind == "hnsw", self.kind == "ivf"):
            raise ValueError(f"an index of kind {self.kind} has the parameters of that kind and of no other")
        return self


def choose_spec(num_items: int, kind: IndexKind | Literal["auto"] = "auto") -> IndexSpec:
    """Return the index that suits a catalogue of that size; its recall is yet to be measured.

    Args:
        num_items: N.
        kind: `auto` takes flat up to 200,000 items and IVF above, which is built sooner than HNSW and takes no more
            time for the same recall.
    """
    if kind == "auto":
        kind = "flat" if num_items <= _FLAT_ITEMS else "ivf"
    if kind == "hnsw":
        return IndexSpec(kind=kind, hnsw=HnswParameters())
    if kind == "ivf":
        # FAISS's own advice: a multiple of the root of N, so that centroids and cells cost about the same.
        return IndexSpec(kind=kind, ivf=IvfParameters(cells=max(1, min(num_items, int(4 * num_items**0.5)))))
    return IndexSpec()
