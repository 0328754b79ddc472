"""People of a shop: one looks around and clicks, one uploads items, one has the whole catalogue embedded again.

They know nothing of Locust: a person sends through the function `ask` that it is given, which waits, sends and returns
the reply. An exception of `ask` ends a visit early, and `leave` then removes what the visit has left.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from llmemb.api.items import ItemBody, ItemListResponse, SimilarItemsResponse
from llmemb.api.recommend import RecommendResponse
from llmemb.client import calls
from llmemb.item import Item
from tests.load.http_load import AnyCall
from tests.load.population import Population

ADDED = "load-"
"""The ids of the items that a run adds begin with it."""
MAX_TRIES = 6
"""Of a request that is refused again and again."""
_EXPLAINED = 0.05
"""Of the recommendations."""
_BY_SESSION = 0.7
_CHANGED = 0.1
"""Of the texts, since they were last embedded."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The service answered 429."""

    retry_after_seconds: float


Reply = object
"""The model of the answer, `Refused`, or None where there was no good answer."""


class Ask(Protocol):
    """Sends a person's requests."""

    def __call__(self, call: AnyCall, pause_seconds: float = 0.0, *, may_be_gone: bool = False) -> Reply:
        """Wait, send a call and return its reply.

        Args:
            call: what is sent.
            pause_seconds: the wait.
            may_be_gone: whether the call names something that others may have removed.
        """


@dataclass
class Person:
    """Somebody who uses the service."""

    population: Population
    """What is drawn from."""
    random: Random
    ask: Ask
    pause_seconds: float
    """Mean pause: of a shopper before a request, of a shop between two bursts, of an embedder before a batch."""

    def visit(self) -> None:
        """Use the service once."""
        raise NotImplementedError

    def leave(self) -> None:
        """Remove what a visit that ended early has left."""

    def _insist(self, call: AnyCall, pause_seconds: float = 0.0, *, may_be_gone: bool = False) -> None:
        """Send a call, and again after the time that the service asks for when it is refused, as programs do."""
        for _ in range(MAX_TRIES):
            reply = self.ask(call, pause_seconds, may_be_gone=may_be_gone)
            if not isinstance(reply, Refused):
                return
            pause_seconds = reply.retry_after_seconds


@dataclass
class Shopper(Person):
    """Searches, looks at an item and similar ones, clicks, and follows recommendations."""

    name: str
    """Different for each shopper of a run."""
    visits: int = 0
    session: str | None = None
    """Of the visit that is under way."""

    def visit(self) -> None:
        """Come once, with a new session that is deleted at the end."""
        self.visits += 1
        session = self.session = f"{self.name}-{self.visits}"
        page = self._send(calls.item_page(query=self.population.word(self.random), limit=20))
        found = [item.id for item in page.items] if isinstance(page, ItemListResponse) else []
        clicked: list[str] = []
        for _ in range(self.random.randint(3, 8)):
            item_id = self._choose(found)
            clicked.append(item_id)
            self._send(calls.add_events(session, [item_id]), item_id)
            if self.random.random() < 0.4:
                similar = self._send(calls.similar_items(item_id, k=10), item_id)
                found = [item.id for item in similar.items] if isinstance(similar, SimilarItemsResponse) else []
            else:
                answer = self._recommendation(session, clicked)
                found = [item.id for item in answer.items] if isinstance(answer, RecommendResponse) else []
        self._send(calls.delete_session(session), gone=True)
        self.session = None

    def leave(self) -> None:
        """Delete the session of a visit that ended early."""
        if self.session is not None:
            self.ask(calls.delete_session(self.session), may_be_gone=True)

    def _recommendation(self, session: str, clicked: Sequence[str]) -> Reply:
        explain = self.random.random() < _EXPLAINED
        if self.random.random() < _BY_SESSION:
            return self._send(calls.recommend(session_id=session, explain=explain))
        # As a shop that keeps histories itself does it: earlier clicks, and those of this visit.
        history = [*self.population.history(self.random), *clicked]
        return self._send(calls.recommend(history, explain=explain), *clicked)

    def _choose(self, found: Sequence[str]) -> str:
        """One of those on the page, the first ones most often; without a page, any item."""
        if not found:
            return self.population.item(self.random).id
        return found[min(int(self.random.expovariate(0.5)), len(found) - 1)]

    def _send(self, call: AnyCall, *item_ids: str, gone: bool = False) -> Reply:
        # Think time is at most a minute, so that a run ends.
        pause = min(60.0, self.random.expovariate(1.0) * self.pause_seconds)
        may_be_gone = gone or any(item_id.startswith(ADDED) for item_id in item_ids)
        return self.ask(call, pause, may_be_gone=may_be_gone)


@dataclass
class Shop(Person):
    """Uploads items in bursts, marks some as sold out, and removes its own items again."""

    name: str
    """Different for each shop of a run."""
    batch_items: int
    """Items of an upload."""
    own: list[str] = field(default_factory=list)
    """Ids of the items that it has uploaded and not yet removed."""

    def visit(self) -> None:
        """Upload a burst, one half item by item and the other together, and remove all of it."""
        # The same ids in each burst: a removed id stays in the log for ever, so there must not be many.
        ids = [f"{ADDED}{self.name}-{number}" for number in range(2 * self.batch_items)]
        single, together = ids[: self.batch_items], ids[self.batch_items :]
        for number, item_id in enumerate(single):
            call = calls.put_item(item_id, self.population.new_attributes(self.random))
            self.own.append(item_id)  # before it is sent: without an answer it may be there
            self._insist(call, 0.0 if number else self.pause_seconds)
        items = [ItemBody(id=item_id, attributes=self.population.new_attributes(self.random)) for item_id in together]
        self.own += together
        self._insist(calls.embed_items(items, index=True))
        self.ask(calls.get_item(ids[-1]), self.pause_seconds / 4)
        for item_id in self.random.sample(ids, 1 + self.batch_items // 4):
            self._insist(calls.patch_item(item_id, available=False))
        self._remove_all(self.pause_seconds / 4, may_be_gone=False)

    def leave(self) -> None:
        """Remove what a burst that ended early has left."""
        self._remove_all(0.0, may_be_gone=True)

    def _remove_all(self, pause_seconds: float, *, may_be_gone: bool) -> None:
        while self.own:
            self._insist(calls.delete_item(self.own[-1]), pause_seconds, may_be_gone=may_be_gone)
            pause_seconds = 0.0
            self.own.pop()


@dataclass
class Embedder(Person):
    """Has the whole catalogue embedded again, batch by batch, some of its texts changed since the last time."""

    batch_items: int
    """Texts of a batch."""

    def visit(self) -> None:
        """Embed everything once: one batch by attributes, the next by texts."""
        items = self.population.items
        batches = [items[start : start + self.batch_items] for start in range(0, len(items), self.batch_items)]
        for number, batch in enumerate(batches):
            now = [self._now(item) for item in batch]
            call: AnyCall
            if number % 2:
                call = calls.embeddings(self.population.prompts(now))
            else:
                bodies = [ItemBody(id=item.id, attributes=self.population.attributes(item)) for item in now]
                call = calls.embed_items(bodies)
            self._insist(call, self.pause_seconds)

    def _now(self, item: Item) -> Item:
        if self.random.random() >= _CHANGED:
            return item
        changed = self.population.new_attributes(self.random)
        return Item(
            item.id, {name: value if isinstance(value, str) else tuple(value) for name, value in changed.items()}
        )
