"""The file of a backup: a ZIP of two SQLite databases and a manifest with their sizes and hashes."""

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE

VERSION: Final = 2
"""Of the format. Version 1 held JSON lines."""
MANIFEST = "manifest.json"
DATABASES = (CATALOGUE_FILE, SESSIONS_FILE)

_FAST = 1
"""The compression level. Higher levels take several times as long and save little: vectors hardly compress."""
_MAX_MANIFEST_BYTES = 1024 * 1024
_CHUNK_BYTES = 1024 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Strict):
    """A database in the archive, before compression."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class LogPosition(_Strict):
    """A position in the Redis log."""

    epoch: str
    sequence: int = Field(ge=0)


class Manifest(_Strict):
    """What a backup contains and where it came from: `manifest.json`, the last entry of the ZIP."""

    format: Literal["llmemb-backup"] = "llmemb-backup"
    version: Literal[2] = VERSION
    created: str
    """When the backup began, UTC."""
    program: str
    """The version of llmemb that wrote it."""
    storage: Literal["sqlite", "redis"]
    """The storage it was read from. It can be restored into either."""
    position: LogPosition | None
    """The log position whose state the items are; None from SQLite, which has no log."""
    items: int = Field(ge=0)
    """Added and changed items, without the removed ones."""
    removed: int = Field(ge=0)
    sessions: int = Field(ge=0)
    bundles: tuple[str, ...]
    """The bundles whose vectors are kept, the most recently used last."""
    parts: dict[str, Part]


class _Head(BaseModel):
    """What the manifest has in every version."""

    format: Literal["llmemb-backup"]
    version: int


def write_archive(path: Path, folder: Path, manifest: Manifest, progress: Progress) -> Manifest:
    """Write the databases of a folder to an archive, which is on disk when this returns.

    Args:
        path: of the new file, readable by its owner only.
        folder: holds the two databases, closed.
        manifest: with empty `parts`.
        progress: writes progress lines.

    Returns:
        The manifest with its parts.

    Raises:
        OSError: the file cannot be written.
    """
    path.touch(mode=0o600)  # the sessions are personal data
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST) as archive:
            parts = {name: _write_part(archive, folder / name, progress) for name in DATABASES}
            manifest = manifest.model_copy(update={"parts": parts})
            archive.writestr(MANIFEST, manifest.model_dump_json(indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _write_part(archive: zipfile.ZipFile, path: Path, progress: Progress) -> Part:
    digest, size, total = hashlib.sha256(), 0, path.stat().st_size
    with path.open("rb") as database, archive.open(path.name, "w", force_zip64=True) as part:
        while chunk := database.read(_CHUNK_BYTES):
            part.write(chunk)
            digest.update(chunk)
            size += len(chunk)
            progress.tell(f"bytes of {path.name} written", size, total)
    return Part(bytes=size, sha256=digest.hexdigest())


@dataclass(frozen=True, slots=True)
class Archive:
    """A backup that is open for reading."""

    path: Path
    manifest: Manifest
    _file: zipfile.ZipFile

    def extract(self, folder: Path, progress: Progress) -> None:
        """Write the databases to a folder and verify their hashes. After an error the files there are worthless.

        Raises:
            BackupError: a part is damaged.
            OSError: the folder cannot be written.
        """
        for name in DATABASES:
            expected = self.manifest.parts[name]
            digest, size = hashlib.sha256(), 0
            with (folder / name).open("wb") as database, self._open(name) as part:
                # A part that is larger than it should be is not read to its end, which might fill the disk.
                while size <= expected.bytes and (chunk := self._read(name, part)):
                    database.write(chunk)
                    digest.update(chunk)
                    size += len(chunk)
                    progress.tell(f"bytes of {name} read", size, expected.bytes)
            if (size, digest.hexdigest()) != (expected.bytes, expected.sha256):
                raise BackupError(
                    f"{self.path} is damaged: {name} does not have the size and hash that {MANIFEST} says"
                )

    def _open(self, name: str) -> IO[bytes]:
        with _naming_damage(self.path, name):
            return self._file.open(name)

    def _read(self, name: str, part: IO[bytes]) -> bytes:
        with _naming_damage(self.path, name):
            return part.read(_CHUNK_BYTES)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a backup for reading.

    Raises:
        BackupError: the file cannot be read, is not a backup, or has a format that this program does not read.
    """
    with _naming_damage(path, "the file"):
        file = zipfile.ZipFile(path)
    with file:
        names = set(file.namelist())
        if MANIFEST not in names:
            raise BackupError(f"{path} is no backup: {MANIFEST} is missing")
        with _naming_damage(path, MANIFEST), file.open(MANIFEST) as part:
            content = part.read(_MAX_MANIFEST_BYTES + 1)
        if len(content) > _MAX_MANIFEST_BYTES:
            raise BackupError(f"{path}: {MANIFEST} has more than {_MAX_MANIFEST_BYTES} bytes")
        manifest = _parse_manifest(content, str(path))
        for name in DATABASES:
            if name not in names or name not in manifest.parts:
                raise BackupError(f"{path} is no backup, or is damaged: {name} is missing")
        yield Archive(path, manifest, file)


def _parse_manifest(content: bytes, name: str) -> Manifest:
    try:
        version = _Head.model_validate_json(content).version
        if version > VERSION:
            raise BackupError(
                f"{name} has backup format {version} and this program reads format {VERSION}: restore it with the "
                "version of llmemb that wrote it, or a later one"
            )
        if version < VERSION:
            raise BackupError(
                f"{name} has backup format {version} and this program reads format {VERSION}: restore it with the "
                "version of llmemb that wrote it, then start this version on the restored state"
            )
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise BackupError(f"{name}: {MANIFEST} is not that of a backup: {place}: {fault['msg']}") from None


@contextmanager
def _naming_damage(path: Path, what: str) -> Iterator[None]:
    """Turn an error of the file into a sentence that says which part of it cannot be read."""
    try:
        yield
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, RuntimeError) as error:
        # All that zipfile raises where bytes are missing or changed; NotImplementedError is a RuntimeError.
        raise BackupError(f"{path} is no backup, or is cut or damaged: {what}: {error}") from error
