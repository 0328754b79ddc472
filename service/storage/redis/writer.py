"""Durable writes to Redis, by scripts that run whole or not at all, and reads that belong together."""

import logging
import math
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import NoPermissionError, NoScriptError, RedisError, ResponseError

from service.storage.redis.connections import fail, say

WRITE_SECONDS = 3.0
"""How long a write may take. Where Redis calls fsync each second only, a write waits for the next one."""

_WAIT_FOR_DISK = ("WAITAOF", 1, 0, int(WRITE_SECONDS * 1000))
_ASK_AGAIN_SECONDS = 60.0
_UNCERTAIN = "it may not have been written"

Argument = bytes | str | int | float

logger = logging.getLogger(__name__)


class Script:
    """A Lua script, known to Redis by its hash."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.sha = sha1(source.encode(), usedforsecurity=False).hexdigest()


class RedisWriter:
    """Runs scripts, and waits until what they wrote is on Redis's disk where Redis can say so (from 7.2 on).

    Args:
        redis: its answers may take `WRITE_SECONDS`, and some more.
        clock: in seconds; never goes back.
    """

    def __init__(self, redis: Redis, clock: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._clock = clock
        self._fault: str | None = None
        self._is_old = False
        self._ask_at = -math.inf
        """Before that time an older Redis is not asked to wait for its disk."""

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> object:
        """Run a script and return its answer.

        Raises:
            StorageError: nothing was written, or it is not known whether it was.
        """
        try:
            try:
                return await self._run(script, keys, arguments)
            except NoScriptError:
                # Redis was started again or is another one.
                await self._redis.script_load(script.source)
                return await self._run(script, keys, arguments)
        except (RedisError, OSError) as error:
            fail(error, "nothing was written" if isinstance(error, ResponseError) else _UNCERTAIN)

    async def fault(self) -> str | None:
        """Say why writes are acknowledged that may not be on Redis's disk, None where all are or Redis is too old.

        Where the last write was not confirmed, Redis is asked again.
        """
        if self._fault is not None:
            try:
                await self._redis.execute_command(*_WAIT_FOR_DISK)  # type: ignore[no-untyped-call]  # redis-py's
                self._confirmed()
            except (RedisError, OSError) as error:
                if not self._cannot_confirm(error):
                    return say(error)
        return self._fault

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> object:
        # One pipeline, since WAITAOF is about the writes of its own connection.
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
                fail(answer, _UNCERTAIN)  # it could have: after a failover, say, the write may be lost
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
        """Say whether Redis, as it is set up, answers no WAITAOF at all; log why, once."""
        if "unknown command" in str(error):
            if not self._is_old:
                logger.info(  # no warning: where the settings are not safe, warn_of_losses has given one
                    "Redis is older than 7.2 and does not know WAITAOF: what it acknowledges is on its disk only with "
                    "appendonly yes and appendfsync always"
                )
            self._fault, self._is_old = None, True
            self._ask_at = self._clock() + _ASK_AGAIN_SECONDS  # it may be upgraded while we run
            return True
        if isinstance(error, NoPermissionError):
            why = "our user may not run WAITAOF"
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
    """Log one warning where Redis is set up so that it may lose what it has acknowledged.

    Says nothing where Redis does not let us ask.
    """
    try:
        answers = [await redis.config_get(name) for name in ("append*", "maxmemory*")]
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
"""KEYS those of the commands; ARGV for each command the number of its words, then these. Gives their answers."""


async def read_at_once(redis: Redis, keys: Sequence[str | bytes], commands: Sequence[Command]) -> list[object]:
    """Run commands that only read, with nothing between them, and return their answers.

    By a script and not a transaction: a Redis that is out of memory refuses transactions, also where they only read.

    Args:
        redis: answers bytes.
        keys: those that the commands read.
        commands: few thousand words each at most.

    Raises:
        RedisError: Redis fails.
    """
    arguments = [word for command in commands for word in (len(command), *command)]
    # redis-py runs it by its hash, and tells it to a Redis that does not know it.
    answers = await redis.register_script(_READ)(keys=keys, args=arguments)
    return cast("list[object]", answers)
