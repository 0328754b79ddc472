"""Copies the files of a state folder as they are at one moment, while a service writes them."""

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from llmemb.errors import ConfigError
from service.backup.errors import BackupError
from service.backup.state_files import open_state_files
from service.storage.restored_state import RESTORED, finish_restore
from service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE, own_state_folder


def copy_state_folder(state_dir: Path, into: Path) -> None:
    """Copy catalogue and sessions by SQLite's own backup: all that was committed before, and nothing by half.

    Each file is copied at one moment, the sessions after the catalogue; the service waits for neither. The copy is
    brought to the present format, the state folder stays as it is.

    Args:
        state_dir: of a service that may run.
        into: an empty folder.

    Raises:
        BackupError: there is no state, or it cannot be read.
    """
    _finish_restore(state_dir)
    found = [name for name in (CATALOGUE_FILE, SESSIONS_FILE) if (state_dir / name).is_file()]
    if not found:
        raise BackupError(f"{state_dir} holds no state of a service; LLMEMB_STATE_DIR or LLMEMB_REDIS_URL says where")
    for name in found:
        _copy(state_dir / name, into / name)
    try:
        with open_state_files(into):
            pass  # the copy is of the present format now
    except (ConfigError, sqlite3.Error) as error:
        raise BackupError(f"{state_dir} cannot be copied: {error}") from error


def _copy(path: Path, to: Path) -> None:
    address = f"file:{quote(str(path.resolve()))}?mode=ro"
    try:
        with closing(sqlite3.connect(address, uri=True)) as source, closing(sqlite3.connect(to)) as target:
            # At once: in steps it would begin again with each write of the service, which is another process.
            source.backup(target, pages=-1)
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be copied: {error}") from error


def _finish_restore(state_dir: Path) -> None:
    """Put the files of a restore in place that was killed at its very end; a service does so when it starts."""
    if not (state_dir / RESTORED).is_dir():
        return
    try:
        with own_state_folder(state_dir) as folder:
            finish_restore(folder)
    except ConfigError as error:
        raise BackupError(f"a restore of {state_dir} is not finished: {error}") from error
