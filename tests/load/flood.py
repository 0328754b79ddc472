"""More than the service can hold, sent by a process of its own.

At such a rate a sender is always late, and late to read the answers too: what is to be measured meanwhile must not wait
in the same event loop.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from random import Random

import uvloop

from tests.load.asking import TIMEOUT_SECONDS
from tests.load.config import Overloaded
from tests.load.phases import Stream, run_phase
from tests.load.population import read_population
from tests.load.report import Phase
from tests.load.run_spec import RunSpec
from tests.load.wire import Wire
from tests.load.works import maker

FLOOD = "Overload"
_NICE = 5


@asynccontextmanager
async def flood(run: RunSpec, work: Overloaded, per_second: float) -> AsyncIterator[Awaitable[Phase]]:
    """Ask too often while the block runs, for the time that the run says; gives what it comes to.

    Raises:
        EOFError: its process ended before it could tell.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_flood, args=(theirs, run, work, per_second), daemon=True)
    process.start()
    theirs.close()
    try:
        await asyncio.to_thread(ours.recv)
        yield asyncio.to_thread(ours.recv)
    finally:
        process.terminate()
        process.join()


def _flood(connection: Connection, run: RunSpec, work: Overloaded, per_second: float) -> None:
    settings = run.config.overload
    # What is measured comes before it, and so is not late for want of a core that the flood has.
    os.nice(_NICE)
    # Other requests than those of the process that measures.
    make = maker(work, read_population(run.bundle), Random(run.seed + 1), settings.embed_items)
    connection.send("begins")
    connection.send(uvloop.run(_send(run, Stream(make, per_second))))


async def _send(run: RunSpec, stream: Stream) -> Phase:
    settings = run.config.overload
    wire = Wire(run.url, run.api_key, TIMEOUT_SECONDS)
    try:
        return await run_phase(FLOOD, wire, [stream], settings.seconds, settings.in_flight)
    finally:
        wire.close()
