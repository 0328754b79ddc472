"""Writes a backup's file: a ZIP of JSON lines, part by part, so that memory stays small."""

import contextlib
import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from service.backup.manifest import MANIFEST, Manifest, Part

_FAST = 1
"""The level of compression: higher ones take several times as long and save little, since vectors are noise."""


class ArchiveWriter:
    """A context manager; the file is whole, and on disk, when its block has ended without an error.

    Args:
        path: of the file, which is made.

    Raises:
        OSError: it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)  # it holds what people looked at
        self._file = path.open("wb")
        self._archive = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST)
        self.parts: dict[str, Part] = {}

    def write_part(self, name: str, lines: Iterable[bytes]) -> None:
        """Write a part: lines that end with a line feed."""
        digest, size = hashlib.sha256(), 0
        with self._archive.open(name, "w", force_zip64=True) as part:
            for line in lines:
                digest.update(line)
                size += len(line)
                part.write(line)
        self.parts[name] = Part(bytes=size, sha256=digest.hexdigest())

    def write_manifest(self, manifest: Manifest) -> None:
        """Write the last part."""
        self._archive.writestr(MANIFEST, manifest.model_dump_json(indent=2) + "\n")

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish the file."""
        try:
            if kind is None:
                self._archive.close()
                self._file.flush()
                os.fsync(self._file.fileno())
            else:
                # A disk that is full fails here once more; what was wrong first is what counts.
                with contextlib.suppress(OSError, ValueError):
                    self._archive.close()
        finally:
            self._file.close()
