"""`llmemb.index`: the same answer as ranking the whole table by hand."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llmemb.errors import BundleCorruptError
from llmemb.index import Array, Hits, ItemIndex, merge_hits

# Small whole numbers: their sums are exact in float32, so that ties are ties in any order of addition.
WHOLE = st.integers(-2, 2).map(float)


@st.composite
def searches(draw: st.DrawFn) -> tuple[Array, Array, int, list[set[int]]]:
    """A table with many ties, queries, k up to far above the table, and excluded rows, perhaps all of them."""
    num_items, num_queries = draw(st.integers(0, 40)), draw(st.integers(1, 4))
    table = draw(hnp.arrays(np.float32, (num_items, 2), elements=WHOLE))
    queries = draw(hnp.arrays(np.float32, (num_queries, 2), elements=WHOLE))
    rows = st.sets(st.integers(0, num_items - 1)) if num_items else st.just(set())
    excluded = draw(st.lists(rows, min_size=num_queries, max_size=num_queries))
    return table, queries, draw(st.integers(1, 60)), excluded


def rank_by_hand(table: Array, query: Array, k: int, excluded: set[int]) -> list[tuple[int, float]]:
    """Rank all rows by score, equal scores by row."""
    scored = [(row, float(table[row] @ query)) for row in range(len(table)) if row not in excluded]
    return sorted(scored, key=lambda hit: (-hit[1], hit[0]))[:k]


def as_pairs(hits: Hits) -> list[tuple[int, float]]:
    """The rows and scores of an answer, side by side."""
    return list(zip(hits.rows.tolist(), hits.scores.tolist(), strict=True))


@given(searches())
def test_search_equals_ranking_by_hand(search: tuple[Array, Array, int, list[set[int]]]) -> None:
    """The k best that are not excluded, equal scores by row, for tables with ties and any k."""
    table, queries, k, excluded = search

    hits = ItemIndex.build(table).search(queries, k, excluded)

    assert list(map(as_pairs, hits)) == [
        rank_by_hand(table, query, k, rows) for query, rows in zip(queries, excluded, strict=True)
    ]


@pytest.mark.parametrize("k", [1, 3, 150])
def test_ties_over_the_whole_table_come_by_row(k: int) -> None:
    """Of a thousand equal items the first k rows come, in their order, even with an excluded one among them."""
    table = np.ones((1000, 4), dtype=np.float32)

    (hits,) = ItemIndex.build(table).search(np.ones((1, 4), dtype=np.float32), k, [{1}])

    assert hits.rows.tolist() == [0, *range(2, k + 1)]


@pytest.mark.parametrize("num_queries", [1, 30, 300])
def test_answer_does_not_depend_on_the_other_queries(num_queries: int) -> None:
    """A query among many gets the answer that it gets alone."""
    random = np.random.default_rng(0)
    table = random.normal(size=(500, 16)).astype(np.float32)
    queries = random.normal(size=(num_queries, 16)).astype(np.float32)
    index = ItemIndex.build(table)

    together = index.search(queries, 10, [{row} for row in range(num_queries)])
    alone = [index.search(queries[i : i + 1], 10, [{i}])[0] for i in range(num_queries)]

    assert [hits.rows.tolist() for hits in together] == [hits.rows.tolist() for hits in alone]


def test_types_of_an_answer() -> None:
    """Rows are int64 and scores float32, for an empty answer too."""
    index = ItemIndex.build(np.ones((3, 2), dtype=np.float32))
    queries = np.ones((2, 2), dtype=np.float32)

    for hits in index.search(queries, 2, [set(), {0, 1, 2}]):
        assert hits.rows.dtype == np.int64
        assert hits.scores.dtype == np.float32


def test_table_is_copied() -> None:
    """Changing the table afterwards changes no answer."""
    table = np.ones((3, 2), dtype=np.float32)
    index = ItemIndex.build(table)
    table[:] = 0

    assert index.search(np.ones((1, 2), dtype=np.float32), 1, [set()])[0].scores.tolist() == [2.0]


def test_index_survives_a_file(tmp_path: Path) -> None:
    """An index read again has the same size, width and answers, and is written as the same bytes."""
    table = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    index = ItemIndex.build(table)
    index.write(tmp_path / "a.faiss")

    read = ItemIndex.read(tmp_path / "a.faiss")
    read.write(tmp_path / "b.faiss")

    assert (len(read), read.dim) == (50, 8)
    assert as_pairs(read.search(table[:1], 5, [{0}])[0]) == as_pairs(index.search(table[:1], 5, [{0}])[0])
    assert (tmp_path / "a.faiss").read_bytes() == (tmp_path / "b.faiss").read_bytes()


@pytest.mark.parametrize("kept", [0, 4, 40])
def test_unreadable_file_is_refused_by_name(tmp_path: Path, kept: int) -> None:
    """A file that is cut off is an error that names it."""
    path = tmp_path / "index.faiss"
    ItemIndex.build(np.ones((50, 8), dtype=np.float32)).write(path)
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(BundleCorruptError, match=r"^index\.faiss: FAISS cannot read it$"):
        ItemIndex.read(path)


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
    (first,) = ItemIndex.build(table[:25]).search(query, 10, [set()])
    (second,) = ItemIndex.build(table[25:]).search(query, 10, [set()])

    merged = merge_hits([Hits(second.rows + 25, second.scores), first], 10)

    assert as_pairs(merged) == as_pairs(ItemIndex.build(table).search(query, 10, [set()])[0])
