"""Kill -9 of the service, again and again in the midst of changes: what it acknowledged is there.

KILLS says how often; `make soak` takes 20.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from llmemb.api.items import ItemBody
from llmemb.api.recommend import Filters
from llmemb.client import NO_RETRIES, Client, ConnectionFailedError, NotFoundError
from tests.support.forked_service import ForkedService, ServiceForks
from tests.support.load import show
from tests.support.redis_server import RedisServer
from tests.support.service import shared_encoder_url
from tests.support.waiting import DEADLINE_SECONDS, wait_until

KILLS = int(os.environ.get("KILLS", "4"))
WRITERS = 4
CHANGES_EACH_TIME = 24
"""Acknowledged before a kill, at least."""
OWN_ITEMS = 40
"""Ids of a writer beside its share of the bundle's."""
ANCHOR = "40"
"""The bundle's last item, which no client changes: the history of every recommendation."""
CATEGORIES = ("new", "sale", "classic")


@dataclass(frozen=True, slots=True)
class Known:
    """An item as the service should have it."""

    title: str
    categories: tuple[str, ...]
    available: bool


class Writer:
    """Changes its own items, one request after the other, and knows what they must be."""

    def __init__(self, number: int) -> None:
        self._random = random.Random(number)
        self._count = 0
        self._ids = [f"{number}-{i}" for i in range(OWN_ITEMS)]
        self._ids += [str(row) for row in range(number + 1, int(ANCHOR), WRITERS)]
        self.known: dict[str, Known | None] = {}
        """What was acknowledged; None: not in the catalogue."""
        self.under_way: dict[str, Known | None] = {}
        """What was asked for and not acknowledged: all of it happened or nothing."""
        self.acknowledged = 0

    def look(self, client: Client) -> None:
        """Take the items as they are."""
        self.known = {item_id: found(client, item_id) for item_id in self._ids}

    def write_until_killed(self, url: str) -> None:
        """Change one thing after another until there is no answer."""
        with Client(url, timeout_seconds=DEADLINE_SECONDS, retrying=NO_RETRIES) as client:
            while True:
                change, self.under_way = self._next()
                try:
                    change(client)
                except ConnectionFailedError:
                    return
                self.known |= self.under_way
                self.under_way = {}
                self.acknowledged += 1

    def _next(self) -> tuple[Callable[[Client], object], dict[str, Known | None]]:
        self._count += 1
        present = [item_id for item_id in self._ids if self.known[item_id] is not None]
        kind = self._random.choice(("put", "put", "embed", "patch", "delete"))
        if kind == "embed":
            some = {item_id: self._new(item_id) for item_id in self._random.sample(self._ids, 3)}
            items = [
                ItemBody(
                    id=item_id,
                    attributes={"title": item.title},
                    categories=list(item.categories),
                    available=item.available,
                )
                for item_id, item in some.items()
            ]
            return lambda client: client.embed_items(items, index=True), dict(some)
        if kind == "put" or not present:
            item_id = self._random.choice(self._ids)
            item = self._new(item_id)
            return (
                lambda client: client.put_item(
                    item_id, {"title": item.title}, categories=item.categories, available=item.available
                ),
                {item_id: item},
            )
        item_id = self._random.choice(present)
        if kind == "delete":
            return lambda client: client.delete_item(item_id), {item_id: None}
        old = self.known[item_id]
        assert old is not None
        patched = replace(old, categories=self._new(item_id).categories, available=not old.available)
        return (
            lambda client: client.patch_item(item_id, categories=patched.categories, available=patched.available),
            {item_id: patched},
        )

    def _new(self, item_id: str) -> Known:
        categories = tuple(self._random.sample(CATEGORIES, self._random.randint(1, 2)))
        return Known(f"Film {item_id} {self._count}", categories, self._random.random() < 0.8)

    def check(self, client: Client) -> None:
        """Compare each item with what must be there, and take what was under way as it turned out."""
        present = {item_id: found(client, item_id) for item_id in self._ids}
        assert present in (self.known, self.known | self.under_way)
        self.known, self.under_way = present, {}


def found(client: Client, item_id: str) -> Known | None:
    """An item by `GET /items/{id}`."""
    try:
        item = client.get_item(item_id)
    except NotFoundError:
        return None
    title = item.attributes["title"]
    assert isinstance(title, str)
    return Known(title, tuple(item.categories), item.available)


def recommended(client: Client, *, available: bool | None) -> dict[str, object]:
    """Ids and titles of all that `/recommend` gives, but for the anchor."""
    answer = client.recommend([ANCHOR], k=1000, filters=Filters(available=available))
    return {item.id: item.attributes["title"] for item in answer.items}


def check_all(client: Client, writers: list[Writer]) -> None:
    """Every item by its id, and all together by what is recommended."""
    for writer in writers:
        writer.check(client)
    present = {item_id: item for writer in writers for item_id, item in writer.known.items() if item is not None}
    assert recommended(client, available=None) == {item_id: item.title for item_id, item in present.items()}
    assert recommended(client, available=True).keys() == {item_id for item_id in present if present[item_id].available}


def write_and_kill(service: ForkedService, writers: list[Writer]) -> None:
    """Let all write concurrently, and kill the service meanwhile."""
    enough = sum(writer.acknowledged for writer in writers) + CHANGES_EACH_TIME
    threads = [threading.Thread(target=writer.write_until_killed, args=[service.url]) for writer in writers]
    for thread in threads:
        thread.start()
    try:
        wait_until(
            lambda: sum(writer.acknowledged for writer in writers) >= enough or not all(map(is_alive, threads)),
            "changes are acknowledged",
        )
        assert all(map(is_alive, threads)), service.log.read_text()
    finally:
        service.kill()
        for thread in threads:
            thread.join()


def is_alive(thread: threading.Thread) -> bool:
    return thread.is_alive()


@pytest.fixture(params=["sqlite", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RedisServer | None]:
    with RedisServer(tmp_path) if request.param == "redis" else nullcontext() as server:
        yield server


def test_killed_service_loses_nothing_acknowledged(
    server: RedisServer | None, tiny_bundle: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Each change is there after each kill, what was under way is there whole or not at all."""
    variables = {"LLMEMB_STATE_DIR": str(tmp_path / "state"), "LLMEMB_ENCODER_URL": shared_encoder_url()}
    # Few, so that the kills also meet the folding of the added items.
    variables |= {"LLMEMB_FOLD_ITEMS": "20"}
    if server is not None:
        variables |= {"LLMEMB_REDIS_URL": server.url}
    writers = [Writer(number) for number in range(WRITERS)]
    cut = 0

    with ServiceForks(tmp_path) as forks:
        service = forks.start(tiny_bundle, variables)
        with Client(service.url) as client:
            for writer in writers:
                writer.look(client)
        for _ in range(KILLS):
            write_and_kill(service, writers)
            cut += sum(bool(writer.under_way) for writer in writers)
            service = forks.start(tiny_bundle, variables)
            with Client(service.url) as client:
                check_all(client, writers)

    acknowledged = sum(writer.acknowledged for writer in writers)
    show(pytestconfig, f"{KILLS} kills: {acknowledged} changes acknowledged, {cut} cut off, none lost")
    assert cut
