"""API keys: the format of their file, and the loaded keys, which are reloaded when the file changes."""

import codecs
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
"""Lets people and secret scanners recognize a key."""


class Role(StrEnum):
    """A permission of a key."""

    RECOMMEND = "recommend"
    EMBED = "embed"
    ADMIN = "admin"


class ApiKey(BaseModel):
    """One line of the API key file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    roles: tuple[Role, ...] = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    rate_limit_per_minute: int | None = Field(default=None, ge=1)


def digest(key: str) -> str:
    """Return the hash of a key, as the file has it."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(name: str, roles: tuple[Role, ...], rate_limit_per_minute: int | None) -> tuple[str, ApiKey]:
    """Make a new random key.

    Returns:
        The key itself, which is stored nowhere, and its entry for the file.

    Raises:
        ConfigError: the name, the roles or the limit are invalid.
    """
    key = _PREFIX + secrets.token_urlsafe(32)
    try:
        return key, ApiKey(name=name, roles=roles, sha256=digest(key), rate_limit_per_minute=rate_limit_per_minute)
    except ValidationError as error:
        raise ConfigError(_message(error)) from None


def key_line(key: ApiKey) -> str:
    """Return the line for the file, without a line break."""
    return key.model_dump_json(exclude_none=True)


def parse_keys(content: bytes, path: Path) -> dict[str, ApiKey]:
    """Parse an API key file and return the keys by `sha256`; a byte order mark and empty lines are skipped.

    Raises:
        ConfigError: there is no key, there are too many, or one is invalid; the message names the line.
    """
    keys: dict[str, ApiKey] = {}
    for number, line in enumerate(content.removeprefix(codecs.BOM_UTF8).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            key = ApiKey.model_validate_json(line)
        except ValidationError as error:
            raise ConfigError(f"{path}, line {number}: {_message(error)}") from None
        if key.sha256 in keys:
            raise ConfigError(f"{path}, line {number}: the same sha256 as in a line before")
        keys[key.sha256] = key
    if not 1 <= len(keys) <= MAX_KEYS:
        raise ConfigError(f"{path} has {len(keys)} keys, but must have 1 to {MAX_KEYS}; `llmemb key` makes one")
    return keys


def _message(error: ValidationError) -> str:
    # Without the value: it may be the key itself, entered by mistake.
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in faults)


CHECK_INTERVAL_SECONDS = 1.0
"""Minimum time between two checks of the file. A `stat` takes microseconds, and reading `MAX_KEYS` keys a few
milliseconds, so both run on the event loop."""

logger = logging.getLogger(__name__)

_Signature = tuple[int, ...]


class KeyRing:
    """The loaded API keys. If the changed file is invalid, the old keys stay valid."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: the file is invalid; the message names the line.
        """
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        self._keys, self._signature = _read(path)

    def find(self, presented: str) -> ApiKey | None:
        """Return the entry of a presented key, or None if it is unknown."""
        self._reload_if_changed()
        # The lookup is not constant-time and need not be: a client cannot choose the digest of its key, so the time of
        # a comparison of digests reveals nothing about the stored keys.
        return self._keys.get(digest(presented))

    def _reload_if_changed(self) -> None:
        now = self._clock()
        if now - self._checked_at < CHECK_INTERVAL_SECONDS:
            return
        self._checked_at = now
        signature = _signature_of(self._path)
        if signature == self._signature:
            return
        self._signature = signature  # also for an invalid file, so that it is reported once
        try:
            self._keys, self._signature = _read(self._path)
        except ConfigError as error:
            logger.error("the API keys were not reloaded: %s", error)  # noqa: TRY400  # the message has the reason
        else:
            logger.info("loaded %d API keys", len(self._keys))


def _read(path: Path) -> tuple[dict[str, ApiKey], _Signature]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # before the read: a later change is detected by the next check
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the API keys in {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    return parse_keys(content, path), _signature(status)


def _signature_of(path: Path) -> _Signature:
    """Return a value that differs between versions of the file; empty if there is no file."""
    try:
        return _signature(path.stat())
    except OSError:
        return ()


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_ino, status.st_size
