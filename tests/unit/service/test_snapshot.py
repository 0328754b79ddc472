import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmemb.bundle import Bundle, read_bundle
from service.item_store import StoredItem
from service.snapshot import Snapshot, item_vector


@pytest.fixture(scope="module", params=["tiny_bundle", "full_bundle"])
def bundle(request: pytest.FixtureRequest) -> Bundle:
    return read_bundle(request.getfixturevalue(request.param))


def stored(bundle: Bundle, item_id: str, seed: int) -> StoredItem:
    vector = np.random.default_rng(seed).normal(size=bundle.space.width).astype(np.float32)
    return StoredItem(item_id, f'{{"title":"new {item_id}"}}', vector, bundle.manifest.id)


additions = st.lists(st.lists(st.integers(30, 50), unique=True, min_size=1, max_size=6), max_size=4)


@given(additions=additions, seed=st.integers(0, 99), k=st.integers(1, 60), excluded=st.sets(st.integers(0, 39)))
def test_snapshot_search_is_brute_force_over_the_catalogue(
    bundle: Bundle, additions: list[list[int]], seed: int, k: int, excluded: set[int]
) -> None:
    """Whatever was added or replaced: the k best that are not excluded, each id once, the newest vector."""
    snapshot = Snapshot.of(bundle)
    vectors = dict(zip(bundle.items.ids, bundle.item_vectors, strict=True))
    for step, ids in enumerate(additions):
        items = [stored(bundle, str(number), 100 * step + number) for number in ids]
        snapshot = snapshot.with_items(items)
        vectors |= {item.id: item_vector(bundle, item.id, item.semantic) for item in items}
    query = np.random.default_rng(seed).normal(size=bundle.space.width).astype(np.float32)
    hidden = {item_id for item_id in vectors if snapshot.row(item_id) in excluded}
    expected = sorted((item_id for item_id in vectors if item_id not in hidden), key=lambda i: -vectors[i] @ query)

    hits = snapshot.search(query, k, excluded)

    assert len(snapshot) == len(vectors)
    assert [hit.id for hit in hits] == expected[:k]
    np.testing.assert_allclose(
        [hit.score for hit in hits], [vectors[hit.id] @ query for hit in hits], rtol=1e-4, atol=1e-5
    )


def test_snapshot_is_not_changed_by_the_next(bundle: Bundle) -> None:
    """An old snapshot answers as before, while the new one has the new attributes and vector."""
    first = Snapshot.of(bundle).with_items([stored(bundle, "new", 1)])
    query = np.ones(bundle.space.width, dtype=np.float32)
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
    embedding, profile = np.split(snapshot.vector(row), [bundle.manifest.dim])
    total = replaced.semantic[: bundle.manifest.dim] + bundle.residual[0]
    length = np.linalg.norm(total) if bundle.manifest.scoring == "cosine" else 1
    np.testing.assert_allclose(embedding, total / length, rtol=1e-5)
    np.testing.assert_array_equal(profile, replaced.semantic[bundle.manifest.dim :])


def test_snapshot_knows_no_row_for_a_strange_id(bundle: Bundle) -> None:
    """None, not an error: the caller collects all such ids."""
    assert Snapshot.of(bundle).row("nowhere") is None
