"""Where the full-text index of a bundle is kept: a file of its own in the state folder, or a temporary one."""

import fcntl
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO


class SearchFolder:
    """Holds a file against others who would write it; a context manager.

    Args:
        folder: of files that outlive the process; None takes a temporary one, as does a file that somebody else holds.
        bundle_id: names the file.
    """

    def __init__(self, folder: Path | None, bundle_id: str) -> None:
        self._folder = folder
        self._name = f"search-{bundle_id}.sqlite3"
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._lock: TextIO | None = None
        self.path = Path()
        """The file; it need not exist."""

    def __enter__(self) -> Self:
        """Take the file."""
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._folder / f"{self._name}.lock")
        if self._folder is not None and self._lock is not None:
            self.path = self._folder / self._name
            self._drop_others(self._folder)
        else:
            self._temporary = tempfile.TemporaryDirectory(prefix="llmemb-search-")
            self.path = Path(self._temporary.name) / self._name
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        if self._temporary is not None:
            self._temporary.cleanup()
        if self._lock is not None:
            self._lock.close()

    def _drop_others(self, folder: Path) -> None:
        """Remove the files of bundles that nobody has loaded."""
        for path in folder.glob("search-*.sqlite3"):
            if path == self.path:
                continue
            lock_path = path.with_name(f"{path.name}.lock")
            lock = _locked(lock_path)
            if lock is not None:
                drop(path)
                lock_path.unlink()
                lock.close()


def drop(path: Path) -> None:
    """Remove a file of SQLite, and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _locked(path: Path) -> TextIO | None:
    """Open and lock a file until it is closed; None where somebody else has locked it."""
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock
