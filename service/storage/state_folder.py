"""The folder of what the service writes: one process at a time has it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmemb.errors import ConfigError

CATALOGUE_FILE, SESSIONS_FILE = "catalogue.sqlite3", "sessions.sqlite3"


@contextmanager
def own_state_folder(folder: Path) -> Iterator[Path]:
    """Make the folder where it is missing, and hold it until the block ends or the process does.

    Raises:
        ConfigError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(f"LLMEMB_STATE_DIR: cannot write to {folder}: {error.strerror}") from error
    try:
        # The lock goes with the process, so a killed one leaves none behind.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield folder
    except BlockingIOError as error:
        raise ConfigError(f"LLMEMB_STATE_DIR: another process uses {folder}; give each its own") from error
    finally:
        os.close(descriptor)
