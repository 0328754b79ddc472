"""Reads of Redis that belong together, all at one moment."""

from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis

from service.storage.redis_writer import Argument

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
