from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.bundle import Bundle, read_bundle
from service.item_store import StoredItem
from service.snapshot import Snapshot, item_embedding


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Iterator[Bundle]:
    return read_bundle(tiny_bundle)


def stored(bundle: Bundle, item_id: str, seed: int) -> StoredItem:
    vector = np.random.default_rng(seed).normal(size=bundle.manifest.dim).astype(np.float32)
    return StoredItem(item_id, f'{{"title":"new {item_id}"}}', vector, bundle.manifest.id)


additions = st.lists(st.lists(st.integers(30, 50), unique=True, min_size=1, max_size=6), max_size=4)


@given(additions=additions, seed=st.integers(0, 99), k=st.integers(1, 60), excluded=st.sets(st.integers(0, 39)))
def test_snapshot_search_is_brute_force_over_the_catalogue(
    bundle: Bundle, additions: list[list[int]], seed: int, k: int, excluded: set[int]
) -> None:
    """Whatever was added or replaced: the k best that are not excluded, each id once, the newest vector."""
    snapshot = Snapshot.of(bundle)
    embeddings = dict(zip(bundle.items.ids, bundle.item_embeddings, strict=True))
    for step, ids in enumerate(additions):
        items = [stored(bundle, str(number), 100 * step + number) for number in ids]
        snapshot = snapshot.with_items(items)
        embeddings |= {item.id: item_embedding(bundle, item.id, item.semantic) for item in items}
    query = np.random.default_rng(seed).normal(size=bundle.manifest.dim).astype(np.float32)
    hidden = {item_id for item_id in embeddings if snapshot.row(item_id) in excluded}
    expected = sorted(
        (item_id for item_id in embeddings if item_id not in hidden), key=lambda i: -embeddings[i] @ query
    )

    hits = snapshot.search(query, k, excluded)

    assert len(snapshot) == len(embeddings)
    assert [hit.id for hit in hits] == expected[:k]
    np.testing.assert_allclose(
        [hit.score for hit in hits], [embeddings[hit.id] @ query for hit in hits], rtol=1e-4, atol=1e-5
    )


def test_snapshot_is_not_changed_by_the_next(bundle: Bundle) -> None:
    """An old snapshot answers as before, while the new one has the new attributes and vector."""
    first = Snapshot.of(bundle).with_items([stored(bundle, "new", 1)])
    query = np.ones(bundle.manifest.dim, dtype=np.float32)
    before = first.search(query, 100, ())
    second = first.with_items([stored(bundle, "new", 2), stored(bundle, "1", 3), stored(bundle, "other", 4)])

    assert first.search(query, 100, ()) == before
    assert len(first) == 41
    assert len(second) == 42
    assert second.hidden == {0}


def test_snapshot_gives_a_replaced_item_its_new_attributes_and_its_residual(bundle: Bundle) -> None:
    """An id of the bundle keeps what its interactions taught."""
    assert bundle.residual is not None
    replaced = stored(bundle, "1", 1)
    snapshot = Snapshot.of(bundle).with_items([replaced])
    row = snapshot.row("1")

    assert row == 40
    assert snapshot.item(row, 0.5).attributes == {"title": "new 1"}
    np.testing.assert_allclose(snapshot.embedding(row), replaced.semantic + bundle.residual[0], rtol=1e-6)


def test_snapshot_knows_no_row_for_a_strange_id(bundle: Bundle) -> None:
    """None, not an error: the caller collects all such ids."""
    assert Snapshot.of(bundle).row("nowhere") is None
