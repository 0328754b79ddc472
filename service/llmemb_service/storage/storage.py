"""Opens the persistent state: in the state folder, or in Redis for several replicas."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from llmemb_service.settings import Settings
from llmemb_service.storage.item_log import ItemLog
from llmemb_service.storage.redis.connections import connect
from llmemb_service.storage.redis.follower import BLOCK_SECONDS
from llmemb_service.storage.redis.log import RedisItemLog
from llmemb_service.storage.redis.sessions import RedisSessions
from llmemb_service.storage.redis.writer import WRITE_SECONDS, RedisWriter, warn_of_losses
from llmemb_service.storage.session_store import SessionStore
from llmemb_service.storage.sqlite.log import SqliteItemLog
from llmemb_service.storage.sqlite.sessions import SqliteSessions
from llmemb_service.storage.state_folder import CATALOGUE_FILE, SESSIONS_FILE, finish_restore, own_state_folder

_MARGIN_SECONDS = 1.0
"""A connection's timeout exceeds the time that Redis may block, so that Redis's answer arrives first."""


@dataclass(frozen=True, slots=True)
class Storage:
    """The item log and the session store."""

    items: ItemLog
    sessions: SessionStore


@asynccontextmanager
async def open_storage(settings: Settings, max_session_items: int) -> AsyncIterator[Storage]:
    """Open the configured storage, and close it when the block ends.

    An unreachable Redis is no error here: operations fail until Redis answers.

    Args:
        settings: of the service.
        max_session_items: maximum number of events per session, as many as the model reads.

    Raises:
        ConfigError: another process uses the state folder, its files are not the service's, or the URL is not a Redis
            URL.
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
