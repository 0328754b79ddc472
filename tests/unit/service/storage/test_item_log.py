"""What both item logs promise, with SQLite and with a real Redis."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from llmemb_service.settings import Settings
from llmemb_service.storage.changes import Change, PatchItem, RemoveItem
from llmemb_service.storage.item_log import ItemLog
from llmemb_service.storage.storage import open_storage
from tests.support.item_log import BUNDLES, DictFollower, Kept, changes, put
from tests.support.redis_server import RedisServer

IDS = ["a", "b", "ü"]
Fresh = Callable[[], Settings]


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Fresh:
    """Settings of a new, unused storage at each call."""
    numbers = itertools.count()
    url = SecretStr(request.getfixturevalue("redis_server").url) if request.param == "redis" else None

    def settings_of_new() -> Settings:
        folder = tmp_path / str(next(numbers))
        prefix = f"{request.node.name}-{folder.name}".replace("[", ".").replace("]", ".")
        return Settings(bundle=Path("bundle"), state_dir=folder, redis_url=url, redis_prefix=prefix)

    return settings_of_new


async def restored(log: ItemLog, bundle_id: str = "b1") -> DictFollower:
    """A follower that has just been attached."""
    follower = DictFollower(bundle_id)
    await log.attach(follower)
    return follower


async def kept_after(setup: Settings, *appended: list[Change], bundle_id: str = "b1") -> dict[str, Kept]:
    """What the log holds after these changes, once it was closed and opened."""
    async with open_storage(setup, 10) as storage:
        for some in appended:
            await storage.items.append(some)
    async with open_storage(setup, 10) as storage:
        return (await restored(storage.items, bundle_id)).items


def test_log_gives_back_what_was_put(fresh: Fresh) -> None:
    """All fields, after it was closed and opened; another bundle has no vector of the item."""
    change = put("é", 2.5, categories=("x", 'y"'), available=False)

    async def run() -> None:
        setup = fresh()
        expected = Kept('{"title":"é 2.5"}', ("x", 'y"'), False, False, (2.5, -2.5))
        assert await kept_after(setup, [change]) == {"é": expected}
        assert (await kept_after(setup, bundle_id="b2"))["é"].vector is None

    asyncio.run(run())


def test_log_of_a_patched_item_of_the_bundle_keeps_the_patch_alone(fresh: Fresh) -> None:
    """Its attributes stay the bundle's."""
    kept = asyncio.run(kept_after(fresh(), [PatchItem("a", None, False)], [PatchItem("a", (), None)]))

    assert kept == {"a": Kept(categories=(), available=False)}


def test_log_drops_what_was_kept_of_a_removed_item(fresh: Fresh) -> None:
    """A patch that comes too late is nothing to anyone; the item put again starts anew, in its old place."""

    async def run() -> None:
        setup = fresh()
        before = [put("a", 1, categories=("x",), available=False), put("b")]
        async with open_storage(setup, 10) as storage:
            follower = await restored(storage.items)
            await storage.items.append(before)
            await storage.items.append([RemoveItem("a"), PatchItem("a", ("late",), True)])
            assert follower.told == ["a", "b", "a"]
            assert follower.items["a"] == Kept(removed=True)
            assert (await restored(storage.items)).items == follower.items
        kept = await kept_after(setup, [put("a", 2)])
        assert list(kept) == ["a", "b"]
        assert kept["a"] == Kept('{"title":"é 2"}', None, None, False, (2.0, -2.0))

    asyncio.run(run())


def test_log_keeps_vectors_of_other_bundles_while_the_attributes_last(fresh: Fresh) -> None:
    """One of attributes that are gone is not kept; changed attributes drop it, the same attributes do not."""
    vector = np.array([7], dtype=np.float32)

    async def run() -> None:
        async with open_storage(fresh(), 10) as storage:
            log = storage.items
            first = put("a", 1)
            await log.append([first, put("b", 1), PatchItem("c", None, True)])
            await log.keep_vectors(
                "b2",
                {"a": (first.attributes_json, vector), "b": ("{}", vector), "c": ("{}", vector), "d": ("", vector)},
            )

            async def vectors() -> dict[str, tuple[float, ...] | None]:
                return {item_id: kept.vector for item_id, kept in (await restored(log, "b2")).items.items()}

            assert await vectors() == {"a": (7.0,), "b": None, "c": None}
            await log.append([put("a", 1), PatchItem("a", (), None)])
            assert (await vectors())["a"] == (7.0,)
            await log.append([put("a", 2)])
            assert (await vectors())["a"] is None

    asyncio.run(run())


def test_log_forgets_the_vectors_of_bundles_not_used_for_long(fresh: Fresh) -> None:
    """The four used last are kept, so that a new bundle every week does not fill the disk."""
    vector = np.array([7], dtype=np.float32)

    async def run() -> None:
        async with open_storage(fresh(), 10) as storage:
            log = storage.items
            change = put("a", 1)
            await log.append([change])
            for bundle_id in ("b2", "b3", "b4", "b5"):
                await restored(log, bundle_id)
                await log.keep_vectors(bundle_id, {"a": (change.attributes_json, vector)})
            while (await restored(log, "b1")).items["a"].vector is not None:
                # Whoever was used before the last four may be forgotten at any moment: that is never b5.
                for bundle_id in ("b2", "b3", "b4"):
                    await restored(log, "b5")
                    await restored(log, bundle_id)
            assert (await restored(log, "b5")).items["a"].vector == (7.0,)

    asyncio.run(run())


def test_log_tells_followers_before_it_acknowledges(fresh: Fresh) -> None:
    """In the order of the appends, however many wait; one that was detached hears no more."""

    async def run() -> None:
        async with open_storage(fresh(), 10) as storage:
            log = storage.items
            follower, other = await restored(log), await restored(log, "b2")

            async def add(number: int) -> None:
                await log.append([put(f"i{number}", number)])
                assert f"i{number}" in follower.items

            await asyncio.gather(*(add(number) for number in range(60)))
            log.detach(other)
            await add(60)

            assert sorted(follower.told) == sorted(f"i{number}" for number in range(61))
            assert other.told == follower.told[:60]
            assert list((await restored(log)).items.items()) == list(follower.items.items())

    asyncio.run(run())


def test_log_tells_followers_though_the_caller_has_gone(fresh: Fresh) -> None:
    """A change on its way to the disk is part of the catalogue."""

    async def run() -> None:
        async with open_storage(fresh(), 10) as storage:
            follower = await restored(storage.items)
            leaving = asyncio.create_task(storage.items.append([put("a")]))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
            await storage.items.append([put("b")])
            assert follower.items == (await restored(storage.items)).items

    asyncio.run(run())


def test_log_attaches_followers_while_changes_come(fresh: Fresh) -> None:
    """Whenever one joins, it ends up with what all have."""

    async def run() -> None:
        async with open_storage(fresh(), 10) as storage:
            log = storage.items
            first = await restored(log)
            joined: list[DictFollower] = []

            async def change(of: int) -> None:
                for number in range(40):
                    await log.append([put(f"i{of}-{number % 7}", number), RemoveItem(f"i{of}-{number % 3}")])

            async def join() -> None:
                for _ in range(20):
                    joined.append(await restored(log))

            await asyncio.gather(change(1), change(2), join())
            assert all(list(follower.items.items()) == list(first.items.items()) for follower in joined)

    asyncio.run(run())


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(appended=st.lists(st.lists(changes(IDS), min_size=1, max_size=3), max_size=8), reopened_after=st.integers(0, 8))
def test_log_is_a_dict(fresh: Fresh, appended: list[list[Change]], reopened_after: int) -> None:
    """Whatever happens: followers told and followers restored hold what a dict would, in the order of first changes."""
    setup = fresh()
    models = [DictFollower(bundle_id) for bundle_id in BUNDLES]

    async def append(part: list[list[Change]]) -> None:
        async with open_storage(setup, 10) as storage:
            live = [await restored(storage.items, bundle_id) for bundle_id in BUNDLES]
            for some in part:
                await storage.items.append(some)
            for model, follower in zip(models, live, strict=True):
                for some in part:
                    model.apply(some)
                again = await restored(storage.items, model.bundle_id)
                assert list(follower.items.items()) == list(model.items.items()) == list(again.items.items())

    asyncio.run(append(appended[:reopened_after]))
    asyncio.run(append(appended[reopened_after:]))


def test_log_that_works_has_no_fault(fresh: Fresh) -> None:
    """Readiness asks."""

    async def run() -> None:
        async with open_storage(fresh(), 10) as storage:
            await restored(storage.items)
            assert await storage.items.fault() is None
            assert await storage.sessions.fault() is None

    asyncio.run(run())
