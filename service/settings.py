"""Every setting of the service: its variable is `LLMEMB_` and its name in capitals.

Only how the service runs is set here. What changes a number (prompt, pooling, widths) stands in the bundle.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from llmemb.errors import ConfigError

PREFIX = "LLMEMB_"


class Settings(BaseSettings):
    """The service's settings; read once, by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    bundle: Path
    """The bundle's folder."""
    state_dir: Path = Path("state")
    """Folder of what the service writes: the added items. One process at a time uses it."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    device: str = Field(default="cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$")
    """Where the encoder runs: cpu, mps, cuda or cuda:N."""

    redis_url: SecretStr | None = None
    """The Redis that holds the embedding cache, such as redis://host:6379/0; unset, the cache is in memory."""
    redis_timeout_seconds: float = Field(default=0.25, gt=0)
    """How long a request waits for Redis before it goes on without."""
    redis_retry_seconds: float = Field(default=2.0, gt=0)
    """How long Redis is left alone after it failed."""
    cache_max_items: int = Field(default=100_000, ge=1)
    """Vectors that the cache in memory holds; the least recently used leave it."""
    cache_ttl_seconds: int = Field(default=7 * 24 * 3600, ge=1)
    """How long Redis keeps a cached vector."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Tokens that the encoder reads together, padding included."""
    queue_max_items: int = Field(default=2048, ge=1)
    """Items that may wait for the encoder; past it the answer is 429."""
    embed_timeout_seconds: float = Field(default=30.0, gt=0)
    """How long a request waits for the encoder; past it the answer is 504."""
    recommend_threads: int = Field(default=4, ge=1)
    """Recommendations computed at the same time."""

    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """The greatest request body."""
    max_items_per_request: int = Field(default=512, ge=1)
    """The most items of one `/embed_items`."""
    max_value_characters: int = Field(default=10_000, ge=1)
    """The longest value of an attribute, a list's entries taken together."""
    max_history_items: int = Field(default=1000, ge=1)
    """The longest history of one `/recommend`."""
    max_k: int = Field(default=1000, ge=1)
    """The most items that one `/recommend` may ask for."""
    max_added_items: int = Field(default=100_000, ge=0)
    """Items that may be added to the bundle's catalogue."""

    ready_seconds: float = Field(default=5.0, ge=0)
    """How long `/readyz` reuses its last answer."""
    ready_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a check of `/readyz` may take before its part counts as failed."""
    shutdown_seconds: int = Field(default=30, ge=0)
    """How long running requests may take to finish when the service stops."""

    @model_validator(mode="after")
    def _a_whole_request_fits_the_queue(self) -> Self:
        if self.queue_max_items < self.max_items_per_request:
            raise ValueError(
                f"queue_max_items is {self.queue_max_items}, but must hold one request, "
                f"max_items_per_request {self.max_items_per_request}"
            )
        return self


def load_settings(overrides: Mapping[str, object]) -> Settings:
    """Read the settings from the environment; `overrides` win, those that are None are left out.

    Raises:
        ConfigError: a variable is misspelt, missing or has a value that cannot be used; the message names it.
    """
    _refuse_unknown(os.environ)
    try:
        # Values are checked by the model, so it may be given any.
        return Settings(**{name: value for name, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        # Never the value: it may be a secret.
        faults = error.errors(include_input=False, include_url=False)
        raise ConfigError("; ".join(_say(fault["loc"], fault["type"], fault["msg"]) for fault in faults)) from None


def _say(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    if not loc:
        return message.removeprefix("Value error, ")
    variable = f"{PREFIX}{str(loc[0]).upper()}"
    return f"{variable} is not set, nor --{loc[0]} given" if kind == "missing" else f"{variable}: {message}"


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """Refuse variables that look like ours and are none: a misspelt setting must not pass in silence."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else "; docs/settings.md lists them all"
            raise ConfigError(f"{name} is no setting of the service{hint}")
