"""What a storage keeps, all of it, so that two can be compared; and a real storage of each kind."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from llmemb_service.settings import Settings
from llmemb_service.storage.changes import Change
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import BUNDLES, DictFollower, Kept
from tests.support.redis_server import RedisServer


@dataclass(frozen=True)
class State:
    """The items for each bundle's follower, in their order, before and after changes, and sessions."""

    items: dict[str, list[tuple[str, Kept]]]
    then: dict[str, list[tuple[str, Kept]]]
    sessions: dict[str, tuple[tuple[str, ...], int]]


async def state_of(setup: Settings, session_ids: tuple[str, ...] = (), then: Sequence[Change] = ()) -> State:
    """Read what a storage keeps, as a service does that starts, and what comes of changes after that."""
    async with open_storage(setup, 1000) as storage:
        followers = [DictFollower(bundle_id) for bundle_id in BUNDLES]
        for follower in followers:
            await storage.items.attach(follower)
        restored = {follower.bundle_id: list(follower.items.items()) for follower in followers}
        if then:
            await storage.items.append(then)
        sessions: dict[str, tuple[tuple[str, ...], int]] = {}
        for session_id in session_ids:
            session = await storage.sessions.read(session_id)
            if session is not None:
                sessions[session_id] = (session.history, session.expires_in_seconds)
        return State(restored, {each.bundle_id: list(each.items.items()) for each in followers}, sessions)


class Storages:
    """Settings of unused storages.

    Args:
        folder: for state folders.
        server: for those on Redis, each with a prefix of its own.
        name: begins the prefixes.
    """

    def __init__(self, folder: Path, server: RedisServer, name: str) -> None:
        self._folder = folder
        self._url = SecretStr(server.url)
        self._name = "".join(c if c.isalnum() else "." for c in name)
        self._numbers = itertools.count()

    def new(self, kind: str) -> Settings:
        """Make settings of one more; `kind` is sqlite or redis."""
        number = next(self._numbers)
        return Settings(
            bundle=Path("bundle"),
            state_dir=self._folder / f"state-{number}",
            redis_url=self._url if kind == "redis" else None,
            redis_prefix=f"{self._name}-{number}",
        )
