"""`ranking.rank_queue`: a batch answers as one by one; excess, late or cancelled requests are not computed."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmemb.api.recommend import Filters
from llmemb.bundle import read_bundle
from llmemb_service.errors import DeadlineError, NotReadyError, OverloadedError
from llmemb_service.ranking.rank_queue import Ranking, RankQueue, RankRequest, rank_together
from tests.support.recommending import Gate, Recommending, gated, recommending
from tests.support.waiting import DEADLINE_SECONDS, wait_until


def request(parts: Recommending, *rows: int, **others: Any) -> RankRequest:
    """A request after items of the bundle."""
    made = RankRequest(
        bundle=parts.bundle, snapshot=parts.snapshot, history=rows, k=10, filters=Filters(), excluded=set(rows)
    )
    return replace(made, **others)


async def reached(gate: Gate) -> None:
    """Wait until a batch stands before the gate."""
    assert await asyncio.to_thread(gate.reached.wait, DEADLINE_SECONDS)
    gate.reached.clear()


def assert_alike(one: Ranking, other: Ranking) -> None:
    """The same rows, and scores that differ by no more than the order of a sum."""
    np.testing.assert_array_equal(one.hits.rows, other.hits.rows)
    np.testing.assert_allclose(one.hits.scores, other.hits.scores, atol=1e-4)
    assert (one.contributions is None) == (other.contributions is None)
    if one.contributions is not None and other.contributions is not None:
        np.testing.assert_allclose(one.contributions, other.contributions, atol=1e-4)


def test_a_batch_answers_as_one_by_one(full_bundle: Path, tiny_bundle: Path) -> None:
    """Whatever is mixed in it: lengths, numbers of items, filters, popularity, explanations, bundles, snapshots."""

    async def run() -> None:
        async with recommending(full_bundle) as full, recommending(tiny_bundle) as tiny:
            requests = [
                request(full, 3),
                request(full, 1, 2, 3, 4, k=3),
                request(full, k=5),
                request(full, *range(15), excluded=()),
                request(tiny, 7, 8, k=40),
                request(full, 4, 5, filters=Filters(categories_any=["Drama", "Comedy"], deny=["8"])),
                request(full, 4, 5, filters=Filters(allow=["1", "2", "no such id"])),
                request(full, 6, 7, explain=True),
                request(tiny, 9, filters=Filters(available=False)),
                request(full, 1, snapshot=replace(full.snapshot)),
            ]
            together = rank_together(requests)

            for one, ranking in zip(requests, together, strict=True):
                assert_alike(ranking, rank_together([one])[0])
            assert [len(ranking.hits.rows) for ranking in together[:3]] == [10, 3, 5]
            assert not len(together[8].hits.rows)
            for ranking, one in zip(await full.queue.rank(requests), together, strict=True):
                assert_alike(ranking, one)

    asyncio.run(run())


def test_what_waits_goes_together(tiny_bundle: Path) -> None:
    """As much as the setting allows; the first does not wait for others."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle, max_rank_batch_size=4) as parts:
            calls = [asyncio.ensure_future(parts.queue.rank([request(parts, 1)]))]
            await reached(gate)
            calls += [asyncio.ensure_future(parts.queue.rank([request(parts, row, k=row)])) for row in range(1, 7)]
            await asyncio.sleep(0)
            gate.open.set()
            answers = await asyncio.gather(*calls)

            assert gate.batches == [1, 4, 2]
            assert [len(ranking.hits.rows) for (ranking,) in answers[1:]] == [1, 2, 3, 4, 5, 6]
            assert parts.metric("llmemb_rank_batch_size_sum") == 7
            assert parts.metric("llmemb_queued_recommendations") == 0

    asyncio.run(run())


def test_what_comes_in_one_turn_of_the_loop_is_one_batch(tiny_bundle: Path) -> None:
    """The thread does not begin with the first of several that come together."""
    bundle, gate = gated(read_bundle(tiny_bundle))
    gate.open.set()

    async def run() -> None:
        async with recommending(bundle) as parts:
            for _ in range(5):
                await asyncio.gather(*(parts.queue.rank([request(parts, row)]) for row in range(1, 9)))

    asyncio.run(run())
    assert gate.batches == [8] * 5


def test_cancelled_request_is_not_computed(tiny_bundle: Path) -> None:
    """A cancelled request leaves the queue, and its place."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle) as parts:
            calls = [asyncio.ensure_future(parts.queue.rank([request(parts, 1)]))]
            await reached(gate)
            calls += [asyncio.ensure_future(parts.queue.rank([request(parts, row)])) for row in (2, 3, 4)]
            await asyncio.sleep(0)
            calls[2].cancel()
            gate.open.set()
            await asyncio.gather(*calls, return_exceptions=True)

            assert gate.batches == [1, 2]
            assert calls[2].cancelled()
            assert parts.metric("llmemb_queued_recommendations") == 0

    asyncio.run(run())


def test_a_full_queue_says_when_to_come_again(tiny_bundle: Path) -> None:
    """Several requests find room for all of them or none; afterwards there is room again."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle, max_queued_recommendations=3, max_client_batch_size=3) as parts:
            calls = [asyncio.ensure_future(parts.queue.rank([request(parts, row)])) for row in (1, 2)]
            await reached(gate)
            with pytest.raises(OverloadedError) as refused:
                await parts.queue.rank([request(parts, 3), request(parts, 4)])
            assert refused.value.retry_after_seconds >= 1
            assert parts.metric("llmemb_queued_recommendations") == 2
            gate.open.set()
            await asyncio.gather(*calls)

            assert len(await parts.queue.rank([request(parts, row) for row in (1, 2, 3)])) == 3

    asyncio.run(run())


def test_a_request_that_takes_too_long_is_given_up(tiny_bundle: Path) -> None:
    """It gets an error, and is not computed later."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle, rank_timeout_seconds=0.05) as parts:
            first = asyncio.ensure_future(parts.queue.rank([request(parts, 1)]))
            await reached(gate)
            with pytest.raises(DeadlineError):
                await parts.queue.rank([request(parts, 2), request(parts, 3)])
            with pytest.raises(DeadlineError):
                await first
            gate.open.set()
        assert gate.batches == [1]

    asyncio.run(run())


def test_only_the_request_at_fault_fails(tiny_bundle: Path) -> None:
    """Those of its batch are answered."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle) as parts:
            first = asyncio.ensure_future(parts.queue.rank([request(parts, 1)]))
            await reached(gate)
            wrong = request(parts, 2, history=[np.zeros(3, dtype=np.float32)])
            calls = [parts.queue.rank([each]) for each in (request(parts, 3), wrong, request(parts, 4))]
            both = asyncio.gather(*calls, return_exceptions=True)
            await asyncio.sleep(0)
            gate.open.set()
            answers = await both
            await first

            assert isinstance(answers[1], Exception)
            for answer, row in ((answers[0], 3), (answers[2], 4)):
                assert isinstance(answer, list)
                assert_alike(answer[0], rank_together([request(parts, row)])[0])
            with pytest.raises(type(answers[1])):
                await parts.queue.rank([request(parts, 5), wrong])
            assert parts.queue.alive

    asyncio.run(run())


def test_explanations_let_plain_requests_pass(tiny_bundle: Path) -> None:
    """One at a time, between two batches."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle) as parts:
            calls = [asyncio.ensure_future(parts.queue.rank([request(parts, 1)]))]
            await reached(gate)
            requests = [request(parts, 1, 2, 3, explain=True)] * 2 + [request(parts, row) for row in (4, 5)]
            calls += [asyncio.ensure_future(parts.queue.rank([each])) for each in requests]
            await asyncio.sleep(0)
            gate.open.set()
            answers = await asyncio.gather(*calls)

            # The history itself, then the history and the three without an entry.
            assert gate.batches == [1, 2, 1, 4, 1, 4]
            assert answers[1][0].contributions is not None
            assert answers[1][0].contributions.shape == (10, 3)

    asyncio.run(run())


def test_a_closed_queue_fails_what_waits(tiny_bundle: Path) -> None:
    """Requests in progress are still answered; new ones are refused."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(bundle) as parts:
            queue: RankQueue = parts.queue
            first = asyncio.ensure_future(queue.rank([request(parts, 1)]))
            await reached(gate)
            second = asyncio.ensure_future(queue.rank([request(parts, 2)]))
            await asyncio.sleep(0)
            closing = asyncio.ensure_future(asyncio.to_thread(queue.close))
            await asyncio.to_thread(wait_until, lambda: queue._closed, "the queue is closing")
            gate.open.set()
            await closing

            assert len((await first)[0].hits.rows) == 10
            with pytest.raises(NotReadyError):
                await second
            with pytest.raises(NotReadyError):
                await queue.rank([request(parts, 3)])
            assert not queue.alive

    asyncio.run(run())
