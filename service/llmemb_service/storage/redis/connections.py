"""Connections to Redis: bounded in number, with short timeouts. All of the service's connections are made here."""

from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
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
    AuthenticationError: "WRONGPASS",
    BusyLoadingError: "LOADING",
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
        ConfigError: LLMEMB_REDIS_URL is not a Redis URL, or LLMEMB_REDIS_PASSWORD_FILE cannot be used.
    """
    if settings.redis_url is None:
        raise ConfigError("LLMEMB_REDIS_URL is not set")
    timeout = settings.redis_timeout_seconds if timeout_seconds is None else timeout_seconds
    password = None if settings.redis_password_file is None else _read_password(settings.redis_password_file)
    try:
        pool = BlockingConnectionPool.from_url(
            settings.redis_url.get_secret_value(),
            password=password,
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
        raise ConfigError("LLMEMB_REDIS_URL: not a Redis URL, such as redis://host:6379/0") from None
    pool.connection_class = _raising_connection_error(pool.connection_class)
    return Redis.from_pool(pool)


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
    words = {word.removeprefix("-") for word in str(error).split()} | {_CODES.get(type(error), "")}
    for code, meaning in _REFUSALS.items():
        if code in words:
            return f"Redis refuses the command: {meaning}"
    if isinstance(error, ResponseError):
        return "Redis refuses the command"
    return f"Redis does not answer ({type(error).__name__})"


def raise_storage_error(error: Exception, consequence: str) -> NoReturn:
    """Raise the StorageError of a request for which Redis failed.

    Raises:
        StorageError: always.
    """
    raise StorageError(f"{describe_error(error)}; {consequence}") from error
