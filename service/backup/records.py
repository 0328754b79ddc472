"""The lines of a backup: an item with all that is kept of it, and a session, each one line of JSON."""

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.backup.errors import BackupError


@dataclass(frozen=True, slots=True)
class KeptItem:
    """All that a storage keeps of an item that was changed. What is None is as the bundle has it."""

    id: str
    attributes_json: str | None
    categories: tuple[str, ...] | None
    available: bool | None
    removed: bool
    vectors: Mapping[str, bytes]
    """Bundle id -> semantic vector `(D,)`, float32, little-endian."""


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session: ids, the oldest first, and the Unix time at which it is forgotten."""

    id: str
    history: tuple[str, ...]
    expires: float


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class _ItemLine(_Line):
    id: str = Field(min_length=1)
    attributes: str | None
    categories: tuple[str, ...] | None
    available: bool | None
    removed: bool
    vectors: dict[str, str]


class _SessionLine(_Line):
    id: str
    history: tuple[str, ...] = Field(min_length=1)
    expires: float


def item_line(item: KeptItem) -> bytes:
    """Write an item."""
    return _line(
        {
            "id": item.id,
            "attributes": item.attributes_json,
            "categories": item.categories,
            "available": item.available,
            "removed": item.removed,
            "vectors": {bundle: base64.b64encode(vector).decode() for bundle, vector in item.vectors.items()},
        }
    )


def session_line(session: KeptSession) -> bytes:
    """Write a session."""
    return _line({"id": session.id, "history": session.history, "expires": session.expires})


def parse_item(line: bytes, place: str) -> KeptItem:
    """Read what `item_line` wrote.

    Raises:
        BackupError: the line holds something else; begins with `place`.
    """
    try:
        read = _ItemLine.model_validate_json(line)
        vectors = {bundle: base64.b64decode(text, validate=True) for bundle, text in read.vectors.items()}
    except (ValidationError, binascii.Error) as error:
        raise BackupError(f"{place} is no item: {_said(error)}") from None
    if any(len(vector) % 4 for vector in vectors.values()):
        raise BackupError(f"{place} is no item: a vector is cut")
    return KeptItem(read.id, read.attributes, read.categories, read.available, read.removed, vectors)


def parse_session(line: bytes, place: str) -> KeptSession:
    """Read what `session_line` wrote.

    Raises:
        BackupError: the line holds something else; begins with `place`.
    """
    try:
        read = _SessionLine.model_validate_json(line)
    except ValidationError as error:
        raise BackupError(f"{place} is no session: {_said(error)}") from None
    return KeptSession(read.id, read.history, read.expires)


def _line(content: Mapping[str, object]) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _said(error: ValidationError | binascii.Error) -> str:
    if isinstance(error, binascii.Error):
        return str(error)
    fault = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
