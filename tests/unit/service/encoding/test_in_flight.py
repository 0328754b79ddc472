import asyncio
from collections.abc import Sequence

import numpy as np
import pytest

from llmemb_service.encoding.embedder import InFlight
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from llmemb_service.errors import EncoderUnavailableError


class GatedEncoder:
    """Embeds a prompt as its length once the gate is open; keeps its calls and those that were cancelled."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.cancelled: list[list[str]] = []
        self.gate = asyncio.Event()

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        self.calls.append(list(prompts))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(list(prompts))
            raise
        if "bad" in prompts:
            raise EncoderUnavailableError("gone")
        return [RawEmbedding(np.array([len(prompt)], dtype=np.float32), len(prompt)) for prompt in prompts]

    async def fault(self) -> str | None:
        return None

    async def close(self) -> None:
        pass


async def begun(in_flight: InFlight, *prompts: str) -> "asyncio.Task[list[RawEmbedding]]":
    task = asyncio.create_task(in_flight.encode(prompts))
    for _ in range(3):  # into the encoder
        await asyncio.sleep(0)
    return task


def test_in_flight_computes_a_prompt_once() -> None:
    """A later caller waits for what is under way, and asks for the rest alone; a prompt may come twice in one call."""

    async def check() -> None:
        encoder = GatedEncoder()
        in_flight = InFlight(encoder)
        first = await begun(in_flight, "a", "bb", "a")
        second = await begun(in_flight, "bb", "ccc")
        encoder.gate.set()

        assert [embedding.tokens for embedding in await first] == [1, 2, 1]
        assert [embedding.tokens for embedding in await second] == [2, 3]
        assert encoder.calls == [["a", "bb"], ["ccc"]]

    asyncio.run(check())


def test_in_flight_cancels_one_caller_and_not_the_other() -> None:
    """The call goes on while somebody waits for it, whoever began it."""

    async def check() -> None:
        encoder = GatedEncoder()
        in_flight = InFlight(encoder)
        first = await begun(in_flight, "a")
        second = await begun(in_flight, "a")
        first.cancel()
        await asyncio.wait([first])
        encoder.gate.set()

        assert (await second)[0].tokens == 1
        assert encoder.calls == [["a"]]
        assert encoder.cancelled == []

    asyncio.run(check())


def test_in_flight_cancels_the_call_with_its_last_caller() -> None:
    """It has no waiters left; the next caller starts a new one."""

    async def check() -> None:
        encoder = GatedEncoder()
        in_flight = InFlight(encoder)
        callers = [await begun(in_flight, "a"), await begun(in_flight, "a")]
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        third = await begun(in_flight, "a")
        encoder.gate.set()

        assert (await third)[0].tokens == 1
        assert encoder.cancelled == [["a"]]
        assert encoder.calls == [["a"], ["a"]]

    asyncio.run(check())


def test_in_flight_tells_every_caller_of_a_failure_and_forgets_it() -> None:
    """Both hear of it; the next caller asks the encoder again."""

    async def check() -> None:
        encoder = GatedEncoder()
        in_flight = InFlight(encoder)
        callers = [await begun(in_flight, "bad"), await begun(in_flight, "bad", "a")]
        encoder.gate.set()
        for caller in callers:
            with pytest.raises(EncoderUnavailableError):
                await caller

        with pytest.raises(EncoderUnavailableError):
            await in_flight.encode(["bad"])
        assert len(encoder.calls) == 3

    asyncio.run(check())
