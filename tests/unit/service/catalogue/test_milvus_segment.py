import gc
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmemb.api.recommend import Filters
from llmemb.bundle import Bundle, read_bundle
from llmemb.errors import ConfigError
from llmemb.index import Hits, IndexKind, ItemIndex, choose_spec
from llmemb_service.catalogue.milvus.collection import UNUSED_SECONDS
from llmemb_service.catalogue.milvus.filters import StoredCategories
from llmemb_service.catalogue.milvus.open import open_vector_store
from llmemb_service.catalogue.milvus.search import StackedVectors
from llmemb_service.catalogue.milvus.segment import MilvusStore
from llmemb_service.catalogue.snapshot.base import FaissSegment
from llmemb_service.catalogue.snapshot.edition import compacted, extended_segment, with_changes
from llmemb_service.catalogue.snapshot.rows import Passing
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Change, PatchItem
from tests.support.milvus import milvus_server, milvus_store
from tests.support.ports import free_port
from tests.support.reference import IDS, changes, enlarged, filters, vector_of
from tests.support.service import make_settings
from tests.support.waiting import wait_until

NUM_ITEMS = 600


@pytest.fixture(scope="module")
def bundle(full_bundle: Path) -> Bundle:
    """The full bundle with more items, every fourth like the three after it, so that scores tie."""
    large = enlarged(read_bundle(full_bundle), NUM_ITEMS)
    assert large.residual is not None
    assert large.profile is not None
    same = np.arange(NUM_ITEMS) // 4 * 4
    tied = replace(large, semantic=large.semantic[same], residual=large.residual[same], profile=large.profile[same])
    return replace(tied, index=ItemIndex.build(tied.item_vectors))


@pytest.fixture(scope="module")
def store(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusStore]:
    with milvus_store(bundle, tmp_path_factory.mktemp("milvus") / "shared.db") as opened:
        yield opened


def queries_of(bundle: Bundle, seed: int, count: int) -> np.ndarray:
    return np.stack([vector_of(bundle, seed + i) for i in range(count)])


def assert_same(found: Sequence[Hits], expected: Sequence[Hits]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.rows.tolist() == other.rows.tolist()
        assert one.scores.tolist() == other.scores.tolist()


asked = st.lists(st.tuples(filters(), st.sets(st.sampled_from(IDS)), st.integers(1, 60)), min_size=1, max_size=3)
steps = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["none", "extend", "compact"])), max_size=3)
FEW = settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow])  # Milvus Lite takes its time


def passing_of(snapshot: Snapshot, each: Filters, ids: set[str]) -> Passing:
    return snapshot.selection(each, [row for item_id in ids if (row := snapshot.row(item_id)) is not None])


@FEW
@given(data=st.data(), asked=asked, seed=st.integers(0, 99))
def test_the_base_answers_as_faiss_does(
    bundle: Bundle, store: MilvusStore, data: st.DataObject, asked: list[tuple[Filters, set[str], int]], seed: int
) -> None:
    """Whatever was patched, removed or replaced, and whatever the filters: the same rows, scores and order."""
    snapshot = with_changes(Snapshot.of(bundle), data.draw(st.lists(changes(bundle), max_size=12)))
    passing = [passing_of(snapshot, each, ids) for each, ids, _ in asked]
    ks = [k for _, _, k in asked]
    queries = queries_of(bundle, seed, len(asked))
    assert_same(store.base.search(queries, ks, passing), FaissSegment(bundle.index).search(queries, ks, passing))


@FEW
@given(data=st.data(), steps=steps, asked=asked, seed=st.integers(0, 99))
def test_folded_items_answer_as_they_do_in_faiss(
    bundle: Bundle,
    store: MilvusStore,
    data: st.DataObject,
    steps: list[tuple[int, str]],
    asked: list[tuple[Filters, set[str], int]],
    seed: int,
) -> None:
    """Extended or built again, beside older snapshots that still answer."""
    both = [Snapshot.of(bundle, store.base), Snapshot.of(bundle)]
    seen = [both]
    for size, how in steps:
        batch: list[Change] = data.draw(st.lists(changes(bundle), min_size=size, max_size=size))
        both = [with_changes(each, batch) for each in both]
        if how == "extend":
            both = [each.with_segment(extended_segment(each)) for each in both]
        elif how == "compact":
            both = [compacted(each) for each in both]
        seen.append(both)
    queries = queries_of(bundle, seed, len(asked))
    for ours, theirs in seen:
        passing = [passing_of(ours, each, ids) for each, ids, _ in asked]
        ks = [k for _, _, k in asked]
        assert_same(ours.segment.search(queries, ks, passing), theirs.segment.search(queries, ks, passing))


@pytest.mark.parametrize(
    "given_filters",
    [
        Filters(categories_any=["Rare"]),
        Filters(categories_any=["Rare", "Nobody's", "Drama"], categories_all=["Rare"]),
        Filters(categories_all=["Rare", "Live"]),
        Filters(categories_any=["Live"]),
    ],
)
def test_categories_are_those_of_now(bundle: Bundle, store: MilvusStore, given_filters: Filters) -> None:
    """A patched category counts, though Milvus has the one from before."""
    few = [PatchItem(item_id, ("Rare", "Live"), None) for item_id in ("1", "7", "made-3")]
    gone = [PatchItem(f"made-{i}", ("Drama",), None) for i in range(500, 530)]
    snapshot = with_changes(Snapshot.of(bundle), [*few, *gone])
    queries = queries_of(bundle, 5, 2)
    passing = [snapshot.selection(given_filters, [])] * 2
    found = store.base.search(queries, [10, 200], passing)
    assert_same(found, FaissSegment(bundle.index).search(queries, [10, 200], passing))
    assert len(found[1].rows) == min(200, np.count_nonzero(passing[1].mask(0, NUM_ITEMS)))


def test_an_expression_lists_only_what_changed(bundle: Bundle) -> None:
    """Rows that took a category since are listed; where that gets long, Milvus does not filter."""
    stored = StoredCategories.of(bundle.items.attributes_json, bundle.manifest.categories_attribute)
    snapshot = with_changes(Snapshot.of(bundle), [PatchItem("made-3", ("Live",), None)])
    number = stored.numbers["Rare"]
    rare = stored.expression(snapshot.selection(Filters(categories_any=["Rare"]), []))
    assert rare.text == f"(array_contains_any(categories, [{number}]))"
    live = stored.expression(snapshot.selection(Filters(categories_any=["Rare"], categories_all=["Live"]), []))
    assert live.text == f"(row in [{snapshot.row('made-3')}]) and (array_contains_any(categories, [{number}]))"
    assert live.rows == 1
    long = StoredCategories.of([text.replace("Long", "Short") for text in bundle.items.attributes_json * 4], "genres")
    longer = Snapshot.of(enlarged(bundle, 4 * NUM_ITEMS))
    assert long.expression(longer.selection(Filters(categories_any=["Long"]), [])).text == ""


def test_many_ties_and_few_that_pass_cost_no_answer(bundle: Bundle, store: MilvusStore) -> None:
    """Rows that tie at the end of what was fetched are looked for; a history at the top is looked past."""
    snapshot = Snapshot.of(bundle)
    queries = bundle.item_vectors[[8, 400]]
    best = FaissSegment(bundle.index).search(queries, [300] * 2, [snapshot.selection(Filters(), [])] * 2)
    for k in (1, 2, 3, 10):
        passing = [snapshot.selection(Filters(), hits.rows[:250].tolist()) for hits in best]
        expected = FaissSegment(bundle.index).search(queries, [k] * 2, passing)
        assert_same(store.base.search(queries, [k] * 2, passing), expected)


def test_vectors_of_several_arrays_are_one_table() -> None:
    """Rows are found in the array that has them, and scored exactly."""
    random = np.random.default_rng(3)
    table = random.normal(size=(90, 8)).astype(np.float32)
    stacked = StackedVectors((table[:50],)).with_part(table[50:51]).with_part(table[51:])
    rows = random.permutation(90)[:40]
    np.testing.assert_array_equal(stacked.take(rows), table[rows])
    hits = stacked.best(table[0], rows, 5)
    scores = table[rows] @ table[0]
    assert hits.rows.tolist() == rows[np.argsort(-scores)[:5]].tolist()
    assert len(stacked) == 90


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_an_approximate_index_finds_what_it_states(full_bundle: Path, tmp_path: Path, kind: IndexKind) -> None:
    """Milvus's index of the kind that the bundle was made with loses no more, whatever the filter."""
    bundle = enlarged(read_bundle(full_bundle), 1500, choose_spec(1500, kind))
    exact, snapshot = FaissSegment(ItemIndex.build(bundle.item_vectors)), Snapshot.of(bundle)
    queries = queries_of(bundle, 1, 20)
    with milvus_store(bundle, tmp_path / f"{kind}.db") as store:
        for each in (Filters(), Filters(categories_any=["Drama"]), Filters(categories_all=["Rare"])):
            passing = [snapshot.selection(each, range(10))] * 20
            found = store.base.search(queries, [10] * 20, passing)
            best = exact.search(queries, [10] * 20, passing)
            assert [len(hits.rows) for hits in found] == [len(hits.rows) for hits in best]
            stated = FaissSegment(bundle.index).search(queries, [10] * 20, passing)
            assert recall(found, best) >= recall(stated, best) - 0.05


def recall(found: Sequence[Hits], best: Sequence[Hits]) -> float:
    return float(np.mean([np.isin(one.rows, other.rows).mean() for one, other in zip(best, found, strict=True)]))


def test_a_restart_finds_the_base_and_fills_it_only_where_it_is_incomplete(
    bundle: Bundle, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was made once is used again; what was left half way is made whole."""
    caplog.set_level(logging.INFO)
    file, snapshot = tmp_path / "kept.db", Snapshot.of(bundle)
    queries, ks, passing = queries_of(bundle, 0, 1), [7], [snapshot.selection(Filters(), [])]
    expected = FaissSegment(bundle.index).search(queries, ks, passing)
    for found_whole in (False, True):
        caplog.clear()
        with milvus_store(bundle, file) as store:
            assert_same(store.base.search(queries, ks, passing), expected)
            assert ("filling Milvus" in caplog.text) == (not found_whole)
            if found_whole:
                delete(store, expected[0].rows.tolist())
    caplog.clear()
    with milvus_store(bundle, file) as store:
        assert "filling Milvus" in caplog.text
        assert_same(store.base.search(queries, ks, passing), expected)


def delete(store: MilvusStore, rows: list[int]) -> None:
    store.connection.call(lambda client: client.delete(names(store)[0], ids=rows))


def names(store: MilvusStore) -> list[str]:
    return sorted(store.connection.call(lambda client: client.list_collections()))


def test_collections_go_when_no_snapshot_uses_them(bundle: Bundle, tmp_path: Path) -> None:
    """Those of folded items when the last snapshot goes or the store closes, those of other bundles by age."""
    file = tmp_path / "gone.db"
    with milvus_store(bundle, file) as store:
        base = names(store)
        assert len(base) == 1
        extended = store.base.extended(queries_of(bundle, 0, 3))
        again = extended.extended(queries_of(bundle, 3, 2))
        assert len(names(store)) == 2
        del extended
        gc.collect()
        assert len(again) == NUM_ITEMS + 5
        rebuilt = again.rebuilt(queries_of(bundle, 0, 4))
        assert len(names(store)) == 3
        del again
        gc.collect()  # pymilvus keeps frames of calls that failed within it
        wait_until(lambda: len(names(store)) == 2, "the extension is dropped")
        assert len(rebuilt) == 4
    other = replace(bundle, manifest=bundle.manifest.model_copy(update={"id": "other"}))
    with milvus_store(other, file) as store:
        assert names(store) == sorted([*base, "llmemb_other_flat"])
        old = {"llmemb.used": str(-UNUSED_SECONDS)}
        store.connection.call(lambda client: client.alter_collection_properties(base[0], old))
    with milvus_store(other, file) as store:
        assert names(store) == ["llmemb_other_flat"]


def test_replicas_share_the_base_and_nothing_else(bundle: Bundle, tmp_path: Path) -> None:
    """A second one may fill it over the first: no row is there twice. What one folds in is not the other's."""
    snapshot, queries = Snapshot.of(bundle), queries_of(bundle, 0, 2)
    passing = [snapshot.selection(Filters(), [])] * 2
    expected = FaissSegment(bundle.index).search(queries, [20] * 2, passing)
    with milvus_server(tmp_path / "data", free_port()) as uri:
        first = MilvusStore(bundle, uri, "")
        delete(first, [3])
        second = MilvusStore(bundle, uri, "")
        for i, store in enumerate((first, second)):
            assert_same(store.base.search(queries, [20] * 2, passing), expected)
            extended = store.base.extended(queries[i : i + 1])
            assert extended.search(queries[i : i + 1], [1], passing[:1])[0].rows.tolist() == [NUM_ITEMS]
        first.close()
        assert_same(second.base.search(queries, [20] * 2, passing), expected)
        second.close()


def test_milvus_away_is_said_at_once_and_found_again(bundle: Bundle, tmp_path: Path) -> None:
    """Searches fail with what becomes a 503, and work when Milvus is back, with nothing done here."""
    port, snapshot = free_port(), Snapshot.of(bundle)
    queries, passing = queries_of(bundle, 0, 1), [snapshot.selection(Filters(), [])]
    with milvus_server(tmp_path / "data", port) as uri:
        store = MilvusStore(bundle, uri, "")
        expected = store.base.search(queries, [5], passing)
    for _ in range(2):
        with pytest.raises(StorageError, match="Milvus does not answer") as caught:
            store.base.search(queries, [5], passing)
        assert caught.value.retry_after_seconds == 2
    with pytest.raises(StorageError):
        store.base.extended(queries)

    def answers() -> bool:
        try:
            return store.base.search(queries, [5], passing)[0].rows.tolist() == expected[0].rows.tolist()
        except StorageError:
            return False

    with milvus_server(tmp_path / "data", port):
        wait_until(answers, "Milvus is found again")
    with milvus_server(tmp_path / "empty", port):
        wait_until(answers, "what Milvus has lost is filled again")
        store.close()


def test_milvus_that_was_never_there_is_said(bundle: Bundle) -> None:
    """The service cannot open the bundle then."""
    with pytest.raises(StorageError, match="Milvus does not answer"):
        MilvusStore(bundle, f"http://127.0.0.1:{free_port()}", "")


def test_settings_that_cannot_be_used_are_said(bundle: Bundle, tmp_path: Path) -> None:
    """Each by its name."""
    asks = [({}, "LLMEMB_MILVUS_URI is not set"), ({"milvus_uri": "items.lite"}, r"must end with \.db")]
    for values, message in asks:
        with pytest.raises(ConfigError, match=message):
            open_vector_store(make_settings(tmp_path, tmp_path, vector_store="milvus", **values), bundle)
    assert open_vector_store(make_settings(tmp_path, tmp_path), bundle) is None
