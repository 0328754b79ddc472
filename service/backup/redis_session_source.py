"""Copies the sessions from Redis: each as it is at one moment, and all that were there when it began."""

import time
from collections.abc import Sequence
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.backup.progress import Progress
from service.backup.records import KeptSession
from service.backup.redis_scan import session_keys
from service.backup.state_files import StateFiles
from service.storage.redis_connections import fail
from service.storage.redis_reading import read_at_once
from service.storage.redis_sessions import key_of_session


async def copy_sessions(redis: Redis, prefix: str, ttl_seconds: int, files: StateFiles, progress: Progress) -> None:
    """Copy all sessions, with the time at which each is forgotten.

    Args:
        redis: answers bytes.
        prefix: of the sessions' keys.
        ttl_seconds: for a session that Redis would keep for ever, as somebody's hand may have left it.
        files: take them.
        progress: is told.

    Raises:
        StorageError: Redis fails.
    """
    copied = 0
    try:
        async for keys in session_keys(redis, prefix):
            sessions = await _read(redis, prefix, ttl_seconds, keys)
            files.add_sessions(sessions)
            copied += len(sessions)
            progress.tell("sessions read", copied)
    except (RedisError, OSError) as error:
        fail(error, "the sessions were not copied")


async def _read(redis: Redis, prefix: str, ttl_seconds: int, keys: Sequence[bytes]) -> list[KeptSession]:
    commands = [command for key in keys for command in (("LRANGE", key, 0, -1), ("PTTL", key))]
    answers = await read_at_once(redis, keys, commands)
    histories, times = cast("list[list[bytes]]", answers[::2]), cast("list[int]", answers[1::2])
    now, beginning = time.time(), len(key_of_session(prefix, ""))
    return [
        KeptSession(
            id=key.decode()[beginning:],
            history=tuple(item_id.decode() for item_id in history),
            expires=now + (milliseconds / 1000 if milliseconds >= 0 else ttl_seconds),
        )
        for key, history, milliseconds in zip(keys, histories, times, strict=True)
        if history  # else it was forgotten just now
    ]
