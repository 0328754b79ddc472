"""Reads a backup's file, once it is known to be whole."""

import hashlib
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from service.backup.errors import BackupError
from service.backup.manifest import ITEMS, MANIFEST, SESSIONS, Manifest, parse_manifest
from service.backup.records import KeptItem, KeptSession, parse_item, parse_session

MAX_LINE_BYTES = 64 * 1024 * 1024
"""Far above the greatest item, which came in one request's body; a damaged file cannot fill the memory."""
_MAX_MANIFEST_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024

T = TypeVar("T")


class ArchiveReader:
    """A whole backup; a context manager. Every part was compared with its hash when the reader is made.

    Args:
        path: of the file.

    Raises:
        BackupError: it cannot be read, is damaged, or has a format that this program does not read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._naming_damage("the file"):
            self._archive = zipfile.ZipFile(path)
        try:
            self.manifest: Manifest = parse_manifest(self._read_manifest(), str(path))
            self._compare()
        except BaseException:
            self._archive.close()
            raise

    def items(self) -> Iterator[KeptItem]:
        """Return the items in the order of their first change.

        Raises:
            BackupError: a line is no item.
        """
        return self._records(ITEMS, parse_item)

    def sessions(self) -> Iterator[KeptSession]:
        """Return the sessions, in no order.

        Raises:
            BackupError: a line is no session.
        """
        return self._records(SESSIONS, parse_session)

    def __enter__(self) -> Self:
        """Use it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self._archive.close()

    def _read_manifest(self) -> bytes:
        if MANIFEST not in self._archive.namelist():
            raise BackupError(f"{self._path} is no backup: {MANIFEST} is missing")
        with self._naming_damage(MANIFEST), self._archive.open(MANIFEST) as part:
            content = part.read(_MAX_MANIFEST_BYTES + 1)
        if len(content) > _MAX_MANIFEST_BYTES:
            raise BackupError(f"{self._path}: {MANIFEST} is larger than any backup's")
        return content

    def _compare(self) -> None:
        """Compare every part with what the manifest says of it."""
        expected = self.manifest.parts
        found = set(self._archive.namelist()) - {MANIFEST}
        if differing := sorted(({ITEMS, SESSIONS} | found) ^ expected.keys()):
            raise BackupError(f"{self._path}: the manifest and the file do not agree on the part {differing[0]}")
        for name, part in expected.items():
            digest, size = hashlib.sha256(), 0
            with self._naming_damage(name), self._archive.open(name) as content:
                while chunk := content.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    size += len(chunk)
            if (size, digest.hexdigest()) != (part.bytes, part.sha256):
                raise BackupError(f"{self._path} is damaged: {name} is not what the manifest says")

    def _records(self, name: str, parse: Callable[[bytes, str], T]) -> Iterator[T]:
        with self._naming_damage(name), self._archive.open(name) as part:
            number = 0
            while line := part.readline(MAX_LINE_BYTES):
                number += 1
                yield parse(line, f"{self._path}: {name}, line {number}")

    @contextmanager
    def _naming_damage(self, what: str) -> Iterator[None]:
        """Say what of the file cannot be read."""
        try:
            yield
        except OSError as error:
            raise BackupError(f"{self._path} cannot be read: {error.strerror or error}") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError) as error:
            # All that the library raises where bytes are missing or changed; NotImplementedError is a RuntimeError.
            raise BackupError(f"{self._path} is no backup, or is cut or damaged: {what}: {error}") from error
