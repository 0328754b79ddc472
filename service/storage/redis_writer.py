"""Writes to Redis that are durable when they return: scripts, which Redis runs whole or not at all."""

import logging
from collections.abc import Sequence
from hashlib import sha1

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from service.storage.redis_connections import fail

WRITE_SECONDS = 3.0
"""How long a write may take. Where Redis calls fsync each second only, a write waits for the next one."""

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
    """

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._waits_for_disk = True

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
            fail(error, "nothing was written" if isinstance(error, ResponseError) else "it may not have been written")

    async def _run(self, script: Script, keys: Sequence[str], arguments: Sequence[Argument]) -> object:
        # One pipeline, since WAITAOF is about the writes of its own connection.
        async with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.evalsha(script.sha, len(keys), *keys, *arguments)
            if self._waits_for_disk:
                pipeline.execute_command("WAITAOF", 1, 0, int(WRITE_SECONDS * 1000))
            answer, *on_disk = await pipeline.execute(raise_on_error=False)
        if isinstance(answer, Exception):
            raise answer
        if on_disk:
            self._check_disk(on_disk[0])
        return answer

    def _check_disk(self, answer: object) -> None:
        if isinstance(answer, ResponseError):
            # An older Redis, or one without an append-only file: its answer means all that it can promise.
            self._waits_for_disk = False
        elif isinstance(answer, Exception):
            raise answer
        elif isinstance(answer, list) and answer[0] == 0:
            raise TimeoutError("Redis has not put the write on its disk in time")


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
