from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb.api.recommend import Filters
from llmemb.bundle import Bundle, read_bundle
from llmemb.index import Hits, IndexKind, choose_spec
from llmemb_service.catalogue.snapshot.edition import compacted, extended_segment, with_changes
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.storage.changes import Change, EmbeddedBy, PatchItem, PutItem, RemoveItem
from tests.support.reference import IDS, Reference, changes, enlarged, filters, vector_of

BUNDLES = ["tiny", "full", "large"]


@pytest.fixture(scope="module", params=BUNDLES)
def first(request: pytest.FixtureRequest) -> Snapshot:
    name = {"large": "full"}.get(request.param, request.param)
    bundle = read_bundle(request.getfixturevalue(f"{name}_bundle"))
    return Snapshot.of(enlarged(bundle, 3000) if request.param == "large" else bundle)


@pytest.fixture(scope="module")
def tiny(tiny_bundle: Path) -> Snapshot:
    return Snapshot.of(read_bundle(tiny_bundle))


def put(bundle: Bundle, item_id: str, seed: int = 1, categories: tuple[str, ...] | None = None) -> PutItem:
    vector = vector_of(bundle, seed)
    return PutItem(item_id, f'{{"title":"new {seed}"}}', categories, None, EmbeddedBy(bundle.manifest.id, vector))


def agree(snapshot: Snapshot, hits: Hits, scores: Mapping[str, float], passing: set[str], k: int) -> None:
    """The k best by `scores` of those that pass; which of two that nearly tie comes first is not held to anything."""
    best = sorted((score for item_id, score in scores.items() if item_id in passing), reverse=True)[:k]
    ids = [snapshot.item_id(row) for row in hits.rows.tolist()]
    assert set(ids) <= passing
    assert len(set(ids)) == len(ids) == len(best)
    np.testing.assert_allclose(hits.scores, best, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(hits.scores, [scores[item_id] for item_id in ids], rtol=1e-4, atol=1e-5)


def fold(snapshot: Snapshot, how: str) -> Snapshot:
    if how == "compact":
        return compacted(snapshot)
    return snapshot if how == "none" else snapshot.with_segment(extended_segment(snapshot))


steps = st.lists(st.tuples(st.integers(1, 6), st.sampled_from(["none", "none", "extend", "compact"])), max_size=5)


@settings(max_examples=40)
@given(data=st.data(), steps=steps, seed=st.integers(0, 99), ks=st.lists(st.integers(1, 60), min_size=1, max_size=3))
def test_answers_are_brute_force_over_the_catalogue(
    first: Snapshot, data: st.DataObject, steps: Sequence[tuple[int, str]], seed: int, ks: list[int]
) -> None:
    """Whatever was put, patched, removed and folded, and whatever the filters: the k best that pass."""
    snapshot, reference = first, Reference(first.bundle)
    for size, how in steps:
        batch: list[Change] = data.draw(st.lists(changes(first.bundle), min_size=size, max_size=size))
        snapshot = fold(with_changes(snapshot, batch), how)
        for change in batch:
            reference.take(change)
    reference.check(snapshot)
    asked = data.draw(st.lists(st.tuples(filters(), st.sets(st.sampled_from(IDS))), min_size=len(ks), max_size=len(ks)))
    rows = [[row for item_id in ids if (row := snapshot.row(item_id)) is not None] for _, ids in asked]
    passing = [snapshot.selection(each, few) for (each, _), few in zip(asked, rows, strict=True)]
    expected = [reference.passing(*each) for each in asked]
    queries = np.stack([vector_of(first.bundle, seed + i) for i in range(len(ks))])

    for k, query, hits, ids in zip(ks, queries, snapshot.search(queries, ks, passing), expected, strict=True):
        agree(snapshot, hits, reference.scores(query), ids, k)
    agree(snapshot, snapshot.popular(ks[0], passing[0]), popularity(reference), expected[0], ks[0])
    row = snapshot.row("1")
    assert row is not None
    cosines = reference.cosines("1")
    agree(snapshot, snapshot.similar(row, ks[0], passing[0]), cosines, expected[0] - {"1"}, ks[0])


def popularity(reference: Reference) -> dict[str, float]:
    return {item_id: item.popularity for item_id, item in reference.items.items()}


def test_many_that_do_not_pass_are_masked_out(first: Snapshot) -> None:
    """As are few: an item less of the catalogue is no item less of the answer."""
    bundle, reference = first.bundle, Reference(first.bundle)
    gone: list[Change] = [RemoveItem(item_id) for item_id in bundle.items.ids[20:2300]]
    gone += [PatchItem(item_id, None, False) for item_id in bundle.items.ids[:5]]
    snapshot = with_changes(first, [*gone, put(bundle, "new")])
    for change in [*gone, put(bundle, "new")]:
        reference.take(change)
    query = vector_of(bundle, 3)

    for asked in (Filters(), Filters(available=None), Filters(available=False), Filters(categories_any=["Long"])):
        hits = snapshot.search(query[None], [30], [snapshot.selection(asked, [7])])[0]
        agree(snapshot, hits, reference.scores(query), reference.passing(asked, {"8"}), 30)


@settings(max_examples=20)
@given(data=st.data())
def test_snapshot_is_not_changed_by_the_next(first: Snapshot, data: st.DataObject) -> None:
    """An old snapshot answers as before, whatever has been made from it, and from one snapshot two may be made."""
    bundle = first.bundle
    batches = data.draw(st.lists(st.lists(changes(bundle), max_size=4), min_size=2, max_size=4))
    old = with_changes(first, batches[0])
    reference = Reference(bundle)
    for change in batches[0]:
        reference.take(change)
    query = vector_of(bundle, 5)[None]
    before = old.search(query, [60], [old.selection(Filters(available=None), ())])[0]
    compacted(old)
    for batch in batches[1:]:
        with_changes(old, batch)

    after = old.search(query, [60], [old.selection(Filters(available=None), ())])[0]
    reference.check(old)
    np.testing.assert_array_equal(after.rows, before.rows)
    np.testing.assert_array_equal(after.scores, before.scores)


@settings(max_examples=20)
@given(data=st.data())
def test_folding_changes_no_score(first: Snapshot, data: st.DataObject) -> None:
    """Bit by bit, whether an item is beside the index or in it."""
    snapshot = with_changes(first, data.draw(st.lists(changes(first.bundle), max_size=12)))
    query = vector_of(first.bundle, 4)[None]

    def answer(of: Snapshot) -> list[tuple[str, float]]:
        hits = of.search(query, [70], [of.selection(Filters(available=None), ())])[0]
        return [(of.item_id(row), score) for row, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)]

    assert answer(fold(snapshot, "extend")) == answer(snapshot)
    assert sorted(answer(compacted(snapshot))) == sorted(answer(snapshot))


def test_equal_scores_come_in_the_order_of_their_rows(tiny: Snapshot) -> None:
    """Be they in the index or beside it."""
    bundle = tiny.bundle
    snapshot = with_changes(tiny, [put(bundle, f"new-{i}", seed=9) for i in range(40)])
    query = vector_of(bundle, 9)[None]
    part = fold(snapshot, "extend")
    more = with_changes(part, [put(bundle, f"newer-{i}", seed=9) for i in range(5)])

    hits = more.search(query, [85], [more.selection(Filters(), ())])[0]
    assert [row for row in hits.rows.tolist() if row >= 40] == list(range(40, 85))


def test_replaced_item_of_the_bundle_keeps_what_its_interactions_taught(first: Snapshot) -> None:
    """Its residual and its popularity; its attributes are the new ones."""
    bundle = first.bundle
    assert bundle.residual is not None
    change = put(bundle, "1")
    snapshot = with_changes(first, [change])
    row = snapshot.row("1")

    assert row == len(bundle.items.ids)
    assert snapshot.attributes(row) == {"title": "new 1"}
    assert snapshot.popularity(row) == bundle.items.popularity[0]
    embedding, profile = np.split(snapshot.vector(row), [bundle.manifest.dim])
    total = change.embedded.vector[: bundle.manifest.dim] + bundle.residual[0]
    length = np.linalg.norm(total) if bundle.manifest.scoring == "cosine" else 1
    np.testing.assert_allclose(embedding, total / length, rtol=1e-5)
    np.testing.assert_array_equal(profile, change.embedded.vector[bundle.manifest.dim :])


def test_item_has_the_categories_of_its_attributes_until_it_is_given_others(tiny: Snapshot) -> None:
    """Given ones stay when the attributes change, and go with the item."""
    bundle = tiny.bundle
    snapshot = with_changes(tiny, [PatchItem("1", ("Mine",), None), put(bundle, "1")])
    row = snapshot.row("1")
    assert row is not None
    again = with_changes(snapshot, [RemoveItem("1"), put(bundle, "1")])
    row_again = again.row("1")
    assert row_again is not None

    assert set(tiny.categories(0)) == set(bundle.items.attributes(0)["genres"])
    assert snapshot.categories(row) == ("Mine",)
    assert again.categories(row_again) == ()


def test_same_item_put_twice_takes_one_row(tiny: Snapshot) -> None:
    """A change that was already applied changes nothing."""
    once = with_changes(tiny, [put(tiny.bundle, "new")])

    assert with_changes(once, [put(tiny.bundle, "new")]).num_rows == once.num_rows == 41
    assert with_changes(tiny, [put(tiny.bundle, "new")] * 2).num_rows == 41


def test_change_of_an_item_that_is_not_there_changes_nothing(tiny: Snapshot) -> None:
    """A patch neither makes an item nor brings one back."""
    snapshot = with_changes(tiny, [RemoveItem("1"), PatchItem("1", ("x",), True), PatchItem("new", None, False)])

    assert len(snapshot) == 39
    assert snapshot.row("1") is None
    assert with_changes(snapshot, [RemoveItem("1"), RemoveItem("new")]).row("new") is None


def test_tail_and_cold_items_are_told_by_their_interactions(tiny: Snapshot) -> None:
    """Four in five of those with interactions are tail; those without are cold, as is every new item."""
    snapshot = with_changes(tiny, [put(tiny.bundle, "new")])
    rows = range(40)
    tail = [snapshot.popularity(row) for row in rows if snapshot.is_tail(row)]
    head = [snapshot.popularity(row) for row in rows if not snapshot.is_tail(row) and not snapshot.is_cold(row)]

    assert [row for row in rows if snapshot.is_cold(row)] == [36, 37, 38, 39]
    assert snapshot.is_cold(40)
    assert max(tail) < min(head)
    assert 0.7 <= len(tail) / 36 <= 0.8


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_other_indexes_answer_through_changes_and_folds(full_bundle: Path, kind: IndexKind) -> None:
    """Every result passes its filter, and new items are found too."""
    bundle = enlarged(read_bundle(full_bundle), 3000, choose_spec(3000, kind))
    snapshot, reference = Snapshot.of(bundle), Reference(bundle)
    batch: list[Change] = [put(bundle, f"new-{i}", i) for i in range(200)] + [RemoveItem(str(i)) for i in range(1, 30)]
    snapshot = fold(with_changes(snapshot, batch[:150]), "extend")
    snapshot = with_changes(snapshot, batch[150:])
    for change in batch:
        reference.take(change)
    asked = Filters(categories_any=["Long"], deny=["made-1"])

    found = 0
    for version in (snapshot, compacted(snapshot)):
        for seed in range(20):
            query = vector_of(bundle, seed)
            for each in (asked, Filters()):
                hits = version.search(query[None], [10], [version.selection(each, ())])[0]
                ids = [version.item_id(row) for row in hits.rows.tolist()]
                scores, passing = reference.scores(query), reference.passing(each, set())
                assert len(ids) == 10
                assert set(ids) <= passing
                found += len(set(ids) & set(sorted(passing, key=lambda i: -scores[i])[:10]))
    assert found >= 0.9 * 10 * 80
