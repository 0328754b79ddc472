"""The format of the catalogue in Redis: keys, entries of the log and stored states of items.

`D` is the width of a semantic vector.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from redis.asyncio import Redis

from llmemb_service.errors import StorageError
from llmemb_service.storage.changes import Array, Change, EmbeddedBy, ItemState, PatchItem, PutItem, RemoveItem
from llmemb_service.storage.redis.scripts import FIND_INCOMPLETE, FORMAT
from llmemb_service.storage.redis.writer import Argument, read_at_once

HEAD_FIELDS = ("epoch", "sequence", "entry", "format")
"""Fields of the hash `RedisKeys.meta` that `parse_head` reads."""
_ITEMS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Position:
    """A position in the log. The epoch identifies the log: a log that was lost and started again has another one."""

    epoch: bytes
    sequence: int
    """Number of the last change before this position, counted from 1."""
    entry: bytes
    """Id of that change in the stream."""

    def may_precede(self, head: "Position") -> bool:
        """Whether a log that ends at `head` can continue this position."""
        if self.sequence == 0:
            return True
        if self.epoch != head.epoch or self.sequence > head.sequence:
            return False
        return self.sequence < head.sequence or self.entry == head.entry

    def follows(self, before: "Position") -> bool:
        """Whether this is the position after `before`; a log gets its epoch with its first change."""
        return self.sequence == before.sequence + 1 and (self.epoch == before.epoch or before.sequence == 0)


class RedisKeys:
    """The names of the keys; `{prefix}` is their hash tag, and `part` the section of the prefix they belong to."""

    def __init__(self, prefix: str, part: str = "catalogue") -> None:
        base = f"{{{prefix}}}:{part}"
        self.meta = f"{base}:meta"
        self.log = f"{base}:log"
        self.order = f"{base}:order"
        self.attributes = f"{base}:attributes"
        self.categories = f"{base}:categories"
        self.available = f"{base}:available"
        self.removed = f"{base}:removed"
        self.bundles = f"{base}:bundles"
        self.vectors = f"{base}:vectors:"
        self.probe = f"{base}:probe"
        self.pattern = f"{base}:*"

    def of_changes(self) -> list[str]:
        """Return all keys that a change may write, in the order of the script's KEYS."""
        return [
            self.meta, self.log, self.order, self.attributes, self.categories, self.available, self.removed,
            self.bundles, self.vectors,
        ]  # fmt: skip


def to_arguments(change: Change) -> list[Argument]:
    """Convert a change to the script's arguments: kind, id, attributes, categories, available, bundle and vector."""
    if isinstance(change, RemoveItem):
        return ["remove", change.id, "", "", "", "", b""]
    categories = "" if change.categories is None else json.dumps(change.categories, ensure_ascii=False)
    available = "" if change.available is None else int(change.available)
    if isinstance(change, PatchItem):
        return ["patch", change.id, "", categories, available, "", b""]
    embedded = change.embedded
    vector = embedded.vector.astype("<f4").tobytes()
    return ["put", change.id, change.attributes_json, categories, available, embedded.bundle_id, vector]


def from_entry(fields: Mapping[bytes, bytes]) -> Change:
    """Read a change from an entry of the log."""
    kind, item_id = fields[b"kind"], fields[b"id"].decode()
    if kind == b"remove":
        return RemoveItem(item_id)
    categories, available = _categories(fields[b"categories"] or None), _available(fields[b"available"] or None)
    if kind == b"patch":
        return PatchItem(item_id, categories, available)
    embedded = EmbeddedBy(fields[b"bundle"].decode(), _vector(fields[b"vector"]))
    return PutItem(item_id, fields[b"attributes"].decode(), categories, available, embedded)


async def read_head(redis: Redis, keys: RedisKeys) -> Position:
    """Return the position at the end of the log.

    Raises:
        StorageError: a later version of the program wrote the catalogue.
    """
    # The client's type also allows decoded answers; here they are bytes.
    return parse_head(cast("list[bytes | None]", await redis.hmget(keys.meta, list(HEAD_FIELDS))))


def parse_head(fields: Sequence[bytes | None]) -> Position:
    """Read the position at the end of the log from the values of `HEAD_FIELDS`.

    Raises:
        StorageError: a later version of the program wrote the catalogue.
    """
    epoch, sequence, entry, version = fields
    if version is not None and int(version) > FORMAT:
        raise StorageError(f"the catalogue in Redis has format {int(version)}, this program reads up to {FORMAT}")
    return Position(epoch or b"", int(sequence or 0), entry or b"0-0")


async def check_complete(redis: Redis, keys: RedisKeys) -> None:
    """Check that no key of the catalogue is missing.

    Raises:
        StorageError: a key was deleted or evicted; the message names it.
        RedisError: Redis fails.
    """
    found = await redis.eval(FIND_INCOMPLETE, len(keys.of_changes()), *keys.of_changes())
    if found is None:
        return
    stored, now = (sizes.split() for sizes in cast("tuple[bytes, bytes]", found))
    if stored:
        names = keys.of_changes()[2:7]
        fault = ", ".join(
            f"{name} has {int(size)} entries and not {int(expected)}"
            for name, expected, size in zip(names, stored[1:], now[1:], strict=True)
            if expected != size
        )
    else:
        fault = f"{keys.order if int(now[0]) else keys.meta} is missing"
    raise StorageError(
        f"the catalogue in Redis is incomplete: {fault}; restore a backup by llmemb restore --replace, or delete all "
        f"of {keys.pattern} to give up the added items"
    )


async def read_entries(
    redis: Redis, keys: RedisKeys, after: Position, *, count: int, block_milliseconds: int | None
) -> list[tuple[Position, Change]]:
    """Return the next changes after a position, each with its own position.

    Waits up to `block_milliseconds` for the first change; None does not wait.
    """
    streams = await redis.xread({keys.log: after.entry}, count=count, block=block_milliseconds)
    entries = [
        (Position(fields[b"epoch"], int(fields[b"sequence"]), entry), from_entry(fields))
        for _, found in cast("list[tuple[bytes, list[tuple[bytes, dict[bytes, bytes]]]]]", streams)
        for entry, fields in found
    ]
    await asyncio.sleep(0)
    return entries


async def read_states(redis: Redis, keys: RedisKeys, bundle_id: str, until: int) -> list[ItemState]:
    """Return the stored state of every item whose first change has at most the number `until`.

    Each state is consistent, but different items may be read at different times; applying the log from `until` on makes
    all of them current.
    """
    states: list[ItemState] = []
    last = 0.0
    while page := await _first_changes(redis, keys, last, until):
        states += await _read_page(redis, keys, bundle_id, [item_id for item_id, _ in page])
        last = page[-1][1]
    return states


async def _first_changes(redis: Redis, keys: RedisKeys, after: float, until: int) -> list[tuple[bytes, float]]:
    found = await redis.zrange(
        keys.order, f"({after}", f"{until}", byscore=True, offset=0, num=_ITEMS_AT_ONCE, withscores=True
    )  # fmt: skip
    return cast("list[tuple[bytes, float]]", found)


async def _read_page(redis: Redis, keys: RedisKeys, bundle_id: str, ids: Sequence[bytes]) -> list[ItemState]:
    hashes = (keys.attributes, keys.categories, keys.available, keys.removed, f"{keys.vectors}{bundle_id}")
    answers = await read_at_once(redis, hashes, [("HMGET", name, *ids) for name in hashes])
    columns = cast("list[list[bytes | None]]", answers)
    return [
        ItemState(
            id=item_id.decode(),
            attributes_json=None if attributes is None else attributes.decode(),
            categories=_categories(categories),
            available=_available(available),
            removed=removed is not None,
            vector=None if vector is None else _vector(vector),
        )
        for item_id, attributes, categories, available, removed, vector in zip(ids, *columns, strict=True)
    ]


def _categories(raw: bytes | None) -> tuple[str, ...] | None:
    return None if raw is None else tuple(json.loads(raw))


def _available(raw: bytes | None) -> bool | None:
    return None if raw is None else raw == b"1"


def _vector(raw: bytes) -> Array:
    return np.frombuffer(raw, dtype="<f4")
