"""A closed loop of HTTP requests over connections that are kept open: how many a second, and how long each took.

Lean on purpose: a general client costs more than the service that it measures. Bodies are sent as they are, answers
are read to their end and their statuses counted.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Load:
    """What a run of requests came to."""

    seconds: NDArray[np.float64]
    """Of each request, from its first byte sent to its answer's last."""
    statuses: Counter[int]
    wall_seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered a second."""
        return len(self.seconds) / self.wall_seconds

    def percentile_ms(self, percent: float) -> float:
        """Return a percentile of the latencies, in milliseconds."""
        return float(np.percentile(self.seconds, percent)) * 1000


def request_bytes(url: str, path: str, body: bytes) -> bytes:
    """Return a POST of JSON as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def load(url: str, requests: Sequence[bytes], *, connections: int, seconds: float) -> Load:
    """Send the requests round and round over so many connections, one at a time on each, for so long."""
    address = urlsplit(url)
    turn = itertools.cycle(requests)
    taken: list[float] = []
    statuses: Counter[int] = Counter()
    started = time.perf_counter()
    end = started + seconds

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            while time.perf_counter() < end:
                begun = time.perf_counter()
                writer.write(next(turn))
                statuses[await _read_answer(reader)] += 1
                taken.append(time.perf_counter() - begun)
        finally:
            writer.close()

    await asyncio.gather(*(ask() for _ in range(connections)))
    return Load(np.asarray(taken), statuses, time.perf_counter() - started)


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    _, _, after = head.lower().partition(b"content-length:")
    await reader.readexactly(int(after.partition(b"\r\n")[0]))
    return int(head.split(b" ", 2)[1])
