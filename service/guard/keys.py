"""API keys: what a file of them holds, and those in force, read again when the file changes."""

import hashlib
import logging
import os
import secrets
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from llmemb.errors import ConfigError

MAX_KEYS = 1000
MAX_FILE_BYTES = 1024 * 1024

_PREFIX = "llmemb_"
"""Tells people, and scanners of leaked secrets, what it is."""


class Role(StrEnum):
    """What a key allows."""

    RECOMMEND = "recommend"
    EMBED = "embed"
    ADMIN = "admin"


class ApiKey(BaseModel):
    """One line of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    roles: tuple[Role, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rate_limit_per_minute: int | None = Field(default=None, ge=1)


def digest(key: str) -> str:
    """Return the hash by which a key is known."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(name: str, roles: tuple[Role, ...], rate_limit_per_minute: int | None) -> tuple[str, ApiKey]:
    """Make a new random key.

    Returns:
        The key itself, which is kept nowhere, and what the file holds of it.

    Raises:
        ConfigError: the name, the roles or the limit cannot be used.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        return key, ApiKey(name=name, roles=roles, sha256=digest(key), rate_limit_per_minute=rate_limit_per_minute)
    except ValidationError as error:
        raise ConfigError(_say(error)) from None


def key_line(key: ApiKey) -> str:
    """Return the line of the file, without its end."""
    return key.model_dump_json(exclude_none=True)


def parse_keys(content: bytes, path: Path) -> dict[str, ApiKey]:
    """Read the content of a file of keys, by their `sha256`; empty lines are skipped.

    Raises:
        ConfigError: there is no key, too many, or one that cannot be used; the message names the line.
    """
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            key = ApiKey.model_validate_json(line)
        except ValidationError as error:
            raise ConfigError(f"{path}, line {number}: {_say(error)}") from None
        if key.sha256 in keys:
            raise ConfigError(f"{path}, line {number}: the same sha256 as in a line before")
        keys[key.sha256] = key
    if not 1 <= len(keys) <= MAX_KEYS:
        raise ConfigError(f"{path} holds {len(keys)} keys, 1 to {MAX_KEYS} are taken; `llmemb key` makes one")
    return keys


def _say(error: ValidationError) -> str:
    # Never the value: somebody may have put the key itself there.
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in faults)


LOOK_SECONDS = 1.0
"""How often the file is looked at, at most. One `stat` takes microseconds, and a file of `MAX_KEYS` a few milliseconds,
so the event loop does it."""

logger = logging.getLogger(__name__)

_Signature = tuple[int, ...]


class KeyRing:
    """Knows the keys. A file that cannot be used leaves those in force that were there before."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: the file cannot be used; the message names the line.
        """
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._keys, self._signature = _read(path)

    def find(self, presented: str) -> ApiKey | None:
        """Return the key that was presented, None if it is none of ours."""
        self._look()
        # Not in constant time, and need not be: who presents a key cannot choose its digest, so how far a comparison of
        # digests gets tells nothing of the stored keys.
        return self._keys.get(digest(presented))

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        signature = _signature_of(self._path)
        if signature == self._signature:
            return
        self._signature = signature  # also of a bad file, so that it is reported once
        try:
            self._keys, self._signature = _read(self._path)
        except ConfigError as error:
            logger.error("the API keys stay as they were: %s", error)  # noqa: TRY400  # no stack: the message says all
        else:
            logger.info("%d API keys are in force", len(self._keys))


def _read(path: Path) -> tuple[dict[str, ApiKey], _Signature]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # before the content: a change in between is seen the next time
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the API keys in {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    return parse_keys(content, path), _signature(status)


def _signature_of(path: Path) -> _Signature:
    """What tells one content of the file from another; empty where there is no file."""
    try:
        return _signature(path.stat())
    except OSError:
        return ()


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_ino, status.st_size
