import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmemb.bundle import Bundle, read_bundle
from llmemb_service.catalogue.catalogue import Catalogue
from llmemb_service.catalogue.pending import NewItem
from llmemb_service.catalogue.search.listing import list_items
from llmemb_service.catalogue.search.search_file import START
from llmemb_service.errors import CatalogueFullError, ItemNotFoundError
from llmemb_service.observability.metrics import Metrics
from llmemb_service.storage.changes import Change, EmbeddedBy, ItemState, PatchItem, PutItem, RemoveItem
from llmemb_service.storage.sqlite.log import SqliteItemLog
from tests.support.reference import Reference, changes, vector_of
from tests.support.service import make_settings


@pytest.fixture(scope="module")
def bundle(tiny_bundle: Path) -> Bundle:
    return read_bundle(tiny_bundle)


@asynccontextmanager
async def opened(bundle: Bundle, folder: Path, **overrides: Any) -> AsyncIterator[Catalogue]:
    """A catalogue with a real log, both in `folder`."""
    log = SqliteItemLog(folder / "catalogue.sqlite3")
    catalogue = Catalogue(bundle, log, make_settings(Path(), folder, **overrides), Metrics())
    try:
        await log.attach(catalogue)
        yield catalogue
        log.detach(catalogue)
    finally:
        await catalogue.close()
        await log.close()


def item(item_id: str, title: str, **others: Any) -> NewItem:
    return NewItem(item_id, {"title": title}, **others)


def state_of(catalogue: Catalogue, item_id: str) -> tuple[object, ...] | None:
    snapshot = catalogue.snapshot
    row = snapshot.row(item_id)
    return None if row is None else (snapshot.attributes(row), set(snapshot.categories(row)), snapshot.available(row))


def test_catalogue_outlives_the_process(bundle: Bundle, tmp_path: Path) -> None:
    """What was put, patched and removed is so after a restart."""

    async def first() -> None:
        async with opened(bundle, tmp_path) as catalogue:
            await catalogue.put(
                [item("new", "Zebra", categories=("Mine",)), item("2", "Other")], [vector_of(bundle, 1)] * 2
            )
            await catalogue.patch("1", ("Yours",), False)
            await catalogue.patch("new", None, False)
            await catalogue.remove("3")

    async def second() -> None:
        async with opened(bundle, tmp_path) as catalogue:
            assert state_of(catalogue, "new") == ({"title": "Zebra"}, {"Mine"}, False)
            assert state_of(catalogue, "2") == ({"title": "Other"}, set(), True)
            assert state_of(catalogue, "1") == (bundle.items.attributes(0), {"Yours"}, False)
            assert state_of(catalogue, "3") is None
            assert len(catalogue.snapshot) == 40

    asyncio.run(first())
    asyncio.run(second())


def test_put_is_found_and_listed_at_once(bundle: Bundle, tmp_path: Path) -> None:
    """By who put it; what was removed is not."""

    async def run() -> None:
        async with opened(bundle, tmp_path) as catalogue:
            await catalogue.put([item("new", "Zebra")], [vector_of(bundle, 1)])
            await list_items(catalogue, None, START, 1)  # waits until the index is built
            await catalogue.put([item("newer", "Zebra")], [vector_of(bundle, 1)])
            page = await list_items(catalogue, "zebra", START, 10)
            assert [page.snapshot.item_id(row) for row in page.rows] == ["new", "newer"]
            await catalogue.remove("new")
            page = await list_items(catalogue, "zebra", START, 10)
            assert [page.snapshot.item_id(row) for row in page.rows] == ["newer"]

    asyncio.run(run())


def test_strange_item_is_neither_patched_nor_removed(bundle: Bundle, tmp_path: Path) -> None:
    """And the log takes nothing in."""

    async def run() -> None:
        async with opened(bundle, tmp_path) as catalogue:
            await catalogue.remove("1")
            for item_id in ("nowhere", "1"):
                with pytest.raises(ItemNotFoundError, match=item_id):
                    await catalogue.patch(item_id, None, True)
                with pytest.raises(ItemNotFoundError, match=item_id):
                    await catalogue.remove(item_id)

    asyncio.run(run())


def test_full_catalogue_takes_no_new_item(bundle: Bundle, tmp_path: Path) -> None:
    """It replaces those that it has; and of those that come together no more than fit."""

    async def run() -> None:
        async with opened(bundle, tmp_path, max_added_items=2) as catalogue:
            vectors = [vector_of(bundle, 1)] * 3
            with pytest.raises(CatalogueFullError, match="the maximum is 2"):
                await catalogue.put([item(f"new-{i}", "x") for i in range(3)], vectors)
            results = await asyncio.gather(
                *(catalogue.put([item(f"new-{i}", "x")], vectors[:1]) for i in range(3)), return_exceptions=True
            )
            assert sorted(type(result).__name__ for result in results) == ["CatalogueFullError", "NoneType", "NoneType"]
            held = [f"new-{i}" for i in range(3) if catalogue.contains(f"new-{i}")]
            await catalogue.put([item(held[0], "y")], vectors[:1])
            with pytest.raises(CatalogueFullError):
                await catalogue.put([item("1", "y")], vectors[:1])
            await catalogue.remove(held[0])
            await catalogue.put([item("1", "y")], vectors[:1])
            assert len(catalogue.snapshot) == 41

    asyncio.run(run())


@asynccontextmanager
async def alone(bundle: Bundle, states: list[ItemState]) -> AsyncIterator[Catalogue]:
    """A catalogue that gets its changes from the test in place of a log."""
    settings = make_settings(Path(), Path(), redis_url="redis://nowhere")
    log: Any = None
    catalogue = Catalogue(bundle, log, settings, Metrics())
    catalogue.restore(states)
    try:
        yield catalogue
    finally:
        await catalogue.close()


def foreign(item_id: str, title: str, name: str = "title", **others: Any) -> PutItem:
    embedded = EmbeddedBy("other", np.zeros(3, dtype=np.float32))
    return replace(PutItem(item_id, f'{{"{name}":"{title}"}}', None, None, embedded), **others)


def test_item_of_another_bundle_waits_for_its_vector(bundle: Bundle) -> None:
    """Until then what the catalogue had answers, with the new availability; then the new one does."""

    async def run() -> None:
        async with alone(bundle, []) as catalogue:
            catalogue.apply(
                [foreign("new", "a"), foreign("1", "b", available=False), PatchItem("new", ("Mine",), None)]
            )
            assert list(catalogue.pending) == ["new", "1"]
            assert catalogue.pending["1"].attributes == {"title": "b"}
            assert catalogue.has_pending.is_set()
            assert state_of(catalogue, "new") is None
            assert catalogue.contains("new")
            assert state_of(catalogue, "1") == (
                bundle.items.attributes(0),
                set(bundle.items.attributes(0)["genres"]),
                False,
            )

            catalogue.add_vectors({"new": ('{"title":"old"}', vector_of(bundle, 1))})
            assert list(catalogue.pending) == ["new", "1"]
            given = {item_id: (one.attributes_json, vector_of(bundle, 1)) for item_id, one in catalogue.pending.items()}
            catalogue.add_vectors(given)
            catalogue.add_vectors(given)
            assert state_of(catalogue, "new") == ({"title": "a"}, {"Mine"}, True)
            assert state_of(catalogue, "1") == ({"title": "b"}, set(), False)
            assert not catalogue.pending
            assert not catalogue.has_pending.is_set()

            catalogue.apply([foreign("new", "a")])
            assert not catalogue.pending

    asyncio.run(run())


def test_pending_item_can_be_replaced_and_removed(bundle: Bundle) -> None:
    """Replaced by a vector of this bundle, which keeps its categories and availability, or removed."""

    async def run() -> None:
        async with alone(bundle, []) as catalogue:
            mine = EmbeddedBy(bundle.manifest.id, vector_of(bundle, 1))
            catalogue.apply([foreign("a", "x", categories=("Mine",), available=False), foreign("b", "x")])
            catalogue.apply([replace(foreign("a", "y"), embedded=mine), RemoveItem("b")])
            assert state_of(catalogue, "a") == ({"title": "y"}, {"Mine"}, False)
            assert not catalogue.pending
            assert not catalogue.contains("b")

            catalogue.apply([RemoveItem("a"), foreign("a", "y")])
            assert list(catalogue.pending) == ["a"]
            assert state_of(catalogue, "a") is None

    asyncio.run(run())


def test_item_with_unknown_attributes_is_left_out(bundle: Bundle) -> None:
    """It is counted, can be removed, and comes in when its attributes are known."""

    async def run() -> None:
        states = [ItemState("a", '{"director":"x"}', None, None, False, None)]
        async with alone(bundle, states) as catalogue:
            catalogue.apply([foreign("b", "x", name="director"), PatchItem("b", ("Mine",), None)])
            assert catalogue.left_out == 2
            assert not catalogue.pending
            catalogue.apply([RemoveItem("a"), foreign("b", "x")])
            assert catalogue.left_out == 0
            assert catalogue.pending["b"].categories == ("Mine",)

    asyncio.run(run())


def test_restore_takes_every_kind_of_state(bundle: Bundle) -> None:
    """And forgets what was before."""

    async def run() -> None:
        vector = vector_of(bundle, 1)
        states = [
            ItemState("new", '{"title":"x"}', ("Mine",), False, False, vector),
            ItemState("1", None, None, None, True, None),
            ItemState("2", None, ("Mine",), False, False, None),
            ItemState("3", '{"title":"x"}', None, False, False, None),
        ]
        async with alone(bundle, [ItemState("older", '{"title":"x"}', None, None, False, vector)]) as catalogue:
            catalogue.restore(states)
            assert state_of(catalogue, "older") is None
            assert state_of(catalogue, "new") == ({"title": "x"}, {"Mine"}, False)
            assert state_of(catalogue, "1") is None
            assert state_of(catalogue, "2") == (bundle.items.attributes(1), {"Mine"}, False)
            three = state_of(catalogue, "3")
            assert three is not None
            assert (three[0], three[2]) == (bundle.items.attributes(2), False)
            assert list(catalogue.pending) == ["3"]
            assert catalogue.snapshot.num_added == 1

    asyncio.run(run())


def _of_known_items(bundle: Bundle, batches: Sequence[Sequence[Change]]) -> list[list[Change]]:
    """Without patches of items that never were: no log has them, and told again they would find the item there."""
    known = set(bundle.items.ids)
    kept: list[list[Change]] = []
    for batch in batches:
        kept.append([])
        for change in batch:
            if isinstance(change, PutItem):
                known.add(change.id)
            if change.id in known:
                kept[-1].append(change)
    return kept


@settings(max_examples=30)
@given(data=st.data())
def test_catalogue_follows_its_log(bundle: Bundle, data: st.DataObject) -> None:
    """Told once or again, whole or restored half way."""
    batches = _of_known_items(bundle, data.draw(st.lists(st.lists(changes(bundle), max_size=4), max_size=6)))
    reference = Reference(bundle)

    async def run() -> None:
        async with alone(bundle, []) as catalogue:
            for batch in batches:
                catalogue.apply(batch)
                catalogue.apply(batch)
                for change in batch:
                    reference.take(change)
            reference.check(catalogue.snapshot)

    asyncio.run(run())
