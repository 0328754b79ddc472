import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb.api.recommend import Filters
from llmemb.bundle import read_bundle
from llmemb_service.catalogue.catalogue import Head
from llmemb_service.catalogue.snapshot.base import FaissSegment
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.observability.metrics import Metrics
from llmemb_service.storage.changes import Array, Change, EmbeddedBy, PutItem, RemoveItem
from tests.support.reference import Reference, changes, vector_of


@pytest.fixture(scope="module")
def first(tiny_bundle: Path) -> Snapshot:
    return Snapshot.of(read_bundle(tiny_bundle))


def puts(first: Snapshot, numbers: range) -> list[Change]:
    bundle = first.bundle
    return [
        PutItem(f"new-{i}", f'{{"title":"{i}"}}', None, None, EmbeddedBy(bundle.manifest.id, vector_of(bundle, i)))
        for i in numbers
    ]


def answer(snapshot: Snapshot) -> dict[str, float]:
    query = vector_of(snapshot.bundle, 1)[None]
    hits = snapshot.search(query, [1000], [snapshot.selection(Filters(available=None), ())])[0]
    return {snapshot.item_id(row): score for row, score in zip(hits.rows.tolist(), hits.scores.tolist(), strict=True)}


@settings(max_examples=30)
@given(data=st.data())
def test_head_answers_alike_while_it_folds(first: Snapshot, data: st.DataObject) -> None:
    """Whatever comes while a fold runs is there before, during and after it."""
    head, reference = Head(first, fold_items=3, metrics=Metrics()), Reference(first.bundle)
    for batch in data.draw(st.lists(st.lists(changes(first.bundle), min_size=1, max_size=5), max_size=12)):
        head.apply(batch)
        for change in batch:
            reference.take(change)
        reference.check(head.snapshot)
    head.wait_until_folded()
    reference.check(head.snapshot)
    scores = reference.scores(vector_of(first.bundle, 1))
    found = answer(head.snapshot)
    assert found.keys() == scores.keys()
    np.testing.assert_allclose([found[item_id] for item_id in scores], list(scores.values()), rtol=1e-4, atol=1e-5)


def test_added_items_go_into_the_index(first: Snapshot) -> None:
    """Past the limit; an older snapshot stays as it was."""
    head = Head(first, fold_items=10, metrics=Metrics())
    head.apply(puts(first, range(8)))
    old = head.snapshot
    before = answer(old)
    head.apply(puts(first, range(8, 20)))
    head.wait_until_folded()

    assert len(head.snapshot.segment) == head.snapshot.num_rows == 60
    assert len(old.segment) == 40
    assert answer(old) == before
    assert answer(head.snapshot).items() >= before.items()


def test_hidden_rows_go_for_good(first: Snapshot) -> None:
    """What is put again and again takes room only for a while."""
    head = Head(first, fold_items=10, metrics=Metrics())
    for number in range(300):
        put = puts(first, range(number, number + 1))[0]
        assert isinstance(put, PutItem)
        head.apply([PutItem("same", put.attributes_json, None, None, put.embedded)])
    head.wait_until_folded()

    assert len(head.snapshot) == 41
    assert head.snapshot.num_rows < 100
    row = head.snapshot.row("same")
    assert row is not None
    assert head.snapshot.attributes(row) == {"title": "299"}


def test_reset_forgets_the_fold_that_runs(first: Snapshot) -> None:
    """A log that restores its followers has the last word."""
    head = Head(first, fold_items=2, metrics=Metrics())
    for number in range(20):
        head.apply([*puts(first, range(5 * number, 5 * number + 5)), RemoveItem(str(number + 1))])
        head.reset(puts(first, range(number)))
        assert len(head.snapshot) == 40 + number
    head.wait_until_folded()

    assert len(head.snapshot) == 59


class _Broken(FaissSegment):
    """Searches, and cannot be extended."""

    def __init__(self, first: Snapshot) -> None:
        super().__init__(first.bundle.index)
        self.tries = 0

    def extended(self, vectors: Array) -> FaissSegment:
        self.tries += 1
        raise MemoryError


def test_failed_fold_is_said_and_tried_again_later(first: Snapshot, caplog: pytest.LogCaptureFixture) -> None:
    """Until then the items are searched beside the index; and it is not tried over and over."""
    broken = _Broken(first)
    head = Head(first.with_segment(broken), fold_items=10, metrics=Metrics())
    with caplog.at_level(logging.ERROR):
        head.apply(puts(first, range(11)))
        head.wait_until_folded()
        head.apply(puts(first, range(11, 15)))
        head.wait_until_folded()
    assert broken.tries == 1
    assert "folded" in caplog.text
    assert len(answer(head.snapshot)) == 55

    head.apply(puts(first, range(15, 40)))
    head.wait_until_folded()
    assert broken.tries == 2
    assert len(answer(head.snapshot)) == 80


def test_closed_head_folds_no_more(first: Snapshot) -> None:
    """And still takes changes."""
    head = Head(first, fold_items=1, metrics=Metrics())
    head.close()
    head.apply(puts(first, range(10)))

    assert len(head.snapshot) == 50
    assert len(head.snapshot.segment) == 40
