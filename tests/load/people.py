"""People of a shop: one who looks around and clicks, one who uploads items, one who has everything embedded again."""

from collections.abc import Sequence
from random import Random

from llmemb.api.items import ItemBody, ItemListResponse, SimilarItemsResponse
from llmemb.api.recommend import RecommendResponse
from llmemb.client import calls
from llmemb.item import Item
from tests.load.population import Population
from tests.load.steps import AnyCall, Step, Visit, insisting

ADDED = "load-"
"""Begins the id of each item that a run adds."""
_EXPLAINED = 0.05
"""Of the recommendations."""
_BY_SESSION = 0.7
_CHANGED = 0.1
"""Of the texts, since they were last embedded."""


class Shopper:
    """Searches, looks at an item and those like it, clicks, and follows recommendations.

    Args:
        population: what is drawn from.
        random: draws.
        name: of the shopper, different for each of a run.
        think_seconds: mean pause before a request.
    """

    def __init__(self, population: Population, random: Random, name: str, think_seconds: float) -> None:
        self._population = population
        self._random = random
        self._name = name
        self._think_seconds = think_seconds
        self._visits = 0
        self._session: str | None = None

    def visit(self) -> Visit:
        """Come once, under a session of its own that is forgotten at the end."""
        self._visits += 1
        session = self._session = f"{self._name}-{self._visits}"
        page = yield self._step(calls.item_page(query=self._population.word(self._random), limit=20))
        found = [item.id for item in page.items] if isinstance(page, ItemListResponse) else []
        clicked: list[str] = []
        for _ in range(self._random.randint(3, 8)):
            item_id = self._choose(found)
            clicked.append(item_id)
            yield self._step(calls.add_events(session, [item_id]), item_id)
            if self._random.random() < 0.4:
                similar = yield self._step(calls.similar_items(item_id, k=10), item_id)
                found = [item.id for item in similar.items] if isinstance(similar, SimilarItemsResponse) else []
            else:
                answer = yield self._recommendation(session, clicked)
                found = [item.id for item in answer.items] if isinstance(answer, RecommendResponse) else []
        yield self._step(calls.delete_session(session), gone=True)
        self._session = None

    def leave(self) -> Visit:
        """Have the session of a visit that was broken off forgotten."""
        if self._session is not None:
            yield Step(call=calls.delete_session(self._session), pause_seconds=0.0, may_be_gone=True)

    def _recommendation(self, session: str, clicked: Sequence[str]) -> Step:
        explain = self._random.random() < _EXPLAINED
        if self._random.random() < _BY_SESSION:
            return self._step(calls.recommend(session_id=session, explain=explain))
        # As a shop has it that keeps histories itself: what was clicked before, and now.
        history = [*self._population.history(self._random), *clicked]
        return self._step(calls.recommend(history, explain=explain), *clicked)

    def _choose(self, found: Sequence[str]) -> str:
        """One of those on the page, the first ones most often; without a page, one that is known."""
        if not found:
            return self._population.item(self._random).id
        return found[min(int(self._random.expovariate(0.5)), len(found) - 1)]

    def _step(self, call: AnyCall, *item_ids: str, gone: bool = False) -> Step:
        # Longer than a minute nobody thinks, and a run would not end.
        pause = min(60.0, self._random.expovariate(1.0) * self._think_seconds)
        may_be_gone = gone or any(item_id.startswith(ADDED) for item_id in item_ids)
        return Step(call=call, pause_seconds=pause, may_be_gone=may_be_gone)


class Shop:
    """Uploads items in bursts, says what is sold out, and takes its own items away again.

    Args:
        population: what is drawn from.
        random: draws.
        name: of the shop, different for each of a run.
        batch_items: items of an upload.
        pause_seconds: between two bursts.
    """

    def __init__(
        self, population: Population, random: Random, name: str, batch_items: int, pause_seconds: float
    ) -> None:
        self._population = population
        self._random = random
        # The same ids in each burst: a removed id stays in the log for ever, so there are not to be many.
        self._ids = [f"{ADDED}{name}-{number}" for number in range(2 * batch_items)]
        self._pause_seconds = pause_seconds
        self._own: list[str] = []

    def visit(self) -> Visit:
        """Upload a burst, one half item by item and the other together, and take it all away."""
        half = len(self._ids) // 2
        for number, item_id in enumerate(self._ids[:half]):
            pause = 0.0 if number else self._pause_seconds
            call = calls.put_item(item_id, self._population.new_attributes(self._random))
            self._own.append(item_id)  # before it is sent: where no answer comes it may be there
            yield from insisting(Step(call=call, pause_seconds=pause))
        items = [
            ItemBody(id=item_id, attributes=self._population.new_attributes(self._random))
            for item_id in self._ids[half:]
        ]
        self._own += self._ids[half:]
        yield from insisting(Step(call=calls.embed_items(items, index=True), pause_seconds=0.0))
        yield Step(call=calls.get_item(self._ids[-1]), pause_seconds=self._pause_seconds / 4)
        for item_id in self._random.sample(self._ids, 1 + half // 4):
            yield from insisting(Step(call=calls.patch_item(item_id, available=False), pause_seconds=0.0))
        yield from self._take_away(self._pause_seconds / 4, may_be_gone=False)

    def leave(self) -> Visit:
        """Take away what a burst that was broken off has left."""
        yield from self._take_away(0.0, may_be_gone=True)

    def _take_away(self, pause_seconds: float, *, may_be_gone: bool) -> Visit:
        while self._own:
            call = calls.delete_item(self._own[-1])
            yield from insisting(Step(call=call, pause_seconds=pause_seconds, may_be_gone=may_be_gone))
            pause_seconds = 0.0
            self._own.pop()


class Embedder:
    """Has the whole catalogue embedded again, batch by batch, some of its texts changed since the last time.

    Args:
        population: what is drawn from.
        random: draws.
        batch_items: texts of a batch.
        pause_seconds: before a batch.
    """

    def __init__(self, population: Population, random: Random, batch_items: int, pause_seconds: float) -> None:
        self._population = population
        self._random = random
        self._batch_items = batch_items
        self._pause_seconds = pause_seconds

    def visit(self) -> Visit:
        """Go over everything once: one batch by attributes, the next by texts."""
        items = self._population.items
        batches = [items[start : start + self._batch_items] for start in range(0, len(items), self._batch_items)]
        for number, batch in enumerate(batches):
            now = [self._now(item) for item in batch]
            call: AnyCall
            if number % 2:
                call = calls.embeddings(self._population.prompts(now))
            else:
                bodies = [ItemBody(id=item.id, attributes=self._population.attributes(item)) for item in now]
                call = calls.embed_items(bodies)
            yield from insisting(Step(call=call, pause_seconds=self._pause_seconds))

    def leave(self) -> Visit:
        """Have nothing to put in order."""
        yield from ()

    def _now(self, item: Item) -> Item:
        if self._random.random() >= _CHANGED:
            return item
        changed = self._population.new_attributes(self._random)
        return Item(
            item.id, {name: value if isinstance(value, str) else tuple(value) for name, value in changed.items()}
        )


Person = Shopper | Shop | Embedder
