"""HNSW and IVF past the size at which they compare everything: the recall that the spec states, whatever the filter."""

from functools import cache
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from llmemb.index import (
    Array,
    HnswParameters,
    IndexKind,
    IndexSpec,
    ItemIndex,
    IvfParameters,
    RowFilter,
    choose_spec,
    tuned,
)

NUM_ITEMS, WIDTH, THEMES = 12_000, 16, 30
# A query's ten best are a small sample, and so is any run: what is stated holds on average.
SAMPLING = 0.01


@cache
def table() -> Array:
    """Items of thirty themes, near their theme's centre, of many lengths."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(THEMES, WIDTH))
    vectors = centres[np.arange(NUM_ITEMS) % THEMES] + 0.5 * random.normal(size=(NUM_ITEMS, WIDTH))
    return (vectors * random.uniform(0.7, 1.3, (NUM_ITEMS, 1))).astype(np.float32)


@cache
def sessions(seed: int, number: int = 100) -> Array:
    """Queries like session vectors: sums of a few items."""
    random = np.random.default_rng(seed)
    return np.stack([table()[random.integers(0, NUM_ITEMS, 3)].sum(axis=0) for _ in range(number)])


@cache
def built(kind: IndexKind) -> ItemIndex:
    """The index of a kind, tuned on sessions, with less effort to start from than the default."""
    spec = choose_spec(NUM_ITEMS, kind)
    if spec.hnsw is not None:
        spec = spec.model_copy(update={"hnsw": HnswParameters(ef_search=16)})
    if spec.ivf is not None:
        spec = spec.model_copy(update={"ivf": IvfParameters(cells=200, probes=2)})
    return tuned(ItemIndex.build(table(), spec), table(), sessions(1))


def random_mask(share: float, seed: int) -> NDArray[np.bool_]:
    """Rows that have nothing to do with the query."""
    return np.random.default_rng(seed).random(NUM_ITEMS) < share


def shortest_mask(share: float, seed: int) -> NDArray[np.bool_]:
    """The shortest vectors, which stand last for almost any query."""
    lengths = np.linalg.norm(table(), axis=1)
    return lengths < np.quantile(lengths, share)


def themes_mask(share: float, seed: int) -> NDArray[np.bool_]:
    """Whole themes: near to the query or far from it."""
    chosen = np.random.default_rng(seed).random(THEMES) < share
    return chosen[np.arange(NUM_ITEMS) % THEMES]


MASKS = {"random": random_mask, "shortest": shortest_mask, "themes": themes_mask}


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
@settings(max_examples=25)
@given(
    share=st.sampled_from([1.0, 0.9, 0.6, 0.3, 0.1, 0.05, 0.01, 0.001, 0.0]),
    of=st.sampled_from(sorted(MASKS)),
    k=st.sampled_from([1, 10, 50]),
    num_excluded=st.sampled_from([0, 3, 200]),
    seed=st.integers(0, 1000),
)
def test_a_filter_costs_no_recall(kind: IndexKind, share: float, of: str, k: int, num_excluded: int, seed: int) -> None:
    """With any filter: as many as there can be, all of them pass, and the recall is at least what is stated."""
    mask = MASKS[of](share, seed)
    queries = sessions(2, max(100, 1000 // k))  # a thousand hits at least, or one more or less would decide
    exact_index, index = ItemIndex.build(table()), built(kind)
    # The best themselves are excluded, as a history would be.
    best = exact_index.search(queries, [200] * len(queries), [RowFilter()] * len(queries))
    filters = [RowFilter(mask, np.sort(hits.rows[:num_excluded])) for hits in best]

    exact = exact_index.search(queries, [k] * len(queries), filters)
    found = index.search(queries, [k] * len(queries), filters)

    hit = total = 0
    for one, other, row_filter in zip(found, exact, filters, strict=True):
        assert len(set(one.rows.tolist())) == len(one.rows) == len(other.rows) == min(k, row_filter.count(NUM_ITEMS))
        assert mask[one.rows].all()
        assert not set(one.rows.tolist()) & set(row_filter.excluded.tolist())
        assert (np.diff(one.scores) <= 0).all()
        np.testing.assert_allclose(one.scores[:1], other.scores[:1], rtol=0.5)
        hit += len(set(one.rows.tolist()) & set(other.rows.tolist()))
        total += len(other.rows)
    assert hit >= (index.spec.recall_at_10 - SAMPLING) * total


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_recall_is_measured_on_the_queries_and_effort_raised_until_it_is_high(kind: IndexKind) -> None:
    """99 % of the ten best are found, with more effort than it began with; the spec says so."""
    index = built(kind)
    exact = ItemIndex.build(table()).search(sessions(1), [10] * 100, [RowFilter()] * 100)
    found = index.search(sessions(1), [10] * 100, [RowFilter()] * 100)
    recall = np.mean([np.isin(one.rows, other.rows).mean() for one, other in zip(found, exact, strict=True)])

    assert index.spec.recall_queries == 100
    assert index.spec.recall_at_10 == pytest.approx(recall, abs=1e-4)
    assert index.spec.recall_at_10 >= 0.99


def test_recall_that_cannot_be_reached_is_stated_as_it_is() -> None:
    """A graph too thin to find everything states what it finds."""
    spec = IndexSpec(kind="hnsw", hnsw=HnswParameters(neighbours=2, ef_construction=2, ef_search=1))

    index = tuned(ItemIndex.build(table(), spec), table(), sessions(1))

    assert index.spec.hnsw is not None
    assert index.spec.hnsw.ef_search == 16
    assert 0 < index.spec.recall_at_10 < 0.99


def test_flat_needs_no_tuning() -> None:
    """It is exact, and says so without a measurement."""
    index = ItemIndex.build(table()[:100])

    assert tuned(index, table()[:100], sessions(1)).spec == IndexSpec()
    assert (index.spec.recall_at_10, index.spec.recall_queries) == (1.0, 0)


def test_items_lie_in_the_cells_nearest_to_them(tmp_path: Path) -> None:
    """Each item once, and nearly all in the very cell that comparing all centroids finds."""
    ItemIndex.build(table(), IndexSpec(kind="ivf", ivf=IvfParameters(cells=400))).write(tmp_path / "index")
    index = faiss.read_index(str(tmp_path / "index"))

    cells = np.full(NUM_ITEMS, -1)
    for cell in range(index.nlist):
        length = index.invlists.list_size(cell)
        if length:
            cells[faiss.rev_swig_ptr(index.invlists.get_ids(cell), length)] = cell

    nearest = index.quantizer.search(table(), 1)[1][:, 0]
    assert index.ntotal == NUM_ITEMS
    assert (cells == nearest).mean() >= 0.99


def test_parts_make_the_index_that_the_whole_makes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Large tables go part by part into their cells and into the exact search: neither shows in what comes of it."""
    for rows_at_once in (NUM_ITEMS, 1000):
        monkeypatch.setattr("llmemb.index.approximate._ROWS_AT_ONCE", rows_at_once)
        monkeypatch.setattr("llmemb.index.recall._ROWS_AT_ONCE", rows_at_once)
        index = tuned(ItemIndex.build(table(), choose_spec(NUM_ITEMS, "ivf")), table(), sessions(1))
        index.write(tmp_path / f"{rows_at_once}")
        (tmp_path / f"{rows_at_once}.json").write_text(index.spec.model_dump_json(), encoding="utf-8")

    for ending in ("", ".json"):
        assert (tmp_path / f"1000{ending}").read_bytes() == (tmp_path / f"{NUM_ITEMS}{ending}").read_bytes()


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_same_vectors_make_the_same_bytes(kind: IndexKind, tmp_path: Path) -> None:
    """Whatever the number of threads, which is left as it was."""
    threads = faiss.omp_get_max_threads()
    for num_threads in (1, 4):
        faiss.omp_set_num_threads(num_threads)
        try:
            ItemIndex.build(table()[:3000], choose_spec(3000, kind)).write(tmp_path / str(num_threads))
            assert faiss.omp_get_max_threads() == num_threads
        finally:
            faiss.omp_set_num_threads(threads)

    assert (tmp_path / "1").read_bytes() == (tmp_path / "4").read_bytes()


@pytest.mark.parametrize(
    ("num_items", "kind"),
    [(0, "flat"), (200_000, "flat"), (200_001, "ivf"), (10**8, "ivf")],
)
def test_kind_by_size(num_items: int, kind: IndexKind) -> None:
    """Flat or IVF by the size of the catalogue."""
    assert choose_spec(num_items).kind == choose_spec(num_items, kind).kind == kind


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "hnsw"},
        {"kind": "ivf", "hnsw": {}},
        {"kind": "flat", "ivf": {"cells": 3}},
        {"kind": "hnsw", "hnsw": {}, "ivf": {"cells": 3}},
        {"kind": "other"},
        {"kind": "ivf", "ivf": {"cells": 0}},
        {"recall_at_10": 1.5},
    ],
)
def test_parameters_are_those_of_the_kind(content: dict[str, object]) -> None:
    """A spec without its kind's parameters, with another's, or with an impossible value is refused."""
    with pytest.raises(ValidationError):
        IndexSpec.model_validate(content)
