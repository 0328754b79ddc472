"""A backup of Redis is the state at one place of the log, whatever is written while it is read."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmemb_service.backup import redis_backup
from llmemb_service.backup.backup import write_backup
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.restore import restore_backup
from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Change, EmbeddedBy
from llmemb_service.storage.redis.catalogue import RedisKeys, from_entry, to_arguments
from llmemb_service.storage.redis.scripts import APPEND, USE_BUNDLE
from tests.support.item_log import BUNDLES, DictFollower, changes, put
from tests.support.kept_state import Storages, state_of
from tests.support.redis_server import RedisServer

ITEMS = [f"i{number}" for number in range(9)]


class Meddler(Progress):
    """Lets something be done after each batch that is read."""

    def __init__(self, meddle: Callable[[int], None]) -> None:
        super().__init__()
        self._meddle = meddle
        self.batches = 0

    def tell(self, what: str, done: int, total: int | None = None) -> None:
        if what == "items read":
            self._meddle(self.batches)
            self.batches += 1


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with server.client() as client:
        yield client


@pytest.fixture
def storages(
    tmp_path: Path, server: RedisServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Storages:
    monkeypatch.setattr(redis_backup, "_ITEMS_AT_ONCE", 2)
    monkeypatch.setattr(redis_backup, "_ENTRIES_AT_ONCE", 3)
    return Storages(tmp_path, server, request.node.name)


def append(client: redis.Redis, keys: RedisKeys, some: list[Change]) -> None:
    """As another replica does it, now."""
    arguments = [argument for change in some for argument in to_arguments(change)]
    client.eval(APPEND.source, 9, *keys.of_changes(), "epoch", 100_000, *arguments)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(meanwhile=st.lists(st.lists(changes([*ITEMS, "new", "newer"]), min_size=1, max_size=4), max_size=6))
def test_backup_is_the_state_at_one_place(
    storages: Storages, client: redis.Redis, tmp_path: Path, meanwhile: list[list[Change]]
) -> None:
    """Changes between the batches, of items that were read and of others; it equals the log replayed to that place."""
    source, target = storages.new("redis"), storages.new("sqlite")
    keys = RedisKeys(source.redis_prefix)
    append(client, keys, [put(item_id) for item_id in ITEMS])

    def meddle(batch: int) -> None:
        if batch < len(meanwhile):
            append(client, keys, meanwhile[batch])

    async def run() -> None:
        backup = await write_backup(source, tmp_path / "backup.zip", Meddler(meddle))
        await restore_backup(target, backup.path, replace=False, progress=Progress())
        assert backup.manifest.position is not None
        assert backup.manifest.position.sequence >= len(ITEMS)
        state = await state_of(target)
        entries = client.xrange(keys.log)[: backup.manifest.position.sequence]
        for bundle_id in BUNDLES:
            model = DictFollower(bundle_id)
            model.apply([from_entry(fields) for _, fields in entries])
            assert state.items[bundle_id] == list(model.items.items())

    asyncio.run(run())


@pytest.mark.parametrize("lost", ["trimmed", "flushed"])
def test_lost_log_makes_it_read_again(storages: Storages, client: redis.Redis, tmp_path: Path, lost: str) -> None:
    """Once: the second time all is well. What was flushed is not in the backup."""
    source, target = storages.new("redis"), storages.new("sqlite")
    keys = RedisKeys(source.redis_prefix)
    append(client, keys, [put(item_id) for item_id in ITEMS])

    def meddle(batch: int) -> None:
        if batch == 1:
            if lost == "flushed":
                client.flushall()
            append(client, keys, [put("i0", 5), put("i1", 5)])
            client.xtrim(keys.log, maxlen=1, approximate=False)

    async def run() -> None:
        backup = await write_backup(source, tmp_path / "backup.zip", Meddler(meddle))
        await restore_backup(target, backup.path, replace=False, progress=Progress())
        assert (await state_of(target)).items == (await state_of(source)).items
        assert backup.manifest.items == (9 if lost == "trimmed" else 2)

    asyncio.run(run())


def test_log_that_is_trimmed_too_fast_ends_it(storages: Storages, client: redis.Redis, tmp_path: Path) -> None:
    """After some attempts, with what can be done; nothing is left behind."""
    source = storages.new("redis")
    keys = RedisKeys(source.redis_prefix)
    append(client, keys, [put(item_id) for item_id in ITEMS])

    def meddle(batch: int) -> None:
        append(client, keys, [put("i0", batch), put("i1", batch)])
        client.xtrim(keys.log, maxlen=1, approximate=False)

    with pytest.raises(StorageError, match="raise LLMEMB_REDIS_LOG_ENTRIES"):
        asyncio.run(write_backup(source, tmp_path / "backup.zip", Meddler(meddle)))
    assert list(tmp_path.glob("*backup*")) == []


def test_bundle_that_is_dropped_meanwhile_is_not_in_the_backup(
    storages: Storages, client: redis.Redis, tmp_path: Path
) -> None:
    """Its vectors go from Redis too, since half of them is useless; a new one's are all there."""
    source = storages.new("redis")
    keys = RedisKeys(source.redis_prefix)
    append(client, keys, [put(item_id) for item_id in ITEMS])

    def meddle(batch: int) -> None:
        if batch == 0:
            for bundle_id in ("b3", "b4", "b5", "b6"):
                client.eval(USE_BUNDLE.source, 3, keys.meta, keys.bundles, keys.vectors, bundle_id)
            b6 = EmbeddedBy("b6", np.array([1], dtype=np.float32))
            append(client, keys, [put("i0", embedded=b6), put("i8", embedded=b6)])

    backup = asyncio.run(write_backup(source, tmp_path / "backup.zip", Meddler(meddle)))
    assert set(backup.manifest.bundles) == {"b3", "b4", "b5", "b6"}
