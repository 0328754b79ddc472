"""Copies a state folder into a backup while a service writes it, and restores a backup into a state folder.

A restore builds the new files beside the old ones; one rename decides.
"""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from llmemb.errors import ConfigError
from llmemb.files import sync_folder
from llmemb_service.backup.archive import DATABASES, Archive
from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.state_files import open_restored_files, open_state_files
from llmemb_service.storage.state_folder import (
    BUILDING,
    CATALOGUE_FILE,
    RESTORED,
    SESSIONS_FILE,
    finish_restore,
    own_state_folder,
)

_TABLES = {CATALOGUE_FILE: "items", SESSIONS_FILE: "sessions"}


def copy_state_folder(state_dir: Path, into: Path) -> None:
    """Copy catalogue and sessions, with all that was committed before.

    Each file is copied at one moment, the sessions after the catalogue; the service waits for neither. The copy is
    upgraded to the present format, the state folder stays as it is.

    Args:
        state_dir: of a service that may run.
        into: an empty folder.

    Raises:
        BackupError: there is no state, or it cannot be read.
    """
    _finish_restore(state_dir)
    found = [name for name in DATABASES if (state_dir / name).is_file()]
    if not found:
        raise BackupError(f"{state_dir} holds no state of a service; set LLMEMB_STATE_DIR or LLMEMB_REDIS_URL")
    for name in found:
        _copy(state_dir / name, into / name)
    try:
        with open_state_files(into):
            pass  # upgrades the copy
    except (ConfigError, sqlite3.Error) as error:
        raise BackupError(f"{state_dir} cannot be copied: {error}") from error


def restore_state_folder(state_dir: Path, archive: Archive, *, replace: bool, progress: Progress) -> int:
    """Restore a backup, whole or not at all, and return how many of its sessions have not ended meanwhile.

    Args:
        state_dir: of a service that does not run; made where it is missing.
        archive: the backup.
        replace: whether to replace what is there; it need not be readable.
        progress: writes progress lines.

    Raises:
        BackupError: a service uses the folder, something is there and `replace` is false, the backup is damaged, or
            the disk is full.
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
    except OSError as error:
        raise BackupError(f"{state_dir} cannot be restored to, and stays as it was: {error}") from error


def _copy(path: Path, to: Path) -> None:
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as source:
            # In one transaction, and unlike SQLite's backup without the free pages, where deleted rows remain.
            source.execute("VACUUM INTO ?", (str(to),))
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be copied: {error}") from error


def _finish_restore(state_dir: Path) -> None:
    """Move the files of a restore that was killed at its very end; a service does so when it starts."""
    if not (state_dir / RESTORED).is_dir():
        return
    try:
        with own_state_folder(state_dir) as folder:
            finish_restore(folder)
    except ConfigError as error:
        raise BackupError(f"a restore of {state_dir} is not finished: {error}") from error


def _restore(folder: Path, archive: Archive, progress: Progress) -> int:
    building = folder / BUILDING
    building.mkdir()
    try:
        with open_restored_files(archive, building, progress) as files:
            _, _, sessions = files.counts()
        for name in DATABASES:
            with (building / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(building)
        # From here on the restore has happened: the next process that opens the folder finishes it.
        building.rename(folder / RESTORED)
        sync_folder(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    finish_restore(folder)
    return sessions


def _refuse_unless_empty(folder: Path) -> None:
    for name, table in _TABLES.items():
        path = folder / name
        if path.exists() and _holds_rows(path, table):
            raise BackupError(f"{path} holds {table} already; --replace replaces them with the backup")


def _holds_rows(path: Path, table: str) -> bool:
    try:
        with closing(sqlite3.connect(path)) as connection:
            tables = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone()
            return tables is not None and connection.execute(f"SELECT 1 FROM {table}").fetchone() is not None  # noqa: S608
    except sqlite3.Error as error:
        raise BackupError(f"{path} is there and cannot be read ({error}); --replace replaces it") from error
