"""The item log of one process, in SQLite: what `append` has returned from survives a crash of the machine."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from service.catalogue.changes import Array, Change, Follower, ItemState
from service.errors import StorageError
from service.storage import sqlite_catalogue
from service.storage.followers import Followers
from service.storage.sqlite_reader import SqliteReader
from service.storage.sqlite_writer import SqliteWriter

_VECTORS_AT_ONCE = 500


class SqliteItemLog:
    """See `ItemLog`. What is kept is the state of each changed item; the changes themselves are told and forgotten.

    Args:
        path: the file; it is made where it is missing.

    Raises:
        ConfigError: the file cannot be opened, is no database of ours or one of a later program.
    """

    def __init__(self, path: Path) -> None:
        self._writer = SqliteWriter(path, sqlite_catalogue.prepare)
        self._reader = SqliteReader(path)
        self._followers = Followers()
        self._forgetting: set[asyncio.Task[None]] = set()

    async def append(self, changes: Sequence[Change]) -> None:
        """See `ItemLog`."""
        await self._writer.write(
            lambda connection: sqlite_catalogue.write_changes(connection, changes),
            rows=len(changes),
            told=self._followers.tell,
        )

    async def attach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        bundle_id = follower.bundle_id

        async def read() -> list[ItemState]:
            return await self._reader.read(lambda connection: sqlite_catalogue.read_states(connection, bundle_id))

        await self._followers.attach(follower, read)
        self._forgetting.add(task := asyncio.create_task(self._forget_unused_bundles(bundle_id)))
        task.add_done_callback(self._forgetting.discard)

    def detach(self, follower: Follower) -> None:
        """See `ItemLog`."""
        self._followers.detach(follower)

    async def keep_vectors(self, bundle_id: str, vectors: Mapping[str, tuple[str, Array]]) -> None:
        """See `ItemLog`."""
        entries = list(vectors.items())
        for start in range(0, len(entries), _VECTORS_AT_ONCE):
            some = dict(entries[start : start + _VECTORS_AT_ONCE])
            await self._writer.write(partial(sqlite_catalogue.write_vectors, bundle_id=bundle_id, vectors=some))

    async def fault(self) -> str | None:
        """See `ItemLog`."""
        try:
            await self._writer.write(sqlite_catalogue.mark_format)
        except StorageError as error:
            return str(error)
        return None

    async def close(self) -> None:
        """See `ItemLog`."""
        for task in tuple(self._forgetting):
            task.cancel()
        await self._writer.close()
        await self._reader.close()

    async def _forget_unused_bundles(self, used: str) -> None:
        """A little at a time, so that no change waits long; what is left when it fails goes with the next bundle."""
        with contextlib.suppress(StorageError):
            await self._writer.write(partial(sqlite_catalogue.use_bundle, bundle_id=used))
            while await self._writer.write(sqlite_catalogue.forget_unused_bundle):
                pass
