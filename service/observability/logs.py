"""Logs, one line a record on standard error, and what they say of a request: its id and the parts of its time."""

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from llmemb.errors import BundleError, ConfigError, EncoderError
from service.errors import NotReadyError, StorageError

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


@contextmanager
def request_id_of(request_id: str) -> Iterator[None]:
    """Let `current_request_id` return `request_id` in this block and in the tasks and threads that it starts."""
    token = _request_id.set(request_id)
    try:
        yield
    finally:
        _request_id.reset(token)


def current_request_id() -> str | None:
    """Return the request's id; None outside of a request."""
    return _request_id.get()


_parts: ContextVar[dict[str, float] | None] = ContextVar("server_timing", default=None)


@contextmanager
def collecting_parts() -> Iterator[dict[str, float]]:
    """Collect what is recorded in this block: part -> seconds."""
    parts: dict[str, float] = {}
    token = _parts.set(parts)
    try:
        yield parts
    finally:
        _parts.reset(token)


def record_part(part: str, seconds: float) -> None:
    """Add to a part of the request that is being answered; outside of one nothing happens."""
    parts = _parts.get()
    if parts is not None:
        parts[part] = parts.get(part, 0.0) + seconds


def server_timing_header(parts: dict[str, float]) -> str:
    """Return the header's value; durations are in milliseconds."""
    return ", ".join(f"{part};dur={seconds * 1000:.2f}" for part, seconds in parts.items())


@dataclass(frozen=True, kw_only=True, slots=True)
class ServedRequest:
    """One request and its answer.

    Attributes:
        request_id: a UUID.
        method: one of HTTP's, or "other".
        route: the template of its path, such as `/items/{item_id}`; "unmatched" where no route was reached.
        status: of the answer; 499 where the client did not wait, 0 where the service stopped before it answered.
        started_ns: when it came, nanoseconds since 1970.
        seconds: from then to the answer's end.
        parts: seconds by the names of `Server-Timing`.
        num_bytes: of the answer's body.
        key_name: what its API key is called; None without one.
        bundle_id: the bundle that answered; None where none did.
        problem: the code of the problem that was the answer; None where it was none.
        trace_headers: the W3C trace context that it brought.
    """

    request_id: str
    method: str
    route: str
    status: int
    started_ns: int
    seconds: float
    parts: Mapping[str, float]
    num_bytes: int
    key_name: str | None
    bundle_id: str | None
    problem: str | None
    trace_headers: Mapping[str, str]


OUR_LOGGERS = ("llmemb", "service")

_TELLING = (OSError, MemoryError, BundleError, ConfigError, EncoderError, NotReadyError, StorageError)
"""Exceptions whose messages are about this machine or the operator's own files."""
_MAX_CHAIN = 10

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure_logging(log_format: Literal["json", "text"], log_level: str) -> None:
    """Let this process log; libraries only from warnings on. Called once, before anything else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    handler.addFilter(_add_request_id)
    level = logging.getLevelNamesMapping()[log_level.upper()]
    logging.basicConfig(level=max(level, logging.WARNING), handlers=[handler], force=True)
    for ours in OUR_LOGGERS:
        logging.getLogger(ours).setLevel(level)


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = current_request_id()
    return True


class _Discreet(logging.Formatter):
    """Times in UTC, and stacks without what the exceptions say."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        """Return the time in UTC, as ISO 8601 has it."""
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        """Return the stack of an exception."""
        return "".join(_stack(ei[1]))


class _TextLines(_Discreet):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s [%(request_id)s] %(message)s")


class _JsonLines(_Discreet, JsonFormatter):
    def __init__(self) -> None:
        JsonFormatter.__init__(
            self,
            ["asctime", "levelname", "name", "message", "request_id"],
            rename_fields={"asctime": "time", "levelname": "level", "name": "logger", "exc_info": "stack"},
            json_ensure_ascii=False,
        )


def _stack(error: BaseException | None) -> Iterator[str]:
    """Write an exception and what led to it, the first one first, as Python does, but for the messages."""
    chain: list[BaseException] = []
    while error is not None and error not in chain and len(chain) < _MAX_CHAIN:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for each in reversed(chain):
        yield from traceback.format_tb(each.__traceback__)
        message = f": {each}" if isinstance(each, _TELLING) else ""
        yield f"{type(each).__module__}.{type(each).__qualname__}{message}\n"


PROBED_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at the level debug."""

logger = logging.getLogger(__name__)


def log_request(served: ServedRequest) -> None:
    """Log a request that is over."""
    level = logging.DEBUG if served.route in PROBED_ROUTES else logging.INFO
    if not logger.isEnabledFor(level):
        return
    milliseconds = round(served.seconds * 1000, 2)
    fields = {
        "method": served.method,
        "route": served.route,
        "status": served.status,
        "ms": milliseconds,
        "bytes": served.num_bytes,
        "key": served.key_name,
        "bundle_id": served.bundle_id,
    }
    logger.log(level, "%s %s %d %.2f ms", served.method, served.route, served.status, milliseconds, extra=fields)
