"""Connections to Redis: bounded in number, with short timeouts. All of the service's connections are made here."""

import re
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

from llmemb.errors import ConfigError
from llmemb_service.errors import StorageError
from llmemb_service.settings import Settings

MAX_CONNECTIONS = 16
"""Of one pool; a request waits for a free connection up to the timeout of a connection."""

_REFUSALS = {
    "CLUSTER": "it is part of a Redis Cluster, which is not supported",
    "INCOMPLETE": "keys of its catalogue are missing",
    "LATERFORMAT": "a later version of this program wrote its catalogue",
    "LOADING": "it is still loading its data",
    "MISCONF": "it cannot write to its disk",
    "NOAUTH": "it requires a password",
    "NOPERM": "the user has no permission for this command",
    "OOM": "it is out of memory",
    "READONLY": "it is a read-only replica",
    "WRONGPASS": "the user or the password is wrong",
}
"""Meanings of Redis's error codes."""
_CODES: dict[type[Exception], str] = {
    AskError: "CLUSTER",
    AuthenticationError: "WRONGPASS",
    BusyLoadingError: "LOADING",
    ClusterCrossSlotError: "CLUSTER",
    ClusterDownError: "CLUSTER",
    MovedError: "CLUSTER",
    NoPermissionError: "NOPERM",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
}
"""redis-py has its own exception types for these, and removes the code from some messages."""


def connect(settings: Settings, *, timeout_seconds: float | None = None, connections: int = MAX_CONNECTIONS) -> Redis:
    """Create a client that answers bytes; it connects at first use and retries nothing.

    Args:
        settings: with `redis_url`.
        timeout_seconds: of an answer; None uses the settings' timeout.
        connections: maximum number of connections.

    Raises:
        ConfigError: LLMEMB_REDIS_URL is not a Redis URL, or LLMEMB_REDIS_PASSWORD_FILE or LLMEMB_REDIS_CA_FILE cannot
            be used.
    """
    if settings.redis_url is None:
        raise ConfigError("LLMEMB_REDIS_URL is not set")
    url = settings.redis_url.get_secret_value()
    timeout = settings.redis_timeout_seconds if timeout_seconds is None else timeout_seconds
    password = None if settings.redis_password_file is None else _read_password(settings.redis_password_file)
    certificates = (
        {} if settings.redis_ca_file is None else {"ssl_ca_certs": _check_ca_file(settings.redis_ca_file, url)}
    )
    try:
        _check_url(url)
        pool = BlockingConnectionPool.from_url(
            url,
            password=password,
            **certificates,
            max_connections=connections,
            timeout=timeout,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            # A retry here would hide how long Redis takes; callers that can retry do so themselves.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError:
        # Without the URL and the cause: both may contain the password.
        raise ConfigError(
            "LLMEMB_REDIS_URL: not a Redis URL, such as redis://host:6379/0. In a user or password write / as %2F, "
            "# as %23, ? as %3F, @ as %40, % as %25 and [ as %5B, or put the password in LLMEMB_REDIS_PASSWORD_FILE"
        ) from None
    pool.connection_class = _raising_connection_error(pool.connection_class)
    return Redis.from_pool(pool)


def _check_url(url: str) -> None:
    """Refuse a URL that contains a character which should be percent-encoded.

    redis-py would take redis://:p@s/s#w%r@host for the host s with the password p.

    Raises:
        ValueError: the URL is not of the form that redis-py expects.
    """
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return
    _ = parts.port  # raises ValueError if it is not a number
    if parts.fragment or "@" in parts.query or not re.fullmatch(r"(/\d*/?)?", parts.path):
        raise ValueError("a part of the URL is not where it should be")


def _check_ca_file(path: Path, url: str) -> str:
    if not url.startswith("rediss://"):
        raise ConfigError("LLMEMB_REDIS_CA_FILE is set, but LLMEMB_REDIS_URL does not begin with rediss://")
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # also of the ssl module
        reason = "it contains no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigError(f"LLMEMB_REDIS_CA_FILE: {path} cannot be used: {reason}") from error
    return str(path)


def _raising_connection_error(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return a subclass whose connections raise redis-py's ConnectionError when they are lost, on any event loop.

    When writing to a lost connection, uvloop raises RuntimeError, while asyncio writes nothing and the read fails.
    """

    class CheckedConnection(connection_class):  # type: ignore[misc, valid-type]  # a class that is a value
        async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health=check_health)
            except RuntimeError as error:
                raise ConnectionError("the connection is lost") from error

    return CheckedConnection


def _read_password(path: Path) -> str:
    """Read the password, without the newline that editors add at the end."""
    try:
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"LLMEMB_REDIS_PASSWORD_FILE: {path} cannot be read ({type(error).__name__})") from None
    if not password:
        raise ConfigError(f"LLMEMB_REDIS_PASSWORD_FILE: {path} is empty")
    return password


def describe_error(error: Exception) -> str:
    """Return what is wrong with Redis, without an address or a password."""
    # A script's error contains the code inside a sentence, whose other words must not be quoted.
    code = "NOAUTH" if str(error) == "Authentication required." else _CODES.get(type(error), "")
    words = {word.removeprefix("-") for word in str(error).split()} | {code}
    for code, meaning in _REFUSALS.items():
        if code in words:
            return f"Redis refuses the command: {meaning}"
    if isinstance(error, ResponseError):
        return "Redis refuses the command"
    for cause in _chain(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            # The rest of the message has the address.
            return f"Redis's certificate is not trusted: {cause.verify_message.split(', ')[0]}"
        if isinstance(cause, ssl.SSLError):
            return f"Redis cannot be reached by TLS ({cause.reason})"
    return f"Redis does not answer ({type(error).__name__})"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those from which it was raised."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def raise_storage_error(error: Exception, consequence: str) -> NoReturn:
    """Raise the StorageError of a request for which Redis failed.

    Raises:
        StorageError: always.
    """
    raise StorageError(f"{describe_error(error)}; {consequence}") from error
