"""`llmemb_service.catalogue.map`: the map is drawn once for a state of the catalogue, and keeps none alive."""

import asyncio
import gc
import json
import weakref
from pathlib import Path

from llmemb.bundle import read_bundle
from llmemb_service.catalogue.catalogue import Catalogue
from llmemb_service.catalogue.map import MapCache
from llmemb_service.observability.metrics import Metrics
from llmemb_service.storage.changes import RemoveItem
from llmemb_service.storage.sqlite.log import SqliteItemLog
from tests.support.service import make_settings
from tests.support.waiting import wait_until


def test_map_is_drawn_again_for_another_state_or_limit_only(tiny_bundle: Path, tmp_path: Path) -> None:
    """The same bytes come as long as nothing changes."""

    async def run() -> None:
        log = SqliteItemLog(tmp_path / "catalogue.sqlite3")
        catalogue = Catalogue(read_bundle(tiny_bundle), log, make_settings(Path(), tmp_path), Metrics())
        try:
            map_cache = MapCache(catalogue)
            first = await map_cache.json(100)

            assert await map_cache.json(100) is first
            assert len(json.loads(await map_cache.json(3))["ids"]) == 3
            catalogue.apply([RemoveItem("1")])
            assert json.loads(await map_cache.json(100))["ids"] == json.loads(first)["ids"][1:]
        finally:
            await catalogue.close()
            await log.close()

    asyncio.run(run())


def test_drawn_state_is_freed_after_a_compaction(tiny_bundle: Path, tmp_path: Path) -> None:
    """Its table and its index too, before the next request for the map."""

    async def run() -> None:
        log = SqliteItemLog(tmp_path / "catalogue.sqlite3")
        catalogue = Catalogue(read_bundle(tiny_bundle), log, make_settings(Path(), tmp_path, fold_items=1), Metrics())
        try:
            map_cache = MapCache(catalogue)
            remove_until_compacted(catalogue, first=1)
            await map_cache.json(100)
            snapshot = catalogue.snapshot
            old = [weakref.ref(part) for part in (snapshot, snapshot.table, snapshot.segment)]
            del snapshot
            remove_until_compacted(catalogue, first=20)

            # The thread that compacted it may be about to end.
            wait_until(lambda: gc.collect() >= 0 and [part() for part in old] == [None] * 3, "the old state is freed")
        finally:
            await catalogue.close()
            await log.close()

    asyncio.run(run())


def remove_until_compacted(catalogue: Catalogue, first: int) -> None:
    """Remove 15 items of the bundle, from the id `first` on, which is more than a quarter."""
    catalogue.apply([RemoveItem(str(number)) for number in range(first, first + 15)])
    wait_until(lambda: not catalogue.snapshot.visibility.hidden, "the hidden rows are gone")
