"""`llmemb.index`: the same answer as ranking the whole table by hand, whatever the filter."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llmemb.errors import BundleCorruptError
from llmemb.index import NO_ROWS, Array, Hits, IndexKind, ItemIndex, RowFilter, Rows, choose_spec, merge_hits

KINDS: tuple[IndexKind, ...] = ("flat", "hnsw", "ivf")
ALL = RowFilter()
# Small whole numbers: their sums are exact in float32, so that ties are ties in any order of addition.
WHOLE = st.integers(-2, 2).map(float)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Array, Array, list[int], list[RowFilter]]:
    """A table with many ties, queries, each with a k up to far above the table, and filters that pass all to none."""
    num_items, num_queries = draw(st.integers(0, 40)), draw(st.integers(1, 4))
    table = draw(hnp.arrays(np.float32, (num_items, 2), elements=WHOLE))
    queries = draw(hnp.arrays(np.float32, (num_queries, 2), elements=WHOLE))
    ks = draw(st.lists(st.integers(1, 60), min_size=num_queries, max_size=num_queries))
    rows = st.sets(st.integers(0, num_items - 1)) if num_items else st.just(set[int]())
    masks = st.none() | hnp.arrays(np.bool_, num_items)
    filters = st.builds(RowFilter, masks, rows.map(as_rows) | st.just(NO_ROWS))
    return table, queries, ks, draw(st.lists(filters, min_size=num_queries, max_size=num_queries))


def as_rows(rows: Iterable[int]) -> Rows:
    """Rows as a filter has them."""
    return np.array(sorted(rows), dtype=np.int64)


def passes(row: int, row_filter: RowFilter) -> bool:
    """Whether a row passes, by the definition."""
    return (row_filter.mask is None or bool(row_filter.mask[row])) and row not in row_filter.excluded


def rank_by_hand(table: Array, query: Array, k: int, row_filter: RowFilter) -> list[tuple[int, float]]:
    """Rank all rows that pass by score, equal scores by row."""
    scored = [(row, float(table[row] @ query)) for row in range(len(table)) if passes(row, row_filter)]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def as_pairs(hits: Hits) -> list[tuple[int, float]]:
    """The rows and scores of an answer, side by side."""
    return list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))


def random_table(num_items: int, width: int, seed: int = 0) -> Array:
    """Vectors of many lengths."""
    random = np.random.default_rng(seed)
    return (random.normal(size=(num_items, width)) * random.uniform(0.5, 2, (num_items, 1))).astype(np.float32)


@given(searches())
def test_search_equals_ranking_by_hand(search: tuple[Array, Array, list[int], list[RowFilter]]) -> None:
    """The k best that pass, equal scores by row, for tables with ties, any filter and any k."""
    table, queries, ks, filters = search

    hits = ItemIndex.build(table).search(queries, ks, filters)

    assert list(map(as_pairs, hits)) == [
        rank_by_hand(table, query, k, row_filter) for query, k, row_filter in zip(queries, ks, filters, strict=True)
    ]


@given(searches(), st.sampled_from(["hnsw", "ivf"]))
def test_small_catalogues_are_compared_exactly(
    search: tuple[Array, Array, list[int], list[RowFilter]], kind: IndexKind
) -> None:
    """HNSW and IVF give the exact scores of a small table too, for any filter and any k."""
    table, queries, ks, filters = search

    hits = ItemIndex.build(table, choose_spec(len(table), kind)).search(queries, ks, filters)

    assert [answer.scores.tolist() for answer in hits] == [
        [score for _, score in rank_by_hand(table, query, k, row_filter)]
        for query, k, row_filter in zip(queries, ks, filters, strict=True)
    ]
    assert all(
        passes(row, row_filter)
        for answer, row_filter in zip(hits, filters, strict=True)
        for row in answer.rows.tolist()
    )


@pytest.mark.parametrize("k", [1, 3, 150])
def test_ties_over_the_whole_table_come_by_row(k: int) -> None:
    """Of a thousand equal items the first k rows come, in their order, even with an excluded one among them."""
    table = np.ones((1000, 4), dtype=np.float32)

    (hits,) = ItemIndex.build(table).search(np.ones((1, 4), dtype=np.float32), [k], [RowFilter(excluded=as_rows({1}))])

    assert hits.rows.tolist() == [0, *range(2, k + 1)]


@pytest.mark.parametrize("num_queries", [1, 7, 40])
def test_equal_vectors_tie_whatever_their_place(num_queries: int) -> None:
    """Copies of a vector, spread over the table, come in the order of their rows with one score, bit for bit."""
    table = random_table(1003, 37)
    copies = [5, 64, 511, 777, 1002]
    table[copies] = 3 * table[5]
    queries = np.repeat(table[5:6], num_queries, axis=0) * np.linspace(1, 2, num_queries, dtype=np.float32)[:, None]

    for hits in ItemIndex.build(table).search(queries, [5] * num_queries, [ALL] * num_queries):
        assert hits.rows.tolist() == copies
        assert len(set(hits.scores.tolist())) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_queries", [1, 30, 300])
def test_answer_does_not_depend_on_the_other_queries(num_queries: int, kind: IndexKind) -> None:
    """A query among many gets the answer that it gets alone, with the same scores, bit for bit."""
    table = random_table(2000, 16)
    queries = random_table(num_queries, 16, seed=1)
    index = ItemIndex.build(table, choose_spec(2000, kind))
    mask = np.arange(2000) % 3 > 0
    filters = [RowFilter((None, mask)[i % 2], as_rows({i})) for i in range(num_queries)]
    ks = [1 + i % 20 for i in range(num_queries)]

    together = index.search(queries, ks, filters)
    alone = [index.search(queries[i : i + 1], [ks[i]], [filters[i]])[0] for i in range(num_queries)]

    assert list(map(as_pairs, together)) == list(map(as_pairs, alone))


@pytest.mark.parametrize("kind", KINDS)
def test_types_of_an_answer(kind: IndexKind) -> None:
    """Rows are int64 and scores float32, for an empty answer too."""
    index = ItemIndex.build(np.ones((3, 2), dtype=np.float32), choose_spec(3, kind))
    filters = [ALL, RowFilter(excluded=as_rows({0, 1, 2})), RowFilter(np.zeros(3, dtype=np.bool_))]

    answers = index.search(np.ones((3, 2), dtype=np.float32), [2, 2, 2], filters)

    assert [len(hits.rows) for hits in answers] == [2, 0, 0]
    for hits in answers:
        assert (hits.rows.dtype, hits.scores.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_table_is_copied(kind: IndexKind) -> None:
    """Changing the table afterwards changes no answer."""
    table = np.ones((3, 2), dtype=np.float32)
    index = ItemIndex.build(table, choose_spec(3, kind))
    table[:] = 0

    assert index.search(np.ones((1, 2), dtype=np.float32), [1], [ALL])[0].scores.tolist() == [2.0]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("num_items", [0, 30, 3000])
def test_index_with_more_vectors_is_another_index(kind: IndexKind, num_items: int) -> None:
    """The new rows come after the old; the old index stays as it was, and is searched meanwhile."""
    table, more = random_table(num_items, 8), 3 * random_table(20, 8, seed=1)
    index = ItemIndex.build(table, choose_spec(num_items, kind))
    queries, ks, filters = random_table(50, 8, seed=2), [5] * 50, [ALL] * 50
    before = list(map(as_pairs, index.search(queries, ks, filters)))

    with ThreadPoolExecutor() as threads:
        meanwhile = [threads.submit(index.search, queries, ks, filters) for _ in range(4)]
        grown = index.with_vectors(more)
    grown_again = grown.with_vectors(more[:0])

    assert (len(index), len(grown), len(grown_again)) == (num_items, num_items + 20, num_items + 20)
    assert grown.spec == index.spec
    assert all(list(map(as_pairs, search.result())) == before for search in meanwhile)
    assert list(map(as_pairs, index.search(queries, ks, filters))) == before
    whole = np.concatenate([table, more])
    only_new = RowFilter(np.arange(len(whole)) >= num_items)
    for query, hits in zip(queries, grown.search(queries, ks, [only_new] * 50), strict=True):
        assert hits.rows.tolist() == [row for row, _ in rank_by_hand(whole, query, 5, only_new)]


@pytest.mark.parametrize("kind", KINDS)
def test_index_survives_a_file(kind: IndexKind, tmp_path: Path) -> None:
    """An index read again has the same size, width and answers, and is written as the same bytes."""
    table = random_table(3000, 8)
    spec = choose_spec(3000, kind)
    index = ItemIndex.build(table, spec)
    index.write(tmp_path / "a.faiss")

    read = ItemIndex.read(tmp_path / "a.faiss", spec)
    read.write(tmp_path / "b.faiss")

    assert (len(read), read.dim, read.spec) == (3000, 8, spec)
    filters = [RowFilter(excluded=as_rows({0}))]
    assert as_pairs(read.search(table[:1], [5], filters)[0]) == as_pairs(index.search(table[:1], [5], filters)[0])
    assert (tmp_path / "a.faiss").read_bytes() == (tmp_path / "b.faiss").read_bytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0, 4, 40])
def test_unreadable_file_is_refused_by_name(tmp_path: Path, kept: int, kind: IndexKind) -> None:
    """A file that is cut off is an error that names it."""
    path = tmp_path / "index.faiss"
    spec = choose_spec(50, kind)
    ItemIndex.build(np.ones((50, 8), dtype=np.float32), spec).write(path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(BundleCorruptError, match=r"^index\.faiss: FAISS cannot read it$"):
        ItemIndex.read(path, spec)


def test_index_of_another_kind_is_refused(tmp_path: Path) -> None:
    """The file must hold an index of the requested kind."""
    path = tmp_path / "index.faiss"
    ItemIndex.build(np.ones((50, 8), dtype=np.float32)).write(path)

    with pytest.raises(BundleCorruptError, match=r"^index\.faiss: it is a IndexFlatIP, no index of kind hnsw$"):
        ItemIndex.read(path, choose_spec(50, "hnsw"))


@pytest.mark.parametrize("content", [b"not an index at all", None])
def test_other_or_no_file_is_refused_by_name(tmp_path: Path, content: bytes | None) -> None:
    """Neither another format nor a missing file is read."""
    path = tmp_path / "index.faiss"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BundleCorruptError, match=r"^index\.faiss: "):
        ItemIndex.read(path)


def test_merged_answers_are_the_answer_of_one_index() -> None:
    """A table searched in two parts and merged gives what the whole table gives, ties included."""
    random = np.random.default_rng(0)
    table = random.integers(-1, 2, size=(60, 3)).astype(np.float32)
    query = np.array([[1, 2, 3]], dtype=np.float32)
    (first,) = ItemIndex.build(table[:25]).search(query, [10], [ALL])
    (second,) = ItemIndex.build(table[25:]).search(query, [10], [ALL])

    merged = merge_hits([Hits(second.rows + 25, second.scores), first], 10)

    assert as_pairs(merged) == as_pairs(ItemIndex.build(table).search(query, [10], [ALL])[0])
