"""The script that puts a restored state in the place of the one in Redis, and the keys that hold it before."""

from collections import Counter

from service.storage.redis_catalogue import RedisKeys
from service.storage.redis_scripts import REFUSE_LATER
from service.storage.redis_writer import Script

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
