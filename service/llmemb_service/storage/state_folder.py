"""The state folder: locked by one process at a time. A restore replaces its files as a whole."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmemb.errors import ConfigError
from llmemb.files import sync_folder

CATALOGUE_FILE, SESSIONS_FILE = "catalogue.sqlite3", "sessions.sqlite3"


@contextmanager
def own_state_folder(folder: Path) -> Iterator[Path]:
    """Create the folder if it does not exist, and lock it until the block or the process ends.

    Raises:
        ConfigError: another process has locked it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"LLMEMB_STATE_DIR: cannot write to {folder}: {error.strerror}") from error
    try:
        # The lock ends with the process, so a killed process leaves no stale lock.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    except BlockingIOError as error:
        raise ConfigError(f"LLMEMB_STATE_DIR: another process uses {folder}; give each its own") from error
    finally:
        os.close(descriptor)


BUILDING, RESTORED = "restore.tmp", "restored"


def finish_restore(folder: Path) -> None:
    """Move restored files to their places, and delete those of an interrupted restore.

    The caller has locked the folder. Does nothing if nothing was restored.

    Raises:
        ConfigError: the folder cannot be written.
    """
    try:
        shutil.rmtree(folder / BUILDING, ignore_errors=True)
        restored = folder / RESTORED
        if not restored.is_dir():
            return
        waiting = [name for name in (CATALOGUE_FILE, SESSIONS_FILE) if (restored / name).exists()]
        # SQLite would apply the side files of the old database to the new one, so they are durably deleted first.
        for name in waiting:
            for suffix in ("-wal", "-shm", "-journal"):
                (folder / f"{name}{suffix}").unlink(missing_ok=True)
        sync_folder(folder)
        for name in waiting:
            (restored / name).replace(folder / name)
        sync_folder(folder)
        restored.rmdir()
    except OSError as error:
        raise ConfigError(f"{folder}: the restored files cannot be put in place: {error.strerror}") from error
