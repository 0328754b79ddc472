"""Writes a backup: copies the state into two SQLite databases, then packs them into one file."""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from llmemb import __version__
from llmemb.files import sync_folder
from llmemb_service.backup.archive import LogPosition, Manifest, write_archive
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.redis_backup import copy_catalogue, copy_sessions
from llmemb_service.backup.sqlite import copy_state_folder
from llmemb_service.backup.state_files import open_state_files
from llmemb_service.settings import Settings
from llmemb_service.storage.redis.catalogue import RedisKeys
from llmemb_service.storage.redis.connections import connect

REDIS_SECONDS = 60.0
"""Redis's timeout for one step of a backup or restore."""
_WORK_FOLDER = ".llmemb-backup.tmp"


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup that was written."""

    path: Path
    manifest: Manifest


async def write_backup(settings: Settings, out: Path, progress: Progress) -> Backup:
    """Write the state of the configured storage to a file, atomically.

    Args:
        settings: of the service, which may be running.
        out: the file, replaced if it exists; or a folder, in which the backup gets a name with its time.
        progress: writes progress lines.

    Raises:
        BackupError: there is no state, or the file cannot be written.
        StorageError: Redis fails.
    """
    created = datetime.now(UTC)
    target = _target(out, created)
    try:
        with own_work_folder(target.parent) as work:
            position = await _copy(settings, work, progress)
            with open_state_files(work) as files:
                files.drop_ended_sessions()
                items, removed, sessions = files.counts()
                bundles = files.bundles()
            manifest = Manifest(
                created=created.isoformat(timespec="seconds"),
                program=__version__,
                storage="sqlite" if settings.redis_url is None else "redis",
                position=position,
                items=items,
                removed=removed,
                sessions=sessions,
                bundles=bundles,
                parts={},
            )
            manifest = write_archive(work / "backup.zip", work, manifest, progress)
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


@contextmanager
def own_work_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in `parent`, deleted at the end of the block; first delete those of killed processes.

    Raises:
        BackupError: another process writes a backup to `parent`.
        OSError: it cannot be written.
    """
    folder = parent / _WORK_FOLDER
    descriptor = _lock(folder)
    try:
        for path in folder.iterdir():
            if path.name != "lock":
                shutil.rmtree(path)
        work = folder / "work"
        work.mkdir()
        yield work
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _lock(folder: Path) -> int:
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # another process has just finished, and deleted the folder
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / "lock").stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise BackupError(f"another backup is being written to {folder.parent}") from error
        except FileNotFoundError:
            pass  # another process has just finished, and deleted the folder
        os.close(descriptor)
