"""Every setting of the service: its variable is `LLMEMB_` and its name in capitals.

Only `FORWARDED_ALLOW_IPS` has no prefix, because uvicorn and gunicorn use this name.
The settings are operational. Everything that changes a result (prompt, pooling, widths) is in the bundle.
"""

import difflib
import logging
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from llmemb.encoder.engines.engine import EngineName
from llmemb.errors import ConfigError
from llmemb_service.client_address import TrustedProxies

PREFIX = "LLMEMB_"
RENAMED = {
    "BATCH_TOKENS": "max_batch_tokens",
    "QUEUE_MAX_ITEMS": "max_queued_items",
    "RANK_BATCH": "max_rank_batch_size",
    "RANK_MAX_WAITING": "max_queued_recommendations",
    "RANK_MAX_RUNNING": "max_concurrent_recommendations",
    "HEAD_TIMEOUT_SECONDS": "headers_timeout_seconds",
    "MAX_ITEMS_PER_REQUEST": "max_client_batch_size",
    "READY_SECONDS": "readiness_cache_seconds",
    "READY_TIMEOUT_SECONDS": "readiness_timeout_seconds",
    "SHUTDOWN_SECONDS": "shutdown_timeout_seconds",
}
"""Settings that had another name, without the prefix -> their field now."""

_KUBERNETES_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://\S+:\d+", re.IGNORECASE)
_PROTOCOL = "(?:TCP|UDP|SCTP)"
_KUBERNETES_PORT = re.compile(rf"({PREFIX[:-1]}(?:_\w+?)??)_PORT(?:_\d+_{_PROTOCOL})?")
"""Names of the variables in which Kubernetes puts a Service's address; the group is the Service's name."""

logger = logging.getLogger(__name__)


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
    """Folder whose bundles `/admin/bundles` may load, by the names of their folders; unset, the parent folder of
    `bundle`."""
    report: Path | None = None
    """The trainer's report on the bundle, `report/index.html` of its run, shown at `/report`; unset, there is none.
    If API keys are set, it needs the role `admin`, because it contains histories of people."""
    state_dir: Path = Path("state")
    """Folder for the service's data: added items and sessions, unless Redis stores them. Only one process at a time can
    use it."""
    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 means all addresses."""
    port: int = Field(default=8000, ge=0, le=65535)
    """Port to listen on; 0 picks a free one."""

    device: str = Field(default="cpu", pattern=r"^(cpu|mps|cuda(:\d+)?)$")
    """Where the encoder runs: cpu, mps, cuda or cuda:N."""
    encoder_engine: EngineName = "auto"
    """How the encoder computes. packed: computes the common prefixes of a batch's prompts once, for plain Llamas;
    transformers: any LLM; auto: packed if possible. packed-bfloat16 is nearly twice as fast on processors with
    AVX-512 bfloat16 instructions, and is meant for GPUs too. It is not exact, so the service verifies it with the
    bundle's own vectors at the start."""
    encoder_threads: int | None = Field(default=None, ge=1)
    """Threads of the encoder's process; unset, one for each CPU that the process may use: those of its affinity, but at
    most its container's CPU quota, rounded up."""
    encoder_nice: int | None = Field(default=None, ge=0, le=19)
    """The encoder's nice level. Unset, the encoder runs in Linux's idle scheduling class: other threads in its
    container have priority, and while all cores are busy little is embedded. Set it, for example to 10, if embedding
    needs a guaranteed share. On systems without this class, unset means 10."""
    encoder_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    """A server with the bundle's encoder and OpenAI's `/v1/embeddings` API, such as vLLM or another LLMEmb service: its
    URL up to `/v1`. If set, the service starts no encoder itself. The server must not scale its vectors to unit length,
    as TEI and Infinity do by default: the projection needs their length. The service checks this at the start."""
    encoder_model: str = "llmemb-raw"
    """Name of the model at `encoder_url`."""
    encoder_api_key: SecretStr | None = None
    """API key for `encoder_url`."""

    redis_url: SecretStr | None = None
    """Redis for several replicas, such as redis://host:6379/0: stores the catalogue, the sessions and the embedding
    cache. Unset, the first two are in `state_dir` and the cache is in memory."""
    redis_password_file: Path | None = None
    """A file with the password of `redis_url`, such as a mounted secret, so that the URL need not contain it. In the
    URL, the characters `/`, `#`, `?`, `@`, `%` and `[` of a password are percent-encoded; in the file they are not."""
    redis_ca_file: Path | None = None
    """A file with the certificates (PEM) of the CAs that Redis's certificate is verified with; unset, those of the
    system. Only for a `redis_url` that begins with rediss://."""
    redis_prefix: str = Field(default="llmemb", pattern=r"^[A-Za-z0-9._-]+$")
    """Prefix of every key in Redis; replicas of one catalogue share it."""
    redis_timeout_seconds: float = Field(default=0.25, gt=0)
    """Timeout of Redis calls. After it, a request continues without Redis, or fails if it needs it."""
    redis_retry_seconds: float = Field(default=2.0, gt=0)
    """Time without calls to Redis after it failed."""
    redis_log_entries: int = Field(default=100_000, ge=100)
    """Length of the catalogue's change log in Redis; a replica that missed more changes reads the whole state."""
    cache_max_items: int = Field(default=100_000, ge=1)
    """Maximum number of vectors in the cache, in memory or in Redis; the least recently used are evicted."""
    cache_ttl_seconds: int = Field(default=7 * 24 * 3600, ge=1)
    """Time to live of a cached vector in Redis."""
    session_ttl_seconds: int = Field(default=30 * 24 * 3600, ge=1)
    """Time to live of a session after its last event."""

    vector_store: Literal["faiss", "milvus"] = "faiss"
    """The index that searches the bundle's items: FAISS in this process, or Milvus."""
    milvus_uri: str | None = None
    """URI of Milvus, such as http://host:19530, or a file's path for Milvus Lite."""
    milvus_token: SecretStr | None = None
    """Credentials for `milvus_uri`, such as user:password."""
    fold_items: int = Field(default=5000, ge=1)
    """Maximum number of added items outside the index; above it, they are folded into the index in the background."""

    max_batch_tokens: int = Field(default=2048, ge=1)
    """Maximum number of tokens in a batch of the encoder, padding included."""
    max_queued_items: int = Field(default=2048, ge=1)
    """Maximum number of items in the encoder's queue; above it the status is 429."""
    embed_timeout_seconds: float = Field(default=30.0, gt=0)
    """Timeout of a request that waits for the encoder; after it the status is 504."""
    max_rank_batch_size: int = Field(default=64, ge=1)
    """Maximum number of recommendations in a batch of the sequence model."""
    max_queued_recommendations: int = Field(default=1024, ge=1)
    """Maximum number of recommendations in the queue; above it the status is 429."""
    max_concurrent_recommendations: int = Field(default=32, ge=1)
    """Maximum number of concurrent requests for recommendations; above it the status is 429, before any work is done.
    Divided by the throughput in requests per second, it is about the latency under overload."""
    rank_timeout_seconds: float = Field(default=10.0, gt=0)
    """Timeout of a recommendation; after it the status is 504."""

    max_connections: int = Field(default=4096, ge=1)
    """Maximum number of open connections; above it, the connection that has waited longest for a request is closed."""
    headers_timeout_seconds: float = Field(default=10.0, gt=0)
    """Timeout for a request's line and headers; after it the connection is closed."""
    keep_alive_seconds: float = Field(default=75.0, gt=0)
    """How long a connection stays open after an answer, without a further request. It must be longer than the proxy in
    front keeps idle connections, usually 60 s: a proxy that sends a request on a connection just as the service closes
    it answers 502."""
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1)
    """Maximum request body; of a gzip body, both before and after decompression."""
    body_timeout_seconds: float = Field(default=30.0, gt=0)
    """Timeout for a request's body; after it the status is 408. Also the timeout for a client that reads an answer;
    after it the connection is closed."""
    max_client_batch_size: int = Field(default=512, ge=1)
    """Maximum number of items of `/embed_items` and of requests of `/recommend/batch`. A request of `/v1/embeddings`
    may have 2,048 texts; they are embedded in parts of this size, each with its own `embed_timeout_seconds`."""
    max_value_characters: int = Field(default=10_000, ge=1)
    """Maximum length of an attribute's value (for a list, of all entries together) and of a text of
    `/v1/embeddings`."""
    max_history_items: int = Field(default=1000, ge=1)
    """Maximum length of a history of `/recommend`, and maximum number of events of one request."""
    max_filter_values: int = Field(default=10_000, ge=1)
    """Maximum length of a list in a filter."""
    max_k: int = Field(default=1000, ge=1)
    """Maximum number of items that one request may ask for."""
    max_added_items: int = Field(default=1_000_000, ge=0)
    """Maximum number of items added to the bundle's catalogue."""

    api_keys_file: Path | None = None
    """File of the API keys, with lines from `llmemb key`; reloaded when it changes. Unset, no API key is needed."""
    rate_limit_per_minute: int | None = Field(default=None, ge=1)
    """Maximum number of requests per minute for one API key, or for one client address if there are no keys, at each
    replica; unset, no limit. IPv6 addresses of one /64 count as one."""
    forwarded_allow_ips: str = Field(default="127.0.0.1,::1", validation_alias="FORWARDED_ALLOW_IPS")
    """Proxies whose `X-Forwarded-For` is trusted: addresses and networks separated by commas, or `*` for every peer.
    The last entry of the header that is not one of them is the client; with `*` it is the first one, which a client can
    forge unless the proxy overwrites the header."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call the service from a browser, as a JSON list."""

    log_format: Literal["json", "text"] = "json"
    """Format of log lines."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum level of log lines."""

    readiness_cache_seconds: float = Field(default=5.0, ge=0)
    """How long `/readyz` reuses its last answer."""
    readiness_timeout_seconds: float = Field(default=10.0, gt=0)
    """Timeout of one check of `/readyz`; after it the part counts as failed."""
    shutdown_timeout_seconds: int = Field(default=30, ge=0)
    """How long running requests may take to finish when the service stops."""
    replay_requests: int = Field(default=100, ge=0)
    """Number of recent recommendations that a new bundle must answer before it takes over."""

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _are_addresses(cls, text: str) -> str:
        TrustedProxies(text)
        return text

    @model_validator(mode="after")
    def _a_whole_request_fits_the_queues(self) -> Self:
        if self.max_queued_items < self.max_client_batch_size:
            raise ValueError(
                f"max_queued_items is {self.max_queued_items}, but must be at least "
                f"max_client_batch_size, {self.max_client_batch_size}"
            )
        if self.max_queued_recommendations < self.max_client_batch_size:
            raise ValueError(
                f"max_queued_recommendations is {self.max_queued_recommendations}, but must be at least "
                f"max_client_batch_size, {self.max_client_batch_size}"
            )
        return self


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    alias = Settings.model_fields[name].validation_alias
    return alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"


def load_settings(overrides: Mapping[str, object]) -> Settings:
    """Read the settings from the environment; `overrides` that are not None have priority.

    Variables that Kubernetes sets for its Services are ignored; see `log_ignored_variables`.

    Raises:
        ConfigError: a variable is misspelt, missing or invalid; the message names it.
    """
    ignored = _variables_of_kubernetes(os.environ)
    _refuse_unknown(os.environ.keys() - ignored)
    # pydantic reads the environment itself: a value given here has priority over a variable that is ignored.
    values = {name: field.default for name, field in Settings.model_fields.items() if variable(name) in ignored}
    values |= {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**values)
    except ValidationError as error:
        # Without the value, which may be a secret.
        faults = error.errors(include_input=False, include_url=False)
        raise ConfigError("; ".join(_message(fault["loc"], fault["type"], fault["msg"]) for fault in faults)) from None


def _message(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    if not loc:
        return message.removeprefix("Value error, ")
    name = str(loc[0])
    # pydantic reports an alias instead of the field's name.
    named = variable(name) if name in Settings.model_fields else name
    message = message.removeprefix("Value error, ")
    return f"{named} is not set, nor --{name} given" if kind == "missing" else f"{named}: {message}"


def log_ignored_variables() -> None:
    """Log once which variables `load_settings` has ignored, because Kubernetes has set them for its Services."""
    if ignored := _variables_of_kubernetes(os.environ):
        logger.info(
            "ignored these variables, which Kubernetes sets for Services whose names begin with llmemb: %s",
            ", ".join(sorted(ignored)),
        )


def _variables_of_kubernetes(environment: Mapping[str, str]) -> set[str]:
    """Return the variables that Kubernetes sets for Services whose names begin with llmemb.

    A Service is known by its address, as in LLMEMB_PORT=tcp://10.0.0.9:8000, which nobody gives a setting by mistake.
    Without one, a variable such as LLMEMB_SERVICE_HOST is a misspelt setting.
    """
    addresses = {name for name, value in environment.items() if _KUBERNETES_ADDRESS.fullmatch(value)}
    services = {match[1] for name in addresses if (match := _KUBERNETES_PORT.fullmatch(name))}
    own = re.compile(
        rf"(?:{'|'.join(services)})_(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT(?:_\d+_{_PROTOCOL}(?:_(?:PROTO|PORT|ADDR))?)?)"
    )
    settings = {variable(name) for name in Settings.model_fields}
    return {
        name for name in environment if services and own.fullmatch(name) and (name not in settings or name in addresses)
    }


def _refuse_unknown(names: Iterable[str]) -> None:
    """Refuse unknown variables with our prefix, so that a misspelt setting is not silently ignored."""
    known = {variable(name) for name in Settings.model_fields}
    for name in sorted(names):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            renamed = RENAMED.get(name.upper().removeprefix(PREFIX))
            if renamed is not None:
                raise ConfigError(f"{name} has been renamed: set {PREFIX}{renamed.upper()} instead")
            close = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.5)
            hint = f"; did you mean {close[0]}?" if close else "; docs/settings.md lists them all"
            raise ConfigError(f"{name} is not a setting of the service{hint}")
