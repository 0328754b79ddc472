"""The API keys in force: the file's, read again when it changes."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from llmemb.errors import ConfigError
from service.guard.api_keys import MAX_FILE_BYTES, ApiKey, digest, parse_keys

LOOK_SECONDS = 1.0
"""How often the file is looked at, at most. One `stat` takes microseconds, and a file of `MAX_KEYS` a few milliseconds,
so the event loop does it."""

logger = logging.getLogger(__name__)

_Signature = tuple[int, ...]


class KeyRing:
    """Knows the keys. A file that cannot be used leaves those in force that were there before."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """Read the file.

        Raises:
            ConfigError: the file cannot be used; the message names the line.
        """
        self._path = path
        self._clock = clock
        self._looked_at = clock()
        self._keys, self._signature = _read(path)

    def find(self, presented: str) -> ApiKey | None:
        """Return the key that was presented, None if it is none of ours."""
        self._look()
        # Not in constant time, and need not be: who presents a key cannot choose its digest, so how far a comparison of
        # digests gets tells nothing of the stored keys.
        return self._keys.get(digest(presented))

    def _look(self) -> None:
        now = self._clock()
        if now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        signature = _signature_of(self._path)
        if signature == self._signature:
            return
        self._signature = signature  # also of a bad file, so that it is reported once
        try:
            self._keys, self._signature = _read(self._path)
        except ConfigError as error:
            logger.error("the API keys stay as they were: %s", error)  # noqa: TRY400  # no stack: the message says all
        else:
            logger.info("%d API keys are in force", len(self._keys))


def _read(path: Path) -> tuple[dict[str, ApiKey], _Signature]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())  # before the content: a change in between is seen the next time
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"the API keys in {path} cannot be read: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} has more than {MAX_FILE_BYTES} bytes")
    return parse_keys(content, path), _signature(status)


def _signature_of(path: Path) -> _Signature:
    """What tells one content of the file from another; empty where there is no file."""
    try:
        return _signature(path.stat())
    except OSError:
        return ()


def _signature(status: os.stat_result) -> _Signature:
    return status.st_mtime_ns, status.st_ino, status.st_size
