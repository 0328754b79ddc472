"""How the service logs: one line a record on standard error, as JSON or for people, with the request's id.

No line holds what a client sent. Libraries put values into the messages of their exceptions (pydantic the input,
`KeyError` the key), so a stack is logged with its places and types, and with the messages of a few types alone.
"""

import logging
import sys
import traceback
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from pythonjsonlogger.json import JsonFormatter

from llmemb.errors import BundleError, ConfigError, EncoderError
from service.errors import NotReadyError, StorageError
from service.sight.request_id import current_request_id

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
