"""Copies catalogue and sessions from Redis into the databases of a backup, while replicas write them.

Items are read in batches. Each batch is of one moment and comes with the end of the log at that moment. Before a batch
is added to the copy, the log's changes up to there are made to the items copied before. So the copy is exact at that
position of the log, for all items read so far; when no items are left it is the catalogue.

Each session is copied as it is at one moment, after the catalogue.
"""

import logging
import sqlite3
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from llmemb_service.backup.progress import Progress
from llmemb_service.backup.state_files import KeptItem, KeptSession, StateFiles
from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Change
from llmemb_service.storage.redis.catalogue import (
    HEAD_FIELDS,
    Position,
    RedisKeys,
    check_complete,
    parse_head,
    read_entries,
)
from llmemb_service.storage.redis.connections import raise_storage_error
from llmemb_service.storage.redis.sessions import key_of_session
from llmemb_service.storage.redis.writer import Command, read_at_once
from llmemb_service.storage.sqlite.log import write_changes

_KEYS_AT_ONCE = 500
"""Keys of any kind that Redis looks at in one step of a scan."""
_ITEMS_AT_ONCE = 128
"""Few, so that Redis is busy with one batch for about a millisecond."""
_ENTRIES_AT_ONCE = 256
_ATTEMPTS = 5

logger = logging.getLogger(__name__)


class _LogGapError(Exception):
    """The log does not continue where the copy is: it was trimmed, or is another one."""


@dataclass(frozen=True, slots=True)
class _Batch:
    """Items at one moment."""

    head: Position
    """The end of the log."""
    num_items: int
    """Of the catalogue."""
    bundles: tuple[str, ...]
    items: list[KeptItem]
    last: float
    """The score of the last item in the order."""


async def copy_catalogue(redis: Redis, keys: RedisKeys, files: StateFiles, progress: Progress) -> Position:
    """Copy all that is kept of the changed items, and return the log position whose state the copy is.

    A vector that another bundle adds to an item meanwhile may be left out; the item is embedded again.

    Raises:
        StorageError: Redis fails, keys of the catalogue are missing, or the log is trimmed faster than it can be read.
    """
    try:
        await check_complete(redis, keys)
        for _ in range(_ATTEMPTS):
            try:
                return await _Copy(redis, keys, files, progress).run()
            except _LogGapError:
                logger.warning("Redis's log was trimmed while it was read; reading the catalogue again")
                for table in ("items", "vectors", "bundles"):
                    files.catalogue.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of ours
    except (RedisError, OSError) as error:
        raise_storage_error(error, "nothing was copied")
    raise StorageError("the catalogue changes faster than it can be read; raise LLMEMB_REDIS_LOG_ENTRIES")


async def copy_sessions(redis: Redis, prefix: str, ttl_seconds: int, files: StateFiles, progress: Progress) -> None:
    """Copy all sessions, with the time at which each ends.

    Args:
        redis: answers bytes.
        prefix: of the sessions' keys.
        ttl_seconds: for a session without an expiry, as an operator may have left it.
        files: to copy to.
        progress: writes progress lines.

    Raises:
        StorageError: Redis fails.
    """
    copied = 0
    try:
        async for keys in session_keys(redis, prefix):
            sessions = await _read_sessions(redis, prefix, ttl_seconds, keys)
            files.add_sessions(sessions)
            copied += len(sessions)
            progress.tell("sessions read", copied)
    except (RedisError, OSError) as error:
        raise_storage_error(error, "the sessions were not copied")


async def keys_like(redis: Redis, pattern: str, kind: str | None = None) -> AsyncIterator[list[bytes]]:
    """Yield in batches all keys that are there the whole time; a key may come twice.

    Args:
        redis: answers bytes.
        pattern: as for SCAN.
        kind: of the values; None for all kinds.

    Raises:
        RedisError: Redis fails.
    """
    cursor = 0
    while True:
        cursor, keys = cast(
            "tuple[int, list[bytes]]", await redis.scan(cursor, match=pattern, count=_KEYS_AT_ONCE, _type=kind)
        )
        if keys:
            yield keys
        if cursor == 0:
            return


def session_keys(redis: Redis, prefix: str) -> AsyncIterator[list[bytes]]:
    """Yield the keys of all sessions, as `keys_like` does."""
    return keys_like(redis, f"{key_of_session(prefix, '')}*", "list")


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
        """Copy until no items are left."""
        copied, last = 0, 0.0
        while True:
            batch = await self._read(last)
            await self._replay(batch.head)
            self._files.add_items(batch.items)
            copied, last = copied + len(batch.items), batch.last
            self._progress.tell("items read", copied, batch.num_items)
            # New items come at the end of the order, and none ever leaves it.
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
        """Read the end of the log, the number of items, the bundles, and the items' fields, all of one moment."""
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
        """Apply the log's changes up to a position to the items copied so far."""
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
            self._apply([entry for entry in entries if entry[0].sequence <= until.sequence])

    def _apply(self, entries: Sequence[tuple[Position, Change]]) -> None:
        for after, change in entries:
            if self._position is None or not after.follows(self._position):
                raise _LogGapError
            if _is_copied(self._files.catalogue, change.id):
                write_changes(self._files.catalogue, [change])
            self._position = after


def _is_copied(connection: sqlite3.Connection, item_id: str) -> bool:
    return connection.execute("SELECT 1 FROM items WHERE id = ?", (item_id,)).fetchone() is not None


def _items(ids: Sequence[bytes], columns: Sequence[list[bytes | None]], bundles: Sequence[str]) -> list[KeptItem]:
    return [
        KeptItem(
            id=item_id.decode(),
            attributes_json=None if attributes is None else attributes.decode(),
            categories_json=None if categories is None else categories.decode(),
            available=None if available is None else available == b"1",
            removed=removed is not None,
            vectors={bundle: vector for bundle, vector in zip(bundles, vectors, strict=True) if vector is not None},
        )
        for item_id, attributes, categories, available, removed, *vectors in zip(ids, *columns, strict=True)
    ]


async def _read_sessions(redis: Redis, prefix: str, ttl_seconds: int, keys: Sequence[bytes]) -> list[KeptSession]:
    commands = [command for key in keys for command in (("LRANGE", key, 0, -1), ("PTTL", key))]
    answers = await read_at_once(redis, keys, commands)
    histories, times = cast("list[list[bytes]]", answers[::2]), cast("list[int]", answers[1::2])
    now, beginning = time.time(), len(key_of_session(prefix, ""))
    return [
        KeptSession(
            id=key.decode()[beginning:],
            history=tuple(item_id.decode() for item_id in history),
            expires=now + (milliseconds / 1000 if milliseconds >= 0 else ttl_seconds),
        )
        for key, history, milliseconds in zip(keys, histories, times, strict=True)
        if history  # else it has just expired
    ]
