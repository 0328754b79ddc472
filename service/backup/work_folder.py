"""A folder for the files of a backup that is being written, beside its target: one process at a time has it."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.backup.errors import BackupError

_NAME = ".llmemb-backup.tmp"


@contextmanager
def own_work_folder(parent: Path) -> Iterator[Path]:
    """Yield an empty folder in `parent`; it is gone when the block has ended. What a killed process left goes first.

    Raises:
        BackupError: another process writes a backup to `parent`.
        OSError: it cannot be written.
    """
    folder = parent / _NAME
    descriptor = _locked(folder)
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


def _locked(folder: Path) -> int:
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            continue  # another process has just finished, and removed the folder
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if (folder / "lock").stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            raise BackupError(f"another backup is being written to {folder.parent}") from error
        except FileNotFoundError:
            pass  # the same
        os.close(descriptor)
