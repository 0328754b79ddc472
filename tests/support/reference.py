"""A catalogue as plain dicts, and answers by brute force: what the real one is held to."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from llmemb.api.recommend import Filters
from llmemb.bundle import Bundle, BundleItems
from llmemb.index import IndexSpec, ItemIndex
from llmemb_service.catalogue.snapshot.base import categories_of
from llmemb_service.catalogue.snapshot.edition import item_vectors
from llmemb_service.catalogue.snapshot.snapshot import Snapshot
from llmemb_service.storage.changes import Array, Change, EmbeddedBy, PatchItem, PutItem, RemoveItem

IDS = [str(number) for number in range(30, 50)]
"""Some of the tiny bundle's 40, and some that it does not know."""
CATEGORIES = ["Drama", "Action", "Horror", "Live"]
"""Three of the tiny bundle's genres, and one that only changes bring."""


@dataclass(frozen=True)
class Known:
    """An item of the reference."""

    vector: Array
    text: str
    popularity: int
    given: tuple[str, ...] | None = None
    available: bool = True
    added: bool = False


class Reference:
    """The items by id; changed in place."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        items = bundle.items
        self.popularity = dict(zip(items.ids, items.popularity.tolist(), strict=True))
        self.items = {
            item_id: Known(bundle.item_vectors[row], items.attributes_json[row], self.popularity[item_id])
            for row, item_id in enumerate(items.ids)
        }

    def take(self, change: Change) -> None:
        """Take a change in."""
        before = self.items.get(change.id)
        if isinstance(change, RemoveItem):
            self.items.pop(change.id, None)
            return
        if before is not None:
            given = before.given if change.categories is None else change.categories
            available = before.available if change.available is None else change.available
            before = self.items[change.id] = replace(before, given=given, available=available)
        if isinstance(change, PutItem):
            vector = item_vectors(self.bundle, [change.id], change.embedded.vector[None])[0]
            given = change.categories if before is None else before.given
            available = change.available is not False if before is None else before.available
            popularity = self.popularity.get(change.id, 0)
            self.items[change.id] = Known(vector, change.attributes_json, popularity, given, available, added=True)

    def categories(self, item_id: str) -> tuple[str, ...]:
        """An item's categories."""
        item = self.items[item_id]
        return categories_of(item.text, "genres") if item.given is None else item.given

    def passing(self, filters: Filters, excluded: set[str]) -> set[str]:
        """The ids that pass."""
        return {item_id for item_id in self.items if item_id not in excluded and self._passes(item_id, filters)}

    def _passes(self, item_id: str, filters: Filters) -> bool:
        categories = set(self.categories(item_id))
        return (
            (not filters.categories_any or bool(categories & set(filters.categories_any)))
            and categories >= set(filters.categories_all)
            and (filters.available is None or filters.available == self.items[item_id].available)
            and (filters.allow is None or item_id in filters.allow)
            and item_id not in filters.deny
        )

    def scores(self, query: Array) -> dict[str, float]:
        """Each item's score for a query `(D,)`."""
        return {item_id: float(item.vector.astype(np.float64) @ query) for item_id, item in self.items.items()}

    def cosines(self, item_id: str) -> dict[str, float]:
        """The cosine of each item's embedding with that of one, which is left out."""
        dim = self.bundle.space.dim
        one = self.items[item_id].vector[:dim].astype(np.float64)
        return {
            other: float(item.vector[:dim] @ one / np.linalg.norm(one) / np.linalg.norm(item.vector[:dim]))
            for other, item in self.items.items()
            if other != item_id
        }

    def check(self, snapshot: Snapshot) -> None:
        """Hold a snapshot's reading to it."""
        assert len(snapshot) == len(self.items)
        assert snapshot.num_added == sum(item.added for item in self.items.values())
        for item_id in {*IDS, "1", "nowhere"}:
            row = snapshot.row(item_id)
            if item_id not in self.items:
                assert row is None
                continue
            item = self.items[item_id]
            assert row is not None
            assert snapshot.item_id(row) == item_id
            assert snapshot.attributes_json(row) == item.text
            assert set(snapshot.categories(row)) == set(self.categories(item_id))
            assert snapshot.available(row) == item.available
            assert snapshot.source(row) == ("added" if item.added else "bundle")
            assert snapshot.popularity(row) == item.popularity
            np.testing.assert_allclose(snapshot.vector(row), item.vector, rtol=1e-6)


def vector_of(bundle: Bundle, seed: int) -> Array:
    """A made-up vector of the bundle's width, `(D,)`."""
    return np.random.default_rng(seed).normal(size=bundle.space.width).astype(np.float32)


def changes(bundle: Bundle) -> st.SearchStrategy[Change]:
    """Changes of few items, so that they meet."""
    ids = st.sampled_from(IDS)
    categories = st.none() | st.lists(st.sampled_from(CATEGORIES), max_size=3, unique=True).map(tuple)
    available = st.none() | st.booleans()

    def put(item_id: str, seed: int, given: Any, shown: Any) -> PutItem:
        genre = CATEGORIES[seed % 3]
        text = f'{{"title":"new {seed}","genres":["{genre}"]}}'
        return PutItem(item_id, text, given, shown, EmbeddedBy(bundle.manifest.id, vector_of(bundle, seed)))

    puts = st.builds(put, ids, st.integers(0, 30), categories, available)
    return puts | st.builds(PatchItem, ids, categories, available) | st.builds(RemoveItem, ids)


def filters() -> st.SearchStrategy[Filters]:
    """Filters of every kind, with unknown ids and categories among them."""
    names = st.lists(st.sampled_from([*CATEGORIES, "Nobody's"]), max_size=2)
    ids = st.lists(st.sampled_from([*IDS, "1", "2", "nowhere"]), max_size=12)
    return st.builds(
        Filters,
        categories_any=names,
        categories_all=names | st.just([]),
        available=st.sampled_from([True, True, None, False]),
        allow=st.none() | ids,
        deny=ids,
    )


def enlarged(bundle: Bundle, num_items: int, spec: IndexSpec | None = None) -> Bundle:
    """The bundle with made-up items past its own, so that no path of a search is spared: one genre in two items."""
    random = np.random.default_rng(1)
    more = num_items - len(bundle.items.ids)

    def longer(table: Array | None) -> Array | None:
        if table is None:
            return None
        return np.concatenate([table, random.normal(size=(more, table.shape[1])).astype(np.float32)])

    genres = ('["Drama","Long"]', '["Long"]', '["Action"]', '["Rare"]')
    texts = [f'{{"title":"made up {i}","genres":{genres[min(i % 4, 2 + i // (num_items - 60))]}}}' for i in range(more)]
    made = replace(
        bundle,
        items=BundleItems(
            ids=(*bundle.items.ids, *(f"made-{i}" for i in range(more))),
            attributes_json=(*bundle.items.attributes_json, *texts),
            popularity=np.concatenate([bundle.items.popularity, random.integers(0, 9, more)]),
        ),
        semantic=longer(bundle.semantic),
        residual=longer(bundle.residual),
        profile=longer(bundle.profile),
        successors=None
        if bundle.successors is None
        else longer(bundle.successors.astype(np.float32)).astype(np.float16),
    )
    return replace(made, index=ItemIndex.build(made.item_vectors, spec))
