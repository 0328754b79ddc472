"""What a backup says of itself: `manifest.json`, the last part of its file."""

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.backup.errors import BackupError

VERSION: Final = 1
"""Of the backup's format; a later one is refused."""
MANIFEST, ITEMS, SESSIONS = "manifest.json", "items.jsonl", "sessions.jsonl"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Strict):
    """A part of the file as it is before it is compressed."""

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class LogPosition(_Strict):
    """The place in Redis's log whose state the items are."""

    epoch: str
    sequence: int = Field(ge=0)


class Manifest(_Strict):
    """All that a backup says of itself."""

    format: Literal["llmemb-backup"] = "llmemb-backup"
    version: Literal[1] = 1
    created: str
    """When it was begun, UTC."""
    program: str
    """The version of llmemb that wrote it."""
    storage: Literal["sqlite", "redis"]
    """What it was read from; it may be restored into either."""
    position: LogPosition | None
    """None where the storage has no log, that is in SQLite."""
    items: int = Field(ge=0)
    """Items that were added or changed, without those removed."""
    removed: int = Field(ge=0)
    sessions: int = Field(ge=0)
    bundles: tuple[str, ...]
    """Whose vectors are in it, the one used last at the end."""
    parts: dict[str, Part]


class _Head(BaseModel):
    """What every version has."""

    format: Literal["llmemb-backup"]
    version: int


def parse_manifest(content: bytes, name: str) -> Manifest:
    """Read a manifest.

    Raises:
        BackupError: it is none, or of a format that this program does not read; begins with `name`.
    """
    try:
        version = _Head.model_validate_json(content).version
        if version > VERSION:
            raise BackupError(
                f"{name} has backup format {version} and this program reads up to {VERSION}: restore it with the "
                "version of llmemb that wrote it, or a later one"
            )
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, fault["loc"]))
        raise BackupError(f"{name}: {MANIFEST} is not that of a backup: {place}: {fault['msg']}") from None
