"""Durable writes to Redis, by atomic scripts, and atomic reads of several keys."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, NoScriptError, RedisError, ResponseError

from llmemb_service.storage.redis.connections import describe_error, raise_storage_error

WRITE_SECONDS = 3.0
"""Timeout of a write. With appendfsync everysec, a write waits for the next fsync."""

_WAIT_FOR_DISK = ("WAITAOF", 1, 0, int(WRITE_SECONDS * 1000))
_ASK_AGAIN_SECONDS = 60.0
_UNCERTAIN = "it may not have been written"

Argument = bytes | str | int | float

logger = logging.getLogger(__name__)


class Script:
    """A Lua script, which Redis runs by its SHA-1."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisWriter:
    """Runs scripts, and waits until their writes are on Redis's disk if Redis supports WAITAOF (7.2 or later).

    Args:
        redis: with a timeout longer than `WRITE_SECONDS`.
        clock: monotonic, in seconds.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._fault: str | None = None
        self._is_old = False
        self._ask_at = -math.inf
        """Until then WAITAOF is not sent to a Redis that does not know it."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> object:
        """Run a script and return its answer.

        Raises:
            StorageError: nothing was written, or it is unknown whether it was.
        """
        try:
            try:
                return await self._run(script, keys, arguments)
            except NoScriptError:
                # Redis was restarted, or replaced by another server.
                await self._redis.script_load(script.source)
                return await self._run(script, keys, arguments)
        except (RedisError, OSError) as error:
            raise_storage_error(error, "nothing was written" if isinstance(error, ResponseError) else _UNCERTAIN)

    async def fault(self) -> str | None:
        """Return why acknowledged writes may not be on Redis's disk; None if all are, or Redis does not know WAITAOF.

        If Redis did not confirm the last write, it is asked again.
        """
        if self._fault is not None:
            try:
                await self._redis.execute_command(*_WAIT_FOR_DISK)  # type: ignore[no-untyped-call]  # redis-py's
                self._confirmed()
            except (RedisError, OSError) as error:
                if not self._cannot_confirm(error):
                    return describe_error(error)
        return self._fault

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> object:
        # One pipeline, since WAITAOF waits for the writes of its own connection.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
            if self._clock() >= self._ask_at:
                pipeline.execute_command(*_WAIT_FOR_DISK)
            answer, *on_disk = await pipeline.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        if on_disk:
            self._check_disk(on_disk[0])
        return answer

    def _check_disk(self, answer: object) -> None:
        if isinstance(answer, ResponseError):
            if not self._cannot_confirm(answer):
                raise_storage_error(answer, _UNCERTAIN)  # for example after a failover: the write may be lost
        elif isinstance(answer, Exception):
            raise answer
        elif isinstance(answer, list) and answer[0] == 0:
            raise TimeoutError("Redis has not put the write on its disk in time")
        else:
            self._confirmed()

    def _confirmed(self) -> None:
        if self._fault is not None:
            logger.warning("Redis confirms again that writes are on its disk")
        self._fault, self._is_old = None, False

    def _cannot_confirm(self, error: Exception) -> bool:
        """Return whether the version or configuration of Redis rules out WAITAOF; log the reason once."""
        if "unknown command" in str(error):
            if not self._is_old:
                logger.info(  # not a warning: warn_of_losses warns of unsafe settings
                    "Redis is older than 7.2 and does not know WAITAOF: what it acknowledges is on its disk only with "
                    "appendonly yes and appendfsync always"
                )
            self._fault, self._is_old = None, True
            self._ask_at = self._clock() + _ASK_AGAIN_SECONDS  # Redis may be upgraded while the service runs
            return True
        if isinstance(error, NoPermissionError):
            why = "the user has no permission for WAITAOF"
        elif "appendonly is disabled" in str(error):
            why = "it has no append-only file"
        else:
            return False
        fault = f"Redis does not confirm that writes are on its disk: {why}"
        if fault != self._fault:
            logger.warning("%s", fault)
        self._fault = fault
        return True


async def warn_of_losses(redis: Redis) -> None:
    """Log a warning if Redis is configured so that acknowledged writes can be lost.

    If the user may not read the configuration, it logs what the configuration should be.
    """
    try:
        answers = [await redis.config_get(name) for name in ("append*", "maxmemory*")]
    except ResponseError:  # no permission, or a provider has removed the command
        logger.info(
            "Redis does not tell its configuration (CONFIG GET): make sure that appendonly is yes, appendfsync is "
            "always and maxmemory-policy is noeviction"
        )
        return
    except (RedisError, OSError):
        return
    found = {_text(name): _text(value) for answer in answers for name, value in answer.items()}
    if found.get("appendonly") != "yes":
        logger.warning("Redis has no append-only file: items and sessions are lost with it; set appendonly yes")
    elif found.get("appendfsync") != "always":
        logger.warning(
            "Redis does not write to disk at once: what it acknowledged may be lost when its machine dies; "
            "set appendfsync always"
        )
    if found.get("maxmemory", "0") != "0" and found.get("maxmemory-policy", "").startswith("allkeys"):
        logger.warning("Redis drops any key when its memory is full: set maxmemory-policy noeviction or volatile-lru")


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""


Command = Sequence[Argument]
"""A command's name, then its arguments."""

_READ = """
local answers, at = {}, 1
while at < #ARGV do
    local size = tonumber(ARGV[at])
    table.insert(answers, redis.call(unpack(ARGV, at + 1, at + size)))
    at = at + 1 + size
end
return answers
"""
"""KEYS: those of the commands. ARGV: for each command the number of its words, then the words. Returns the answers."""


async def read_at_once(redis: Redis, keys: Sequence[str | bytes], commands: Sequence[Command]) -> list[object]:
    """Run read-only commands atomically, and return their answers.

    By a script, not a transaction: a Redis that is out of memory refuses transactions, even if they only read.

    Args:
        redis: answers bytes.
        keys: that the commands read.
        commands: each of at most a few thousand words.

    Raises:
        RedisError: Redis fails.
    """
    arguments = [word for command in commands for word in (len(command), *command)]
    # redis-py runs the script by its hash, and loads it first if Redis does not know it.
    answers = await redis.register_script(_READ)(keys=keys, args=arguments)
    return cast("list[object]", answers)
