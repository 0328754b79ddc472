"""Logs, one line per record on standard error; the id of the current request and the timing of its parts."""

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
from llmemb_service.errors import NotReadyError, StorageError

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
    """Return the id of the current request; None outside of a request."""
    return _request_id.get()


_parts: ContextVar[dict[str, float] | None] = ContextVar("server_timing", default=None)


@contextmanager
def collecting_parts() -> Iterator[dict[str, float]]:
    """Collect the times that are recorded in this block: part -> seconds."""
    parts: dict[str, float] = {}
    token = _parts.set(parts)
    try:
        yield parts
    finally:
        _parts.reset(token)


def record_part(part: str, seconds: float) -> None:
    """Add seconds to a part of the current request; does nothing outside of a request."""
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
        method: one of HTTP's, or "_OTHER", as OpenTelemetry has it.
        route: the template of its path, such as `/items/{item_id}`; "unmatched" if no route matched.
        status: of the answer; 499 if the client disconnected, 0 if the service stopped before it answered.
        started_ns: time of arrival, nanoseconds since 1970.
        seconds: from arrival to the end of the answer.
        parts: seconds by the names of `Server-Timing`.
        num_bytes: of the answer's body.
        key_name: name of its API key; None without one.
        bundle_id: the bundle that answered; None if no bundle was used.
        problem: the code of the problem in the answer; None for a successful request.
        trace_headers: the W3C trace context of the request.
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


OUR_LOGGERS = ("llmemb", "llmemb_service")

_TELLING = (OSError, MemoryError, BundleError, ConfigError, EncoderError, NotReadyError, StorageError)
"""Exceptions whose messages are about this machine or the operator's own files."""
_MAX_CHAIN = 10

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure_logging(log_format: Literal["json", "text"], log_level: str) -> None:
    """Configure logging; libraries log warnings and errors only. Call it once, before anything else."""
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
    """Formats times in UTC, and stack traces without the messages of exceptions."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        """Return the time in UTC, in ISO 8601."""
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
    """Format an exception and its causes, the first cause first, as Python does, but without the messages."""
    chain: list[BaseException] = []
    while error is not None and error not in chain and len(chain) < _MAX_CHAIN:
        chain.append(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    for each in reversed(chain):
        yield from traceback.format_tb(each.__traceback__)
        message = f": {each}" if isinstance(each, _TELLING) else ""
        yield f"{type(each).__module__}.{type(each).__qualname__}{message}\n"


PROBED_ROUTES = frozenset({"/healthz", "/readyz", "/metrics"})
"""Polled every few seconds by machines: logged at level debug."""

logger = logging.getLogger(__name__)


def log_request(served: ServedRequest) -> None:
    """Log a finished request."""
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
