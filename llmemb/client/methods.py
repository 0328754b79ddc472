"""The methods that both clients have: each is written once, as the maker of its call in `calls`."""

import functools
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, overload

from llmemb.client import calls
from llmemb.client.calls import Answer, Call

P = ParamSpec("P")


class Sender(ABC):
    """A client that waits for an answer."""

    @abstractmethod
    def send(self, call: Call[Answer], *, request_id: uuid.UUID | None = None) -> Answer:
        """Send a call and return its answer."""


class AsyncSender(ABC):
    """A client whose answers are awaited."""

    @abstractmethod
    async def send(self, call: Call[Answer], *, request_id: uuid.UUID | None = None) -> Answer:
        """Send a call and return its answer."""


class Method(Generic[P, Answer]):
    """A method that makes a call and sends it: its answer is returned by a `Sender`, awaited from an `AsyncSender`."""

    def __init__(self, make: Callable[P, Call[Answer]]) -> None:
        self._make = make

    @overload
    def __get__(self, client: None, owner: type) -> Callable[P, Call[Answer]]: ...
    @overload
    def __get__(self, client: Sender, owner: type) -> Callable[P, Answer]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: type) -> Callable[P, Coroutine[Any, Any, Answer]]: ...
    def __get__(self, client: Sender | AsyncSender | None, owner: type) -> Callable[P, object]:
        """Bind to a client; of the class, give the maker itself."""
        make = self._make
        if client is None:
            return make

        @functools.wraps(make)
        def method(*args: P.args, **kwargs: P.kwargs) -> object:
            return client.send(make(*args, **kwargs))

        return method


class Methods:
    """One method for each route."""

    embed_items = Method(calls.embed_items)
    put_item = Method(calls.put_item)
    patch_item = Method(calls.patch_item)
    get_item = Method(calls.get_item)
    delete_item = Method(calls.delete_item)
    item_page = Method(calls.item_page)
    similar_items = Method(calls.similar_items)
    item_map = Method(calls.item_map)
    recommend = Method(calls.recommend)
    recommend_batch = Method(calls.recommend_batch)
    add_events = Method(calls.add_events)
    get_session = Method(calls.get_session)
    delete_session = Method(calls.delete_session)
    embeddings = Method(calls.embeddings)
    models = Method(calls.models)
    get_model = Method(calls.get_model)
    health = Method(calls.health)
    ready = Method(calls.ready)
    info = Method(calls.info)
    metrics = Method(calls.metrics)
    load_bundle = Method(calls.load_bundle)
    bundles = Method(calls.bundles)
    rollback = Method(calls.rollback)
    set_experiment = Method(calls.set_experiment)
    end_experiment = Method(calls.end_experiment)
