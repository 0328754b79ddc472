"""Files written whole or not at all, and their hashes."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

_RETIRED = ".retired"


def sha256_of_file(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_text_atomically(path: Path, text: str) -> None:
    """Replace a file in one step, on disk before this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def save_arrays(arrays: Mapping[str, NDArray[np.floating]], path: Path) -> None:
    """Write arrays as safetensors."""
    # The library copies an array's memory as it lies: a transposed or reversed one it would store wrong, silently.
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that replaces it when the block ends without an error.

    A reader sees the old folder, the new one, or for a moment none; never a half-written one. After a kill at that
    moment `clear_leftovers` puts the old one back.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        yield temporary
        # mkdtemp and some libraries make files only their owner can read; a service may run as another user.
        temporary.chmod(0o755)
        for path in temporary.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        _replace_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(source: Path, target: Path) -> None:
    # Exchanging two folders in one step needs Linux and a file system that can do it; two renames work on all.
    retired = target.with_name(f".{target.name}{_RETIRED}")
    if target.exists():
        if retired.exists():
            shutil.rmtree(retired)
        target.rename(retired)
    source.rename(target)
    sync_folder(target.parent)
    if retired.exists():
        shutil.rmtree(retired)


def clear_leftovers(folder: Path) -> None:
    """Undo what killed processes left half-done directly in `folder`; call it while no other process writes there.

    A folder that was to be replaced, and was not yet, is put back. Temporary files and folders are removed.
    """
    for retired in folder.glob(f".*{_RETIRED}"):
        target = folder / retired.name.removeprefix(".").removesuffix(_RETIRED)
        if target.exists():
            shutil.rmtree(retired)
        else:
            retired.rename(target)
    for temporary in folder.glob(".*.tmp"):
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink()


def sync_folder(folder: Path) -> None:
    """Put a folder's entries on disk: what was made, renamed or removed in it.

    Raises:
        OSError: it cannot be read or written.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
