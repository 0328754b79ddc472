"""`llmemb_service.ranking.replay`: recent queries, asked of a bundle before it takes over."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from llmemb.bundle import read_bundle
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_service.ranking.query import Query
from llmemb_service.ranking.replay import overlap, replay
from tests.support.recommending import gated, recommending


def test_the_same_bundle_agrees_with_itself(tiny_bundle: Path) -> None:
    """All is answered, remembered by the new one, and counted by neither."""

    async def run() -> None:
        async with recommending(tiny_bundle) as before, recommending(tiny_bundle) as after:
            queries = [Query(history=["1"]), Query(history=["2", "3"], k=2, explain=True), Query()]
            await before.recommender.recommend_many(queries)
            replayed = await replay(before.recommender, after.recommender)

            assert (replayed.requests, replayed.failed, replayed.overlap_at_10) == (3, 0, 1.0)
            assert list(after.recommender.recent) == queries
            assert after.metric("llmemb_fallbacks_total") == 0

    asyncio.run(run())


def test_another_bundle_differs(tiny_bundle: Path, full_bundle: Path) -> None:
    """Ids that it does not know are no failure."""

    async def run() -> None:
        async with recommending(tiny_bundle) as before, recommending(full_bundle) as after:
            before.recommender.recent.append(Query(history=["1", "only here once"]))
            replayed = await replay(before.recommender, after.recommender)

            assert replayed.failed == 0
            assert replayed.overlap_at_10 is not None
            assert 0 <= replayed.overlap_at_10 < 1

    asyncio.run(run())


def test_what_the_new_bundle_cannot_answer_is_counted(tiny_bundle: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Its sequence model does not fit its items."""
    bundle = read_bundle(tiny_bundle)
    broken = replace(bundle, sequence_model=build_sequence_model(SequenceModelSpec(dim=bundle.manifest.dim - 1)).eval())

    async def run() -> None:
        async with recommending(tiny_bundle) as before, recommending(broken) as after:
            await before.recommender.recommend_many([Query(history=["1"]), Query()])
            replayed = await replay(before.recommender, after.recommender)

            assert (replayed.requests, replayed.failed, replayed.overlap_at_10) == (2, 1, 1.0)
            assert "a recent query fails" in caplog.text

    asyncio.run(run())


def test_a_busy_service_says_nothing_of_the_bundle(tiny_bundle: Path) -> None:
    """What found no answer in time counts for nothing."""
    bundle, gate = gated(read_bundle(tiny_bundle))

    async def run() -> None:
        async with recommending(tiny_bundle) as before:
            await before.recommender.recommend(Query(history=["1"]))
            async with recommending(bundle, rank_timeout_seconds=0.05) as after:
                replayed = await replay(before.recommender, after.recommender)
                gate.open.set()

            assert (replayed.requests, replayed.failed, replayed.overlap_at_10) == (0, 0, None)

    asyncio.run(run())


@pytest.mark.parametrize(("one", "other", "share"), [("", "", 1), ("ab", "ab", 1), ("abcd", "dx", 0.25), ("a", "", 0)])
def test_overlap_is_of_the_longer_list(one: str, other: str, share: float) -> None:
    """Two lists that are both empty agree."""
    assert overlap(list(one), list(other)) == share
