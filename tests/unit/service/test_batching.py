import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import numpy as np
import pytest

from service.batching import Array, EmbeddingQueue
from service.errors import NotReadyError, OverloadedError
from service.metrics import Metrics
from tests.support.service import wait_until


class LengthEncoder:
    """Embeds a prompt as its length; a word is a token. Keeps its batches, and waits at the gate."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        if "untokenizable" in prompts:
            raise ValueError("untokenizable")
        return [[1] * len(prompt.split()) for prompt in prompts]

    def encode(self, prompts: Sequence[str], batch_tokens: int) -> Array:
        self.entered.set()
        self.gate.wait()
        self.batches.append(list(prompts))
        if "bad" in prompts:
            raise ValueError("bad prompt")
        if "deadly" in prompts:
            raise SystemExit
        return np.array([[len(prompt)] for prompt in prompts], dtype=np.float32)


@asynccontextmanager
async def open_queue(
    encoder: LengthEncoder, *, batch_tokens: int = 8, max_items: int = 100
) -> AsyncIterator[EmbeddingQueue]:
    queue = EmbeddingQueue(encoder, batch_tokens=batch_tokens, max_items=max_items, metrics=Metrics())
    queue.start()
    try:
        yield queue
    finally:
        encoder.gate.set()
        await asyncio.to_thread(queue.close)


async def hold(encoder: LengthEncoder, queue: EmbeddingQueue) -> "asyncio.Task[list[Array]]":
    """Keep the worker busy with one prompt until the gate opens."""
    encoder.gate.clear()
    task = asyncio.create_task(queue.embed(["held"]))
    await asyncio.to_thread(encoder.entered.wait)
    return task


def test_queue_answers_in_the_order_of_the_prompts() -> None:
    """Batches are formed by length, the answer is in the caller's order."""

    async def check() -> None:
        async with open_queue(LengthEncoder()) as queue:
            vectors = await queue.embed(["a", "a b c d e f g", "a b", "a b c"])

            assert [float(vector[0]) for vector in vectors] == [1, 13, 3, 5]
            assert await queue.embed([]) == []

    asyncio.run(check())


def test_queue_bounds_batches_by_tokens_with_padding() -> None:
    """No batch has more than `batch_tokens`, but for a single prompt that alone has more."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder, batch_tokens=8) as queue:
            await queue.embed([*(["a b c"] * 5), "a " * 20, *(["a"] * 9)])

        sizes = [len(batch) * max(len(prompt.split()) for prompt in batch) for batch in encoder.batches]

        assert sorted(sizes)[-1] == 20
        assert all(size <= 8 for size in sorted(sizes)[:-1])
        assert sum(map(len, encoder.batches)) == 15

    asyncio.run(check())


def test_queue_shares_a_batch_between_requests() -> None:
    """What came in while the encoder was busy goes through it together."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder) as queue:
            held = await hold(encoder, queue)
            others = [asyncio.create_task(queue.embed([prompt])) for prompt in ("x", "y", "z")]
            await asyncio.sleep(0)
            encoder.gate.set()
            await asyncio.gather(held, *others)

        assert encoder.batches == [["held"], ["x", "y", "z"]]

    asyncio.run(check())


def test_queue_past_its_bound_refuses_and_says_when_to_come_again() -> None:
    """A request finds room for all its prompts or for none; places come back when work is done."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder, max_items=3) as queue:
            held = await hold(encoder, queue)
            with pytest.raises(OverloadedError) as refused:
                await queue.embed(["a", "b", "c"])
            encoder.gate.set()
            await held

            assert refused.value.retry_after_seconds >= 1
            assert len(await queue.embed(["a", "b", "c"])) == 3

    asyncio.run(check())


def test_queue_drops_the_prompts_of_a_caller_who_left() -> None:
    """Cancelled work never reaches the encoder and its places are free at once."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder, max_items=3) as queue:
            held = await hold(encoder, queue)
            left = asyncio.create_task(queue.embed(["left 1", "left 2"]))
            await asyncio.sleep(0)
            left.cancel()
            await asyncio.wait([left])
            stayed = asyncio.create_task(queue.embed(["stayed 1", "stayed 2"]))
            await asyncio.sleep(0)
            encoder.gate.set()
            await asyncio.gather(held, stayed)

        assert encoder.batches == [["held"], ["stayed 2", "stayed 1"]]

    asyncio.run(check())


def test_queue_survives_a_caller_who_leaves_during_the_batch() -> None:
    """The batch's result is thrown away and the next request is answered."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder) as queue:
            held = await hold(encoder, queue)
            held.cancel()
            await asyncio.wait([held])
            encoder.gate.set()

            assert len(await queue.embed(["next"])) == 1

    asyncio.run(check())


@pytest.mark.parametrize("prompt", ["bad", "untokenizable"])
def test_queue_fails_only_the_requests_of_a_failing_batch(prompt: str) -> None:
    """The others, and those that come after, are answered."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder, batch_tokens=1) as queue:
            held = await hold(encoder, queue)
            failing = asyncio.create_task(queue.embed([prompt]))
            other = asyncio.create_task(queue.embed(["other"]))
            await asyncio.sleep(0)
            encoder.gate.set()
            await held

            with pytest.raises(ValueError, match=prompt):
                await failing
            assert len(await other) == 1
            assert len(await queue.embed(["later"])) == 1

    asyncio.run(check())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # its death is the test
def test_queue_with_a_dead_worker_fails_what_waits_and_what_comes() -> None:
    """Nobody waits for a thread that is gone."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder) as queue:
            held = await hold(encoder, queue)
            deadly = asyncio.create_task(queue.embed(["deadly"]))
            await asyncio.sleep(0)
            encoder.gate.set()
            await held
            with pytest.raises(NotReadyError):
                await deadly
            await asyncio.to_thread(wait_until, lambda: not queue.alive, "the worker ends")

            with pytest.raises(NotReadyError):
                await queue.embed(["late"])

    asyncio.run(check())


def test_queue_closed_fails_what_still_waits() -> None:
    """Closing ends after the running batch; the rest hears that the encoder has stopped."""

    async def check() -> None:
        encoder = LengthEncoder()
        async with open_queue(encoder) as queue:
            held = await hold(encoder, queue)
            waiting = asyncio.create_task(queue.embed(["waiting"]))
            await asyncio.sleep(0)
            closing = asyncio.create_task(asyncio.to_thread(queue.close))
            await asyncio.sleep(0.05)
            encoder.gate.set()
            await closing

            assert len(await held) == 1
            with pytest.raises(NotReadyError):
                await waiting

    asyncio.run(check())
