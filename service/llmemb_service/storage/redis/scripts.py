"""The atomic Lua scripts that write the catalogue's changes to Redis.

All keys have the same hash tag, so that a cluster keeps them on one node. The scripts append a bundle's id to the key
of the vectors: each bundle has its own hash.
"""

from llmemb_service.storage.redis.writer import Script

FORMAT = 1
"""Format of the keys, stored beside the log's epoch. A catalogue without this number has format 1."""
KEPT_BUNDLES = 4
"""Bundles whose vectors are kept: the current one, the previous one, an experiment's, and one that is being loaded."""

REFUSE_LATER = f"""
if tonumber(redis.call('HGET', KEYS[1], 'format') or {FORMAT}) > {FORMAT} then
    return redis.error_reply('LATERFORMAT a later program wrote this')
end
"""
"""Start of every script that writes to the catalogue; the script's first key is `RedisKeys.meta`."""

_FIND_INCOMPLETE = """
local function find_incomplete()
    local function sizes(sequence)
        local found = {sequence, redis.call('ZCARD', KEYS[3])}
        for key = 4, 7 do
            table.insert(found, redis.call('HLEN', KEYS[key]))
        end
        return table.concat(found, ' ')
    end

    local sequence = redis.call('HGET', KEYS[1], 'sequence') or '0'
    local stored, found = redis.call('HGET', KEYS[1], 'sizes'), sizes(sequence)
    if not stored or string.match(stored, '^%d+') ~= sequence then
        -- No program that keeps the sizes wrote the last change, so only what is always true is known: each change
        -- that is the first of its item adds to the order.
        local order = redis.call('ZCARD', KEYS[3])
        if sequence == '0' and found ~= '0 0 0 0 0 0' or sequence ~= '0' and order == 0 then
            return {'', found}, sizes
        end
    elseif stored ~= found then
        return {stored, found}, sizes
    end
    return nil, sizes
end
"""
"""Defines a function that returns the stored sizes of the catalogue's keys and those found, if they differ.

Sizes are the number of the last change and the numbers of entries of KEYS 3 to 7, as listed by `RedisKeys.of_changes`.
An operator may have deleted a key, or Redis evicted it. Vectors and the log are not counted: they can be missing, since
items are embedded again, and replicas read the states.
"""

FIND_INCOMPLETE = _FIND_INCOMPLETE + "return (find_incomplete())"
"""KEYS: as listed by `RedisKeys.of_changes`. Returns nil if the catalogue is complete."""

APPEND = Script(
    REFUSE_LATER
    + _FIND_INCOMPLETE
    + """
local incomplete, sizes = find_incomplete()
if incomplete then
    return redis.error_reply('INCOMPLETE keys were deleted')
end
"""
    + f"redis.call('HSETNX', KEYS[1], 'format', {FORMAT})"
    + """
local meta, log, order, attributes, categories, available, removed, bundles, vectors = unpack(KEYS)
local max_entries = ARGV[2]
local last = nil

local function forget_vectors(id)
    for _, bundle in ipairs(redis.call('ZRANGE', bundles, 0, -1)) do
        redis.call('HDEL', vectors .. bundle, id)
    end
end

redis.call('HSETNX', meta, 'epoch', ARGV[1])
local epoch = redis.call('HGET', meta, 'epoch')
for i = 3, #ARGV, 7 do
    local kind, id, attributes_json, categories_json = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local is_available, bundle, vector = ARGV[i + 4], ARGV[i + 5], ARGV[i + 6]
    -- A patch of an item that is removed comes to nothing, here and so for everyone who follows.
    if kind ~= 'patch' or redis.call('HEXISTS', removed, id) == 0 then
        local sequence = redis.call('HINCRBY', meta, 'sequence', 1)
        redis.call('ZADD', order, 'NX', sequence, id)
        if kind == 'put' then
            if redis.call('HGET', attributes, id) ~= attributes_json then
                forget_vectors(id)
                redis.call('HSET', attributes, id, attributes_json)
            end
            redis.call('HDEL', removed, id)
            redis.call('ZADD', bundles, 'NX', redis.call('TIME')[1], bundle)
            redis.call('HSET', vectors .. bundle, id, vector)
        elseif kind == 'remove' then
            forget_vectors(id)
            redis.call('HDEL', attributes, id)
            redis.call('HDEL', categories, id)
            redis.call('HDEL', available, id)
            redis.call('HSET', removed, id, 1)
        end
        if categories_json ~= '' then
            redis.call('HSET', categories, id, categories_json)
        end
        if is_available ~= '' then
            redis.call('HSET', available, id, is_available)
        end
        local entry = redis.call('XADD', log, 'MAXLEN', '~', max_entries, '*', 'epoch', epoch, 'sequence', sequence,
            'kind', kind, 'id', id, 'attributes', attributes_json, 'categories', categories_json,
            'available', is_available, 'bundle', bundle, 'vector', vector)
        redis.call('HSET', meta, 'entry', entry)
        last = sequence
    end
end
if last then
    redis.call('HSET', meta, 'sizes', sizes(last))
    return {epoch, last}
end
return nil
"""
)
"""KEYS: as listed by `RedisKeys.of_changes`. ARGV: an epoch for a new log, the maximum length of the log, and seven
values for each change. Returns the log's epoch and the last change's number, nil if no change had an effect."""

KEEP_VECTORS = Script(
    REFUSE_LATER
    + """
local _, attributes, bundles, vectors = unpack(KEYS)
local bundle = ARGV[1]
redis.call('ZADD', bundles, 'NX', redis.call('TIME')[1], bundle)
for i = 2, #ARGV, 3 do
    if redis.call('HGET', attributes, ARGV[i]) == ARGV[i + 1] then
        redis.call('HSET', vectors .. bundle, ARGV[i], ARGV[i + 2])
    end
end
"""
)
"""ARGV: a bundle's id, and for each vector the item's id, its attributes and the vector's bytes."""

USE_BUNDLE = Script(
    REFUSE_LATER
    + f"""
local _, bundles, vectors = unpack(KEYS)
redis.call('ZADD', bundles, redis.call('TIME')[1], ARGV[1])
for _, bundle in ipairs(redis.call('ZREVRANGE', bundles, {KEPT_BUNDLES}, -1)) do
    redis.call('ZREM', bundles, bundle)
    redis.call('UNLINK', vectors .. bundle)
end
"""
)
"""ARGV: the id of the bundle in use. Deletes the vectors of all but the `KEPT_BUNDLES` most recently used bundles."""
