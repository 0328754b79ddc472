"""Copies the catalogue from Redis as it is at one place of its log, while replicas write it.

Items are read in batches, each of one moment, with the place where the log ends then. Before a batch is
taken, the log's changes up to that place are made to the items that were taken before. So the copy is exact at that
place, for all items but those not yet read; the catalogue is complete when there are none.
"""

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.backup.progress import Progress
from service.backup.records import KeptItem
from service.backup.state_files import StateFiles
from service.catalogue.changes import Change
from service.errors import StorageError
from service.storage import sqlite_catalogue
from service.storage.redis_catalogue import HEAD_FIELDS, Position, RedisKeys, parse_head, read_entries
from service.storage.redis_connections import fail
from service.storage.redis_reading import Command, read_at_once

_ITEMS_AT_ONCE = 128
"""Few, so that Redis is busy with one batch for about a millisecond."""
_ENTRIES_AT_ONCE = 256
_ATTEMPTS = 5

logger = logging.getLogger(__name__)


class _LogGapError(Exception):
    """The log does not go on where the copy is: it was trimmed, or is another one."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Items at one moment."""

    head: Position
    num_items: int
    """Of the catalogue."""
    bundles: tuple[str, ...]
    items: list[KeptItem]
    last: float
    """The place in the order of the last of them."""


async def copy_catalogue(redis: Redis, keys: RedisKeys, files: StateFiles, progress: Progress) -> Position:
    """Copy all that is kept of the changed items, and return the place whose state that is.

    A vector that another bundle gives an item while this runs may be left out; it is embedded again.

    Raises:
        StorageError: Redis fails, or the log is trimmed faster than it can be read.
    """
    try:
        for _ in range(_ATTEMPTS):
            try:
                return await _Copy(redis, keys, files, progress).run()
            except _LogGapError:
                logger.warning("Redis's log was cut while it was read; reading the catalogue again")
                for table in ("items", "vectors", "bundles"):
                    files.catalogue.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
    except (RedisError, OSError) as error:
        fail(error, "nothing was copied")
    raise StorageError("the catalogue changes faster than it can be read; raise LLMEMB_REDIS_LOG_ENTRIES")


class _Copy:
    """One attempt."""

    def __init__(self, redis: Redis, keys: RedisKeys, files: StateFiles, progress: Progress) -> None:
        self._redis = redis
        self._keys = keys
        self._files = files
        self._progress = progress
        self._bundles: tuple[str, ...] = ()
        self._position: Position | None = None

    async def run(self) -> Position:
        """Copy until all are there."""
        copied, last = 0, 0.0
        while True:
            batch = await self._read(last)
            await self._replay(batch.head)
            self._files.add_items(batch.items)
            copied, last = copied + len(batch.items), batch.last
            self._progress.tell("items read", copied, batch.num_items)
            # New ones come at the end of the order, and none ever leaves it.
            if copied == batch.num_items:
                self._files.set_bundles(batch.bundles)
                return batch.head

    async def _read(self, after: float) -> _Batch:
        found = cast(
            "list[tuple[bytes, float]]",
            await self._redis.zrange(
                self._keys.order, f"({after}", "+inf", byscore=True, offset=0, num=_ITEMS_AT_ONCE, withscores=True
            ),
        )
        ids, last = [item_id for item_id, _ in found], found[-1][1] if found else after
        while True:
            asked = self._bundles
            head, num_items, bundles, columns = await self._read_at_once(ids)
            self._bundles = tuple(bundle.decode() for bundle in bundles)
            if set(self._bundles) <= set(asked) or not ids:
                return _Batch(head, num_items, self._bundles, _items(ids, columns, asked), last)

    async def _read_at_once(self, ids: Sequence[bytes]) -> tuple[Position, int, list[bytes], list[list[bytes | None]]]:
        """The end of the log, the number of items, the bundles, and the items' fields, all of one moment."""
        keys = self._keys
        hashes = [keys.attributes, keys.categories, keys.available, keys.removed]
        hashes += [f"{keys.vectors}{bundle}" for bundle in self._bundles]
        commands: list[Command] = [
            ("HMGET", keys.meta, *HEAD_FIELDS),
            ("ZCARD", keys.order),
            ("ZRANGE", keys.bundles, 0, -1),
        ]
        commands += [("HMGET", name, *ids) for name in hashes if ids]
        answers = await read_at_once(self._redis, [keys.meta, keys.order, keys.bundles, *hashes], commands)
        head, num_items, bundles = cast("tuple[list[bytes | None], int, list[bytes]]", tuple(answers[:3]))
        return parse_head(head), num_items, bundles, cast("list[list[bytes | None]]", answers[3:])

    async def _replay(self, until: Position) -> None:
        """Make the log's changes to the items that were taken, up to a place."""
        if self._position is None:
            self._position = until
        if not self._position.may_precede(until):
            raise _LogGapError
        while self._position.sequence < until.sequence:
            entries = await read_entries(
                self._redis, self._keys, self._position, count=_ENTRIES_AT_ONCE, block_milliseconds=None
            )
            if not entries or not entries[0][0].follows(self._position):
                raise _LogGapError
            self._make([entry for entry in entries if entry[0].sequence <= until.sequence])

    def _make(self, entries: Sequence[tuple[Position, Change]]) -> None:
        for after, change in entries:
            if self._position is None or not after.follows(self._position):
                raise _LogGapError
            if _is_taken(self._files.catalogue, change.id):
                sqlite_catalogue.write_changes(self._files.catalogue, [change])
            self._position = after


def _is_taken(connection: sqlite3.Connection, item_id: str) -> bool:
    return connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone() is not None


def _items(ids: Sequence[bytes], columns: Sequence[list[bytes | None]], bundles: Sequence[str]) -> list[KeptItem]:
    return [
        KeptItem(
            id=item_id.decode(),
            attributes_json=None if attributes is None else attributes.decode(),
            categories=None if categories is None else tuple(json.loads(categories)),
            available=None if available is None else available == b"1",
            removed=removed is not None,
            vectors={bundle: vector for bundle, vector in zip(bundles, vectors, strict=True) if vector is not None},
        )
        for item_id, attributes, categories, available, removed, *vectors in zip(ids, *columns, strict=True)
    ]
