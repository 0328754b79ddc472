"""`llmemb_service.ranking.recommender`: histories of ids, items and stored sessions -> the next items, and why."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from llmemb.api.recommend import Filters
from llmemb.bundle import read_bundle
from llmemb.errors import UnknownItemError
from llmemb.item import attributes_from_json
from llmemb.scoring.session import session_vectors
from llmemb_service.ranking.query import Query, Recommendation
from llmemb_service.storage.changes import EmbeddedBy, PutItem, RemoveItem
from tests.support.recommending import Recommending, recommending


def scores_by_hand(parts: Recommending, *item_ids: str) -> dict[str, float]:
    """The score of every item after a history, as the evaluator computes it."""
    bundle = parts.bundle
    rows = np.array([bundle.items.rows[item_id] for item_id in item_ids])
    history = bundle.history_vectors(bundle.item_vectors[rows], rows)
    session = session_vectors(bundle.sequence_model, [history], bundle.semantic_term)[0]
    return dict(zip(bundle.items.ids, (bundle.item_vectors @ session).tolist(), strict=True))


def scores(recommendation: Recommendation) -> dict[str, float]:
    """The items' scores by their ids."""
    return dict(zip(recommendation.item_ids, recommendation.scores.tolist(), strict=True))


def test_recommends_what_the_evaluator_ranks_first(full_bundle: Path) -> None:
    """The items of the history left out or not."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            by_hand = scores_by_hand(parts, "3", "9", "3")
            for exclude_history in (True, False):
                query = Query(history=["3", "9", "3"], k=7, exclude_history=exclude_history)
                found = scores(await parts.recommender.recommend(query))

                left = {item_id for item_id in by_hand if not (exclude_history and item_id in ("3", "9"))}
                best = sorted(left, key=lambda item_id: -by_hand[item_id])[:7]
                assert list(found) == best
                np.testing.assert_allclose(list(found.values()), [by_hand[item_id] for item_id in best], atol=1e-4)

    asyncio.run(run())


def test_unknown_ids_are_listed_each_once(tiny_bundle: Path) -> None:
    """Those of all histories of a batch together, and nothing is answered."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            queries = [Query(history=["x", "1", "y", "x"]), Query(history=["1"]), Query(history=["z"])]
            with pytest.raises(UnknownItemError) as refused:
                await parts.recommender.recommend_many(queries)

            assert refused.value.item_ids == ["x", "y", "z"]
            assert not parts.recommender.recent

    asyncio.run(run())


def test_a_stored_history_passes_over_what_is_gone(tiny_bundle: Path) -> None:
    """Where nothing is left the most popular items come."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            parts.change(RemoveItem("2"))
            left = await parts.recommender.recommend(Query(history=["1", "2", "never"], stored=True))
            nothing = await parts.recommender.recommend(Query(history=["2"], stored=True))

            assert scores(left) == pytest.approx(scores(await parts.recommender.recommend(Query(history=["1"]))))
            assert nothing.by_popularity
            assert "2" not in nothing.item_ids

    asyncio.run(run())


def test_without_a_history_the_most_popular_come(tiny_bundle: Path) -> None:
    """Of those that pass the filters."""

    async def run() -> None:
        async with recommending(tiny_bundle) as parts:
            popularity = dict(zip(parts.bundle.items.ids, parts.bundle.items.popularity.tolist(), strict=True))
            all_items = await parts.recommender.recommend(Query(k=5))
            two = await parts.recommender.recommend(Query(filters=Filters(allow=["7", "8"])))

            assert all_items.by_popularity
            assert list(scores(all_items).values()) == sorted(popularity.values(), reverse=True)[:5]
            assert scores(two) == {item_id: popularity[item_id] for item_id in two.item_ids}
            assert set(two.item_ids) == {"7", "8"}

    asyncio.run(run())


def test_items_by_attributes_take_part_in_their_places(full_bundle: Path) -> None:
    """An item of the bundle by its attributes has no residual; else it counts as its id does."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            last = parts.bundle.items.ids[-1]  # without interactions, so without a residual
            attributes = attributes_from_json(parts.snapshot.attributes_json(parts.bundle.items.rows[last]))
            by_id = await parts.recommender.recommend(Query(history=["4", last, "5"], exclude_history=False))
            inline = await parts.recommender.recommend(Query(history=["4", attributes, "5"], exclude_history=False))

            assert inline.item_ids == by_id.item_ids
            np.testing.assert_allclose(inline.scores, by_id.scores, atol=1e-3)
            assert [list(query.history) for query in parts.recommender.recent] == [["4", last, "5"]]

    asyncio.run(run())


@pytest.mark.parametrize("length", [1, 3, 14])
def test_reasons_are_what_a_history_without_the_entry_scores(full_bundle: Path, length: int) -> None:
    """Sorted, with positions in the history as it was sent; longer histories have reasons for what is read."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            history = [str(1 + 5 * place % 38) for place in range(length)]
            query = Query(history=history, explain=True, exclude_history=False, k=4)
            recommendation = await parts.recommender.recommend(query)
            whole = scores_by_hand(parts, *history)

            explanation = recommendation.explanation
            assert explanation is not None
            for place, item_id in enumerate(recommendation.item_ids):
                reasons = explanation.reasons(place)
                assert sorted(reason.position for reason in reasons) == list(range(length))[-10:]
                falls = [reason.contribution for reason in reasons]
                assert falls == sorted(falls, reverse=True)
                for reason in reasons:
                    assert reason.id == history[reason.position]
                    rest = [entry for i, entry in enumerate(history) if i != reason.position]
                    without = scores_by_hand(parts, *rest)[item_id] if rest else 0.0
                    assert reason.contribution == pytest.approx(whole[item_id] - without, abs=1e-3)

    asyncio.run(run())


def test_positions_count_what_is_passed_over(full_bundle: Path) -> None:
    """They are those of the session as it is kept; popularity has no reasons."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            query = Query(history=["never", "5", "gone", "6"], stored=True, explain=True)
            explained = (await parts.recommender.recommend(query)).explanation
            popular = (await parts.recommender.recommend(Query(explain=True))).explanation

            assert explained is not None
            assert popular is not None
            assert sorted((reason.position, reason.id) for reason in explained.reasons(0)) == [(1, "5"), (3, "6")]
            assert popular.reasons(0) == []

    asyncio.run(run())


def test_only_so_many_queries_are_remembered(tiny_bundle: Path) -> None:
    """The latest; checks are not among them."""

    async def run() -> None:
        async with recommending(tiny_bundle, replay_requests=2) as parts:
            for item_id in "1234":
                await parts.recommender.recommend(Query(history=[item_id]))
            await parts.recommender.recommend_after(["5"])

            assert [query.history for query in parts.recommender.recent] == [["3"], ["4"]]

    asyncio.run(run())


def test_an_added_item_is_recommended_and_read(tiny_bundle: Path) -> None:
    """By its semantic vector alone."""
    bundle = read_bundle(tiny_bundle)
    vector = bundle.semantic[3]

    async def run() -> None:
        async with recommending(bundle) as parts:
            parts.change(PutItem("new", '{"title":"x"}', None, None, EmbeddedBy(bundle.manifest.id, vector)))
            after = await parts.recommender.recommend(Query(history=["new"]))
            only = await parts.recommender.recommend(Query(history=["1"], filters=Filters(allow=["new"])))

            assert len(after.rows) == 10
            assert only.item_ids == ["new"]

    asyncio.run(run())
