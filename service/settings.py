"""Every setting of the service: its variable is `LLMEMB_` and its name in capitals.

One variable has no prefix, `FORWARDED_ALLOW_IPS`: uvicorn and gunicorn call it so.
Only how the service runs is set here. What changes a number (prompt, pooling, widths) stands in the bundle.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from llmemb.encoder.engines.engine import EngineName
from llmemb.errors import ConfigError
from service.client_address import TrustedProxies

PREFIX = "LLMEMB_"


class Settings(BaseSettings):
    """The service's settings; read once, by `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    bundle: Path
    """The bundle's folder."""
    bundles_dir: Path | None = None
    """Folder whose bundles `/admin/bundles` may load, by the names of their folders; unset, the one that holds
    `bundle`."""
    report: Path | None = None
    """The trainer's report on the bundle, `report/index.html` of its run, shown at `/report`; unset, there is none.
    Where there are API keys it is for admins: it has histories of people in it."""
    state_dir: Path = Path("state")
    """Folder of what the service writes: added items and sessions, unless Redis has them. One process at a time uses
    it."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 is every one."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""

    device: str = Field(default="cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$")
    """Where the encoder runs: cpu, mps, cuda or cuda:N."""
    encoder_engine: EngineName = "auto"
    """How the encoder computes. packed: each token once for all prompts of a batch that begin alike, for plain Llamas;
    transformers: any LLM; auto: packed where it can. packed-bfloat16, nearly twice as quick on processors with
    AVX-512's instructions for bfloat16, and meant for GPUs too, is not exact, and held against the bundle's own vectors
    at the start."""
    encoder_threads: int | None = Field(default=None, ge=1)
    """Threads of the encoder's process; unset, one for each core."""
    encoder_nice: int | None = Field(default=None, ge=0, le=19)
    """The encoder's nice level. Unset, the encoder runs in Linux's idle scheduling class: what else is busy in its
    container goes first, and while all cores are busy little is embedded. Set it, such as to 10, where embedding must
    have a share of its own. On systems without that class, unset is 10."""
    encoder_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """A server of the bundle's encoder that speaks OpenAI's `/v1/embeddings`, such as vLLM, TEI or Infinity: its
    address up to `/v1`. Set, no encoder is started here."""
    encoder_model: str = "llmemb-raw"
    """What `encoder_url` calls the model."""
    encoder_api_key: SecretStr | None = None
    """The key that `encoder_url` asks for."""

    redis_url: SecretStr | None = None
    """The Redis of several replicas, such as redis://host:6379/0: catalogue, sessions and embedding cache; unset, the
    first two are in `state_dir` and the cache is in memory."""
    redis_password_file: Path | None = None
    """A file with the password of `redis_url`, such as a mounted secret, so that the URL need not hold it."""
    redis_prefix: str = Field(default="llmemb", pattern=r"^[A-Za-z0-9._-]+$")
    """Begins every key in Redis; replicas of one catalogue share it."""
    redis_timeout_seconds: float = Field(default=0.25, gt=0)
    """How long a request waits for Redis before it goes on without, or fails where it cannot."""
    redis_retry_seconds: float = Field(default=2.0, gt=0)
    """How long Redis is left alone after it failed."""
    redis_log_entries: int = Field(default=100_000, ge=100)
    """Changes of the catalogue that Redis keeps in order; a replica that missed more reads the whole state."""
    cache_max_items: int = Field(default=100_000, ge=1)
    """Vectors that the cache holds, in memory or in Redis; the least recently used leave it."""
    cache_ttl_seconds: int = Field(default=7 * 24 * 3600, ge=1)
    """How long Redis keeps a cached vector."""
    session_ttl_seconds: int = Field(default=30 * 24 * 3600, ge=1)
    """How long a session is kept after its last event."""

    vector_store: Literal["faiss", "milvus"] = "faiss"
    """What searches the bundle's items: FAISS in this process, or Milvus."""
    milvus_uri: str | None = None
    """Milvus, such as http://host:19530, or a file's path for Milvus Lite."""
    milvus_token: SecretStr | None = None
    """What `milvus_uri` asks for, such as user:password."""
    fold_items: int = Field(default=5000, ge=1)
    """Added items beside the index, past which they are folded into it in the background."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Tokens that the encoder reads together, padding included."""
    queue_max_items: int = Field(default=2048, ge=1)
    """Items that may wait for the encoder; past it the answer is 429."""
    embed_timeout_seconds: float = Field(default=30.0, gt=0)
    """How long a request waits for the encoder; past it the answer is 504."""
    rank_batch: int = Field(default=64, ge=1)
    """Recommendations that go through the sequence model together."""
    rank_max_waiting: int = Field(default=1024, ge=1)
    """Recommendations that may wait; past it the answer is 429."""
    rank_max_running: int = Field(default=32, ge=1)
    """Requests for recommendations that may be under way; past it the answer is 429, before anything is done for it.
    Divided by the requests that a process answers a second, it is about how long one takes under too much load."""
    rank_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a recommendation may take; past it the answer is 504."""

    max_connections: int = Field(default=4096, ge=1)
    """Connections that may be open; past it the one that has waited for a request for the longest time is closed."""
    head_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a request's line and headers may take to come; past it the connection is closed."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """The greatest request body."""
    body_timeout_seconds: float = Field(default=30.0, gt=0)
    """How long a request's body may take to come; past it the answer is 408. Also how long a client may take to read an
    answer; past it the connection is closed."""
    max_items_per_request: int = Field(default=512, ge=1)
    """The most items of one `/embed_items`, texts of one `/v1/embeddings` and requests of one `/recommend/batch`."""
    max_value_characters: int = Field(default=10_000, ge=1)
    """The longest value of an attribute, a list's entries taken together, and the longest text of `/v1/embeddings`."""
    max_history_items: int = Field(default=1000, ge=1)
    """The longest history of one `/recommend`, and the most events of one request."""
    max_filter_values: int = Field(default=10_000, ge=1)
    """The longest list of a filter."""
    max_k: int = Field(default=1000, ge=1)
    """The most items that one request may ask for."""
    max_added_items: int = Field(default=1_000_000, ge=0)
    """Items that may be added to the bundle's catalogue."""

    api_keys_file: Path | None = None
    """File of the API keys, as `llmemb key` writes its lines; read again when it changes. Unset, nobody is asked for
    one."""
    rate_limit_per_minute: int | None = Field(default=None, ge=1)
    """Requests a minute of one API key, or of one client address where there are no keys, at each replica; unset, any
    number. IPv6 addresses of one /64 count as one."""
    forwarded_allow_ips: str = Field(default="127.0.0.1,::1", validation_alias="FORWARDED_ALLOW_IPS")
    """Proxies whose `X-Forwarded-For` names the client: addresses and networks separated by commas, or `*` for every
    peer. The last entry of the header that is not one of them is the client; with `*` it is the first one, which a
    client can forge unless the proxy overwrites the header."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the service from a browser, as a JSON list."""

    log_format: Literal["json", "text"] = "json"
    """How log lines are written."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged at least."""

    ready_seconds: float = Field(default=5.0, ge=0)
    """How long `/readyz` reuses its last answer."""
    ready_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long a check of `/readyz` may take before its part counts as failed."""
    shutdown_seconds: int = Field(default=30, ge=0)
    """How long running requests may take to finish when the service stops."""
    replay_requests: int = Field(default=100, ge=0)
    """Recent recommendations that a new bundle answers before it takes over."""

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        TrustedProxies(text)
        return text

    @model_validator(mode="after")
    def _a_whole_request_fits_the_queues(self) -> Self:
        if self.queue_max_items < self.max_items_per_request:
            raise ValueError(
                f"queue_max_items is {self.queue_max_items}, but must hold one request, "
                f"max_items_per_request {self.max_items_per_request}"
            )
        if self.rank_max_waiting < self.max_items_per_request:
            raise ValueError(
                f"rank_max_waiting is {self.rank_max_waiting}, but must hold one batch, "
                f"max_items_per_request {self.max_items_per_request}"
            )
        return self


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"


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
    name = str(loc[0])
    # An alias is given as it is.
    named = variable(name) if name in Settings.model_fields else name
    message = message.removeprefix("Value error, ")
    return f"{named} is not set, nor --{name} given" if kind == "missing" else f"{named}: {message}"


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    """Refuse variables that look like ours and are none: a misspelt setting must not pass in silence."""
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted(environment):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else "; docs/settings.md lists them all"
            raise ConfigError(f"{name} is no setting of the service{hint}")
