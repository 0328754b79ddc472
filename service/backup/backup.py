"""Writes a backup: the state is copied as it is at one moment, and the copy is written to one file."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from llmemb import __version__
from llmemb.files import sync_folder
from service.backup.archive_writer import ArchiveWriter
from service.backup.errors import BackupError
from service.backup.manifest import ITEMS, SESSIONS, LogPosition, Manifest
from service.backup.progress import Progress
from service.backup.records import item_line, session_line
from service.backup.redis_session_source import copy_sessions
from service.backup.redis_source import copy_catalogue
from service.backup.sqlite_source import copy_state_folder
from service.backup.state_files import open_state_files
from service.backup.work_folder import own_work_folder
from service.settings import Settings
from service.storage.redis_catalogue import RedisKeys
from service.storage.redis_connections import connect

REDIS_SECONDS = 60.0
"""How long Redis may take to answer one step of a backup or restore."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written."""

    path: Path
    manifest: Manifest


async def write_backup(settings: Settings, out: Path, progress: Progress) -> Backup:
    """Write the state that the settings name to a file, which is there whole or not at all.

    Args:
        settings: of the service, which may run.
        out: the file, replaced where it is there; in a folder the backup gets a name with its time.
        progress: is told.

    Raises:
        BackupError: there is no state, or the file cannot be written.
        StorageError: Redis fails.
    """
    created = datetime.now(UTC)
    target = _target(out, created)
    try:
        with own_work_folder(target.parent) as work:
            position = await _copy(settings, work, progress)
            manifest = _write(work, settings, created, position, progress)
            (work / "backup.zip").replace(target)
            sync_folder(target.parent)
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{target} cannot be written: {error}") from error
    return Backup(target, manifest)


def _target(out: Path, created: datetime) -> Path:
    return out / f"llmemb-{created:%Y%m%dT%H%M%SZ}.zip" if out.is_dir() else out


async def _copy(settings: Settings, work: Path, progress: Progress) -> LogPosition | None:
    if settings.redis_url is None:
        copy_state_folder(settings.state_dir, work)
        return None
    redis = connect(settings, timeout_seconds=REDIS_SECONDS, connections=1)
    try:
        with open_state_files(work) as files:
            position = await copy_catalogue(redis, RedisKeys(settings.redis_prefix), files, progress)
            await copy_sessions(redis, settings.redis_prefix, settings.session_ttl_seconds, files, progress)
    finally:
        await redis.aclose()
    return LogPosition(epoch=position.epoch.decode(), sequence=position.sequence)


def _write(
    work: Path, settings: Settings, created: datetime, position: LogPosition | None, progress: Progress
) -> Manifest:
    now = time.time()
    with open_state_files(work) as files, ArchiveWriter(work / "backup.zip") as archive:
        items, removed, sessions = files.counts(now)
        archive.write_part(ITEMS, _telling(map(item_line, files.items()), "items written", items + removed, progress))
        archive.write_part(
            SESSIONS, _telling(map(session_line, files.read_sessions(now)), "sessions written", sessions, progress)
        )
        manifest = Manifest(
            created=created.isoformat(timespec="seconds"),
            program=__version__,
            storage="sqlite" if settings.redis_url is None else "redis",
            position=position,
            items=items,
            removed=removed,
            sessions=sessions,
            bundles=files.bundles(),
            parts=archive.parts,
        )
        archive.write_manifest(manifest)
    return manifest


def _telling(stream: Iterable[T], what: str, total: int, progress: Progress) -> Iterator[T]:
    for done, one in enumerate(stream, 1):
        progress.tell(what, done, total)
        yield one
