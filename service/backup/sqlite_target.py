"""Restores a backup into a state folder: built beside the files that are there, then put in their place at once."""

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb.files import sync_folder
from service.backup.archive_reader import ArchiveReader
from service.backup.batches import batches
from service.backup.errors import BackupError
from service.backup.progress import Progress
from service.backup.state_files import StateFiles, open_state_files
from service.storage.restored_state import BUILDING, RESTORED, finish_restore
from service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE, own_state_folder

_AT_ONCE = 1000
_TABLES = {CATALOGUE_FILE: "items", SESSIONS_FILE: "sessions"}


def restore_state_folder(state_dir: Path, archive: ArchiveReader, *, replace: bool, progress: Progress) -> int:
    """Restore a backup, whole or not at all, and return how many of its sessions have not ended meanwhile.

    Args:
        state_dir: of no service that runs; made where it is missing.
        archive: the backup.
        replace: whether what is there goes; it need not be readable.
        progress: is told.

    Raises:
        BackupError: a service uses the folder, something is there and `replace` is false, a line is damaged, or the
            disk is full.
        ConfigError: the folder cannot be written.
    """
    try:
        with own_state_folder(state_dir) as folder:
            finish_restore(folder)
            if not replace:
                _refuse_unless_empty(folder)
            return _restore(folder, archive, progress)
    except ConfigError as error:
        if isinstance(error.__cause__, BlockingIOError):
            raise BackupError(f"a service uses {state_dir}; stop it first, nothing was restored") from error
        raise
    except (OSError, sqlite3.Error) as error:
        raise BackupError(f"{state_dir} cannot be restored to, and stays as it was: {error}") from error


def _restore(folder: Path, archive: ArchiveReader, progress: Progress) -> int:
    building = folder / BUILDING
    building.mkdir()
    try:
        with open_state_files(building) as files:
            _add_items(files, archive, progress)
            kept = _add_sessions(files, archive, progress)
        sync_folder(building)
        # From here on it has happened: whoever opens the folder next finishes it.
        building.rename(folder / RESTORED)
        sync_folder(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    finish_restore(folder)
    return kept


def _add_items(files: StateFiles, archive: ArchiveReader, progress: Progress) -> None:
    added = 0
    for items in batches(archive.items(), _AT_ONCE):
        files.add_items(items)
        added += len(items)
        progress.tell("items written", added, archive.manifest.items + archive.manifest.removed)
    files.set_bundles(archive.manifest.bundles)


def _add_sessions(files: StateFiles, archive: ArchiveReader, progress: Progress) -> int:
    added = 0
    for sessions in batches(archive.sessions(), _AT_ONCE):
        lasting = [session for session in sessions if session.expires > time.time()]
        files.add_sessions(lasting)
        added += len(lasting)
        progress.tell("sessions written", added, archive.manifest.sessions)
    return added


def _refuse_unless_empty(folder: Path) -> None:
    for name, table in _TABLES.items():
        path = folder / name
        if path.exists() and _holds_rows(path, table):
            raise BackupError(f"{path} holds {table} already; --replace puts the backup in their place")


def _holds_rows(path: Path, table: str) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            return tables is not None and connection.execute(f"SELECT 1 FROM {table}").fetchone() is not None  # noqa: S608
    except sqlite3.Error as error:
        raise BackupError(
            f"{path} is there and cannot be read ({error}); --replace puts the backup in its place"
        ) from error
