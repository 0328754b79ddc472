"""`llmemb_service.ranking.recommender`: what is recommended, by kind of item and as catalogue coverage."""

import asyncio
import gc
import weakref
from collections import Counter
from pathlib import Path

import pytest

from llmemb.api.recommend import Filters
from llmemb_service.ranking.query import Query
from llmemb_service.ranking.recommender import KINDS, DistinctIds, kind_of
from llmemb_service.storage.changes import EmbeddedBy, PutItem, RemoveItem
from tests.support.recommending import Recommending, recommending


def counted(parts: Recommending) -> dict[str, float]:
    """The counts that are not 0."""
    labels = f'bundle="{parts.bundle.manifest.id}"'
    counts = {kind: parts.metric(f'llmemb_recommended_items_total{{{labels},kind="{kind}"}}') for kind in KINDS}
    return {kind: count for kind, count in counts.items() if count}


def test_items_are_counted_by_their_kind(tiny_bundle: Path) -> None:
    """Every item of the catalogue once: each kind as often as there are items of it."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            vector = parts.bundle.semantic[0]
            put = PutItem("new", '{"title":"x"}', None, None, EmbeddedBy(parts.bundle.manifest.id, vector))
            parts.change(put)
            await parts.recommender.recommend(Query(history=["1"], k=100, exclude_history=False))

            snapshot, counts = parts.snapshot, counted(parts)
            rows = [snapshot.row(item_id) for item_id in [*parts.bundle.items.ids, "new"]]
            assert counts == Counter(kind_of(snapshot, row) for row in rows if row is not None)
            assert (counts["added"], counts["cold"]) == (1, 4)
            assert counts["tail"] > counts["head"] > 0

    asyncio.run(run())


def test_items_by_popularity_are_fallbacks(tiny_bundle: Path) -> None:
    """Whatever their kind."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            await parts.recommender.recommend(Query(k=3))
            await parts.recommender.recommend_after([])

            assert counted(parts) == {"fallback": 3}
            assert parts.metric("llmemb_fallbacks_total") == 1

    asyncio.run(run())


def test_coverage_is_the_share_that_was_recommended_once(tiny_bundle: Path) -> None:
    """The same items again add nothing."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            coverage = f'llmemb_coverage{{bundle="{parts.bundle.manifest.id}"}}'
            for ids in (["1", "2"], ["2", "3", "4"], ["1", "4"]):
                await parts.recommender.recommend(Query(history=["5"], filters=Filters(allow=ids)))

            assert parts.metric(coverage) == pytest.approx(4 / 40, rel=1e-4)

    asyncio.run(run())


def test_state_that_was_recommended_from_is_freed_when_it_changes(tiny_bundle: Path) -> None:
    """Before the next recommendation, which the previous bundle may never get."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            await parts.recommender.recommend(Query(history=["1"]))
            old = weakref.ref(parts.snapshot)
            parts.change(RemoveItem("2"))
            gc.collect()

            assert old() is None

    asyncio.run(run())


@pytest.mark.parametrize("number", [0, 1, 1000, 20_000])
def test_distinct_ids_are_estimated_in_little_memory(number: int) -> None:
    """Even where there are several ids to a bit."""
    distinct = DistinctIds(bits=2**13)
    for _ in range(2):
        for item in range(number):
            distinct.add(f"item-{item}")

    assert distinct.estimate() == pytest.approx(number, rel=0.1, abs=0.01)
