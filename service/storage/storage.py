"""What outlives the process, opened: in the state folder, or in Redis for several replicas."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from service.settings import Settings
from service.storage.item_log import ItemLog
from service.storage.redis.connections import connect
from service.storage.redis.follower import BLOCK_SECONDS
from service.storage.redis.log import RedisItemLog
from service.storage.redis.sessions import RedisSessions
from service.storage.redis.writer import WRITE_SECONDS, RedisWriter, warn_of_losses
from service.storage.session_store import SessionStore
from service.storage.sqlite.log import SqliteItemLog
from service.storage.sqlite.sessions import SqliteSessions
from service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE, finish_restore, own_state_folder

_MARGIN_SECONDS = 1.0
"""A connection waits longer than Redis may take to answer, so that its answer is heard."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The changes of the catalogue, and the sessions."""

    items: ItemLog
    sessions: SessionStore


@asynccontextmanager
async def open_storage(settings: Settings, max_session_items: int) -> AsyncIterator[Storage]:
    """Open what the settings ask for, and close it when the block ends.

    A Redis that does not answer is no error here: the storage says so when it is used, and works when Redis does.

    Args:
        settings: of the service.
        max_session_items: events of a session that are kept, those that the model reads.

    Raises:
        ConfigError: another process uses the state folder, its files are none of ours, or the URL is no Redis URL.
    """
    async with AsyncExitStack() as stack:
        if settings.redis_url is None:
            yield await _open_sqlite(settings, max_session_items, stack)
        else:
            yield await _open_redis(settings, max_session_items, stack)


async def _open_sqlite(settings: Settings, max_session_items: int, stack: AsyncExitStack) -> Storage:
    folder = stack.enter_context(own_state_folder(settings.state_dir))
    finish_restore(folder)
    items = SqliteItemLog(folder / CATALOGUE_FILE)
    stack.push_async_callback(items.close)
    sessions = SqliteSessions(
        folder / SESSIONS_FILE, max_items=max_session_items, ttl_seconds=settings.session_ttl_seconds
    )
    stack.push_async_callback(sessions.close)
    return Storage(items, sessions)


async def _open_redis(settings: Settings, max_session_items: int, stack: AsyncExitStack) -> Storage:
    reading = connect(settings)
    writing = connect(settings, timeout_seconds=WRITE_SECONDS + _MARGIN_SECONDS)
    following = connect(settings, timeout_seconds=BLOCK_SECONDS + _MARGIN_SECONDS, connections=1)
    for redis in (reading, writing, following):
        stack.push_async_callback(redis.aclose)
    await warn_of_losses(reading)
    writer = RedisWriter(writing)
    items = RedisItemLog(
        writing,
        following,
        writer,
        prefix=settings.redis_prefix,
        max_entries=settings.redis_log_entries,
        retry_seconds=settings.redis_retry_seconds,
    )
    stack.push_async_callback(items.close)
    sessions = RedisSessions(
        reading,
        writer,
        prefix=settings.redis_prefix,
        max_items=max_session_items,
        ttl_seconds=settings.session_ttl_seconds,
    )
    stack.push_async_callback(sessions.close)
    return Storage(items, sessions)
