"""API keys: what a file of them holds, one JSON object a line.

    {"name": "shop", "roles": ["recommend", "embed"], "sha256": "9f86d0...", "rate_limit_per_minute": 600}

A key is 256 random bits, so its plain SHA-256 gives nothing away. Two lines may share a name: the old key and the new
one while clients change over.
"""

import hashlib
import secrets
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
