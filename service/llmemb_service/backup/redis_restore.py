"""Restores a backup into Redis: writes it beside what is there, then swaps the two by one script."""

import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError

from llmemb_service.backup.errors import BackupError
from llmemb_service.backup.progress import Progress
from llmemb_service.backup.redis_backup import keys_like, session_keys
from llmemb_service.backup.state_files import KeptItem, KeptSession, StateFiles
from llmemb_service.storage.redis.catalogue import RedisKeys, read_head
from llmemb_service.storage.redis.connections import raise_storage_error
from llmemb_service.storage.redis.scripts import FORMAT, REFUSE_LATER
from llmemb_service.storage.redis.sessions import key_of_session
from llmemb_service.storage.redis.writer import Argument, RedisWriter, Script

T = TypeVar("T")

STAGED_SECONDS = 24 * 3600
"""How long keys of a restore that was killed stay; the next restore drops them sooner."""
LOCK_SECONDS = 60
"""How long a killed restore keeps others away."""


class Staging:
    """The keys of one restore. Those of the catalogue have the prefix's hash tag.

    Args:
        prefix: of the state that is restored.
        token: of this restore, random.
    """

    def __init__(self, prefix: str, token: str) -> None:
        self.token = token
        self.catalogue = RedisKeys(prefix, f"restore:{token}")
        self.lock = f"{{{prefix}}}:restore-lock"
        self.old_sessions = f"{{{prefix}}}:restore:{token}:old-sessions"
        """A list of the keys of the sessions that go."""
        self.new_sessions = f"{{{prefix}}}:restore:{token}:new-sessions"
        """A list of the ids of the sessions that come."""
        self.session = f"{prefix}:restore:{token}:session:"
        """Begins the key of a session that comes."""
        self.counts: Counter[str] = Counter()
        """How much each key must hold when it is put in place."""
        self.patterns = (f"{{{prefix}}}:restore:*", f"{prefix}:restore:*")
        """Of the keys of every restore."""

    def keys(self, live: RedisKeys) -> list[str]:
        """Return the keys as `SWAP` takes them."""
        return [
            *live.of_changes(), *self.catalogue.of_changes(), self.lock, self.old_sessions, self.new_sessions,
        ]  # fmt: skip


SWAP = Script(
    REFUSE_LATER
    + """
local token, replace, session, staged_session = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local old_sessions, new_sessions = KEYS[20], KEYS[21]

local function take(from, to)
    redis.call('UNLINK', to)
    if redis.call('EXISTS', from) == 1 then
        redis.call('PERSIST', from)
        redis.call('RENAME', from, to)
    end
end

local function for_each(list, work)
    for start = 0, redis.call('LLEN', list) - 1, 1000 do
        for _, value in ipairs(redis.call('LRANGE', list, start, start + 999)) do
            work(value)
        end
    end
    redis.call('UNLINK', list)
end

if redis.call('GET', KEYS[19]) ~= token then
    return 'lock'
end
-- They have a time to live, and so a Redis that is full may have dropped one.
local sizes = {hash = 'HLEN', zset = 'ZCARD', list = 'LLEN', none = 'EXISTS'}
for i = 5, #ARGV, 2 do
    if redis.call(sizes[redis.call('TYPE', ARGV[i]).ok], ARGV[i]) ~= tonumber(ARGV[i + 1]) then
        return 'lost'
    end
end
if replace ~= '1' and redis.call('ZCARD', KEYS[3]) > 0 then
    return 'full'
end
for _, bundle in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
    redis.call('UNLINK', KEYS[9] .. bundle)
end
for i = 1, 8 do
    take(KEYS[9 + i], KEYS[i])
end
for _, bundle in ipairs(redis.call('ZRANGE', KEYS[8], 0, -1)) do
    take(KEYS[18] .. bundle, KEYS[9] .. bundle)
end
for_each(old_sessions, function(key)
    redis.call('UNLINK', key)
end)
for_each(new_sessions, function(id)
    -- It keeps its time. It may have been forgotten meanwhile, which is an error of no consequence.
    redis.pcall('RENAME', staged_session .. id, session .. id)
end)
redis.call('DEL', KEYS[19])
return 'done'
"""
)
"""KEYS as `Staging.keys` lists them; ARGV the restore's token, 1 where items that are there may go, what begins the
keys of sessions and of staged ones, and each staged key with its count. Gives `done`, or why nothing was changed:
`full`, `lock` or `lost`."""

_AT_ONCE = 256
_NOT_EMPTY = "Redis holds items or sessions under this prefix already; --replace puts the backup in their place"
_LOCKED = "another restore of this prefix runs, or was killed less than a minute ago; nothing was restored"
_LOST = "Redis has dropped keys of this restore, as it does when its memory is full; nothing was restored"
_REFUSALS = {b"full": _NOT_EMPTY, b"lock": _LOCKED, b"lost": _LOST}


async def restore_redis(
    redis: Redis, prefix: str, files: StateFiles, *, replace: bool, progress: Progress
) -> int:  # fmt: skip
    """Restore a backup, whole or not at all, and return how many of its sessions have not ended meanwhile.

    Replicas that run follow: the catalogue gets another epoch. A session that begins while this runs stays.

    Args:
        redis: its answers may take as long as the script that swaps.
        prefix: of the keys.
        files: the backup's databases.
        replace: whether to replace what is there.
        progress: writes progress lines.

    Raises:
        BackupError: something is there and `replace` is false, another restore runs, or a line is damaged.
        StorageError: Redis fails, and has what it had before, unless the answer to the swap is what is missing.
    """
    live, staging = RedisKeys(prefix), Staging(prefix, secrets.token_hex(8))
    try:
        await read_head(redis, live)  # refuses what a later program wrote
        if not replace and await _holds_something(redis, prefix, live):
            raise BackupError(_NOT_EMPTY)
        async with _held(redis, staging):
            await _stage_items(redis, files, staging, progress)
            kept = await _stage_sessions(redis, files, staging, progress)
            await _list_old_sessions(redis, prefix, staging)
            await _swap(redis, live, staging, key_of_session(prefix, ""), replace=replace)
    except (RedisError, OSError) as error:
        raise_storage_error(error, "nothing was restored")
    return kept


async def _holds_something(redis: Redis, prefix: str, live: RedisKeys) -> bool:
    if await redis.zcard(live.order):
        return True
    async for _ in session_keys(redis, prefix):
        return True
    return False


@asynccontextmanager
async def _held(redis: Redis, staging: Staging) -> AsyncIterator[None]:
    """Keep other restores away, and drop what this one or a killed one has left."""
    if not await redis.set(staging.lock, staging.token, nx=True, ex=LOCK_SECONDS):
        raise BackupError(_LOCKED)
    await _drop_staged(redis, staging)
    try:
        yield
    except BaseException:
        # What cannot be dropped now goes by itself, in time.
        with contextlib.suppress(RedisError, OSError):
            await _drop_staged(redis, staging)
            await redis.delete(staging.lock)
        raise


async def _drop_staged(redis: Redis, staging: Staging) -> None:
    for pattern in staging.patterns:
        async for keys in keys_like(redis, pattern):
            await redis.unlink(*keys)
            await redis.expire(staging.lock, LOCK_SECONDS)


async def _stage_items(redis: Redis, files: StateFiles, staging: Staging, progress: Progress) -> None:
    keys, staged = staging.catalogue, 0
    items_in_all, removed, _ = files.counts()
    for items in _batches(files.items()):
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.zadd(keys.order, {item.id: staged + place for place, item in enumerate(items, 1)})
            hashes = _hashes(keys, items)
            for name, fields in hashes.items():
                pipeline.hset(name, mapping=fields)  # type: ignore[arg-type]  # bytes are values too
            _keep(pipeline, staging, {keys.order: len(items)} | {name: len(fields) for name, fields in hashes.items()})
            await pipeline.execute()
        staged += len(items)
        progress.tell("items written", staged, items_in_all + removed)
    bundles = files.bundles()
    async with redis.pipeline(transaction=False) as pipeline:
        # Another epoch: so replicas know that the log does not go on where they were.
        counted = (keys.order, keys.attributes, keys.categories, keys.available, keys.removed)
        sizes = " ".join(str(size) for size in (staged, *(staging.counts[name] for name in counted)))
        head = {"format": FORMAT, "epoch": secrets.token_hex(8), "sequence": staged, "entry": "0-0", "sizes": sizes}
        pipeline.hset(keys.meta, mapping=head)  # type: ignore[arg-type]  # numbers are values too
        if bundles:
            oldest = int(time.time()) - len(bundles)
            pipeline.zadd(keys.bundles, {bundle: oldest + place for place, bundle in enumerate(bundles)})
        _keep(pipeline, staging, {keys.meta: len(head), keys.bundles: len(bundles)})
        await pipeline.execute()


def _batches(stream: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(stream)
    while some := list(islice(iterator, _AT_ONCE)):
        yield some


def _hashes(keys: RedisKeys, items: Iterable[KeptItem]) -> dict[str, dict[str, str | bytes | int]]:
    """What items come to: the keys of hashes, and the fields that are set."""
    hashes: dict[str, dict[str, str | bytes | int]] = {}
    for item in items:
        for bundle, vector in item.vectors.items():
            hashes.setdefault(f"{keys.vectors}{bundle}", {})[item.id] = vector
        if item.attributes_json is not None:
            hashes.setdefault(keys.attributes, {})[item.id] = item.attributes_json
        if item.categories_json is not None:
            hashes.setdefault(keys.categories, {})[item.id] = item.categories_json
        if item.available is not None:
            hashes.setdefault(keys.available, {})[item.id] = int(item.available)
        if item.removed:
            hashes.setdefault(keys.removed, {})[item.id] = 1
    return hashes


async def _stage_sessions(redis: Redis, files: StateFiles, staging: Staging, progress: Progress) -> int:
    staged = 0
    *_, total = files.counts()
    for sessions in _batches(files.read_sessions()):
        lasting = [session for session in sessions if session.expires > time.time()]
        if lasting:
            await _stage_some_sessions(redis, lasting, staging)
        staged += len(lasting)
        progress.tell("sessions written", staged, total)
    return staged


async def _stage_some_sessions(redis: Redis, sessions: Sequence[KeptSession], staging: Staging) -> None:
    now = time.time()
    async with redis.pipeline(transaction=False) as pipeline:
        for session in sessions:
            key = f"{staging.session}{session.id}"
            pipeline.rpush(key, *session.history)
            pipeline.pexpire(key, max(1, int((session.expires - now) * 1000)))
        pipeline.rpush(staging.new_sessions, *(session.id for session in sessions))
        _keep(pipeline, staging, {staging.new_sessions: len(sessions)})
        await pipeline.execute()


async def _list_old_sessions(redis: Redis, prefix: str, staging: Staging) -> None:
    """List the sessions that go without another in their place, so that the swap has little to do."""
    beginning = len(key_of_session(prefix, ""))
    async for keys in session_keys(redis, prefix):
        async with redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.exists(staging.session.encode() + key[beginning:])
            stays = await pipeline.execute()
            going = [key for key, staged in zip(keys, stays, strict=True) if not staged]
            if going:
                pipeline.rpush(staging.old_sessions, *going)
            _keep(pipeline, staging, {staging.old_sessions: len(going)})
            await pipeline.execute()


def _keep(pipeline: Pipeline, staging: Staging, added: Mapping[str, int]) -> None:
    """Let keys live as long as those of a restore may, count what was added to them, and hold the lock on."""
    for key, count in added.items():
        staging.counts[key] += count
        pipeline.expire(key, STAGED_SECONDS)
    pipeline.expire(staging.lock, LOCK_SECONDS)


async def _swap(redis: Redis, live: RedisKeys, staging: Staging, session: str, *, replace: bool) -> None:
    arguments: list[Argument] = [staging.token, int(replace), session, staging.session]
    for key, count in staging.counts.items():
        arguments += [key, count]
    answer = cast("bytes", await RedisWriter(redis).run(SWAP, staging.keys(live), arguments))
    if answer != b"done":
        raise BackupError(_REFUSALS[answer])
