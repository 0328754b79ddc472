"""The connections to Redis: made here alone, bounded, and quick to give up."""

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
from service.errors import StorageError
from service.settings import Settings

MAX_CONNECTIONS = 16
"""Of one pool; a request that finds none free waits for one as long as for Redis itself."""

_REFUSALS = {
    "LATERFORMAT": "a later version of this program wrote its catalogue",
    "LOADING": "it is still loading its data",
    "MISCONF": "it cannot write to its disk",
    "NOAUTH": "it asks for a password",
    "NOPERM": "our user may not do this",
    "OOM": "it is out of memory",
    "READONLY": "it is a read-only replica",
    "WRONGPASS": "it does not know our user or password",
}
"""What Redis's error codes mean to us."""
_CODES: dict[type[Exception], str] = {
    AuthenticationError: "WRONGPASS",
    BusyLoadingError: "LOADING",
    OutOfMemoryError: "OOM",
    ReadOnlyError: "READONLY",
}
"""The client has types of its own for these, and cuts the code from some of them."""


def connect(settings: Settings, *, timeout_seconds: float | None = None, connections: int = MAX_CONNECTIONS) -> Redis:
    """Make a client that answers bytes; it connects when it is first used, and never tries anything twice.

    Args:
        settings: `redis_url` is set.
        timeout_seconds: how long an answer may take; None takes that of the settings.
        connections: how many there may be at once.

    Raises:
        ConfigError: LLMEMB_REDIS_URL is no Redis URL, or LLMEMB_REDIS_PASSWORD_FILE cannot be used.
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
            # A retry here would hide how long Redis takes; whoever may try again does so in the open.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
    except ValueError:
        # Neither the URL nor the cause, which may hold the password.
        raise ConfigError("LLMEMB_REDIS_URL: not a Redis URL, such as redis://host:6379/0") from None
    pool.connection_class = _telling_of_loss(pool.connection_class)
    return Redis.from_pool(pool)


def _telling_of_loss(connection_class: type[AbstractConnection]) -> type[AbstractConnection]:
    """Make a class whose connections say in redis-py's own terms that they are lost, whatever the event loop.

    Of a write to a lost connection uvloop raises RuntimeError, where asyncio writes nothing and the answer fails.
    """

    class TellingConnection(connection_class):  # type: ignore[misc, valid-type]  # a class that is a value
        async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
            try:
                await super().send_packed_command(command, check_health=check_health)
            except RuntimeError as error:
                raise ConnectionError("the connection is lost") from error

    return TellingConnection


def _read_password(path: Path) -> str:
    """Read the password, without the line's end that editors leave behind it."""
    try:
        password = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"LLMEMB_REDIS_PASSWORD_FILE: {path} cannot be read ({type(error).__name__})") from None
    if not password:
        raise ConfigError(f"LLMEMB_REDIS_PASSWORD_FILE: {path} is empty")
    return password


def say(error: Exception) -> str:
    """Say what is wrong with Redis, without an address or a password."""
    # A script's error holds the code in the midst of a sentence; the rest of it may hold anything.
    words = {word.removeprefix("-") for word in str(error).split()} | {_CODES.get(type(error), "")}
    for code, meaning in _REFUSALS.items():
        if code in words:
            return f"Redis does not serve: {meaning}"
    if isinstance(error, ResponseError):
        return "Redis refuses"
    return f"Redis does not answer ({type(error).__name__})"


def fail(error: Exception, consequence: str) -> NoReturn:
    """Raise what a failure of Redis means to a request.

    Raises:
        StorageError: always.
    """
    raise StorageError(f"{say(error)}; {consequence}") from error
