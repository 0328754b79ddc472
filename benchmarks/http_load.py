"""Closed loops of HTTP requests and what they came to, for the benchmarks of a service beside a peer.

Requests go through the client of the load tests, `tests.load.http_load`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter
from typing import Literal

import numpy as np
import uvloop
from numpy.typing import NDArray

from benchmarks.results import Row, compare
from llmemb.bundle import Bundle
from llmemb.client import calls
from tests.load.http_load import AnyCall, Connections, Exchange, closed_loop

SEED = 42
HISTORIES = 256
HISTORY_ITEMS = 20
TIMEOUT_SECONDS = 60.0
Figure = Literal["rate", "p50", "p99"]


@dataclass(frozen=True, slots=True)
class Load:
    """A run in which every request was answered by 200."""

    seconds: NDArray[np.float64]
    """Of each request, from when it was sent until its answer was complete."""
    wall_seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.seconds) / self.wall_seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1000

    def figure(self, name: Figure) -> float:
        """Return requests a second, or a percentile in milliseconds."""
        return self.per_second if name == "rate" else self.percentile_ms(float(name.removeprefix("p")))


def load(url: str, requests: Sequence[AnyCall], *, clients: int, seconds: float) -> Load:
    """Send the requests round and round from so many clients, one at a time from each, for so long.

    Raises:
        RuntimeError: a request was not answered by 200.
    """
    return uvloop.run(load_async(url, requests, clients=clients, seconds=seconds))


async def load_async(url: str, requests: Sequence[AnyCall], *, clients: int, seconds: float) -> Load:
    """As `load`, in a running event loop."""
    taken: list[float] = []
    ends: Counter[int | str] = Counter()

    def record(exchange: Exchange) -> None:
        taken.append(exchange.seconds)
        ends[exchange.error or exchange.status] += 1

    connections = Connections(url, None, TIMEOUT_SECONDS)
    begun = perf_counter()
    await closed_loop(connections, cycle(requests), clients=clients, seconds=seconds, record=record)
    wall_seconds = perf_counter() - begun
    connections.close()
    if set(ends) != {200}:
        raise RuntimeError(f"{url} answered {dict(ends)}, expected only 200")
    return Load(np.asarray(taken), wall_seconds)


def load_row(
    name: str,
    unit: str,
    ours: Sequence[Load],
    peer: Sequence[Load],
    figure: Figure,
    aim: tuple[Literal["<=", ">="], float] | None = None,
) -> Row:
    """Compare a figure of our rounds and the peer's; `aim` is that of the ratio."""
    return compare(name, unit, [one.figure(figure) for one in ours], [one.figure(figure) for one in peer], aim)


def recommend_requests(bundle: Bundle) -> list[AnyCall]:
    """Draw histories by popularity, and make each a request; the same ones for the same bundle."""
    random = np.random.default_rng(SEED)
    popularity = bundle.items.popularity + 1.0
    rows = random.choice(len(popularity), (HISTORIES, HISTORY_ITEMS), p=popularity / popularity.sum())
    return [calls.recommend([bundle.items.ids[row] for row in history]) for history in rows]
