"""A part of the score alone: collaborative, semantic, popular."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from llmemb.api.recommend import Strategy
from llmemb.scoring.session import session_vectors
from llmemb_service.ranking.query import Query
from tests.support.recommending import recommending
from tests.support.service import HEAT, make_settings, running

HISTORY = ["3", "9", "4"]


@pytest.mark.parametrize("strategy", ["collaborative", "semantic", "successors"])
def test_score_is_the_part(full_bundle: Path, strategy: Strategy) -> None:
    """The sequence model's, the profile vectors' or the successor vectors'; reasons sum up the same part."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            bundle, dim = parts.bundle, parts.bundle.space.dim
            part = slice(0, dim) if strategy == "collaborative" else slice(dim, None)
            rows = np.array([bundle.items.rows[item_id] for item_id in HISTORY])
            history = bundle.history_vectors(bundle.item_vectors[rows], rows)
            if strategy == "semantic":
                history = history[:, : bundle.space.width]
            if strategy == "successors":
                history[:, dim : bundle.space.width] = 0
            session = session_vectors(bundle.sequence_model, [history], bundle.semantic_term)[0]
            expected = bundle.item_vectors[:, part] @ session[part]
            expected[[bundle.items.rows[item_id] for item_id in HISTORY]] = -np.inf
            found = await parts.recommender.recommend(Query(history=HISTORY, k=5, strategy=strategy, explain=True))

            assert found.item_ids == [bundle.items.ids[row] for row in np.argsort(-expected, kind="stable")[:5]]
            np.testing.assert_allclose(found.scores, np.sort(expected)[::-1][:5], atol=1e-4)
            assert found.explanation is not None
            without = session_vectors(bundle.sequence_model, [history[:2]], bundle.semantic_term)[0]
            fall = bundle.item_vectors[found.rows[0], part] @ (session - without)[part]
            last = {reason.position: reason.contribution for reason in found.explanation.reasons(0)}
            assert last[2] == pytest.approx(float(fall), abs=1e-4)

    asyncio.run(run())


def test_popular_passes_the_history_over(full_bundle: Path) -> None:
    """It only says what must not come, and an entry by attributes need not be embedded."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            popular = await parts.recommender.recommend(Query(k=10))
            out = popular.item_ids[0]
            asked = Query(history=[out, {"title": "x"}], k=9, strategy="popular", explain=True)
            found = await parts.recommender.recommend(asked)

            assert found.by_popularity
            assert found.item_ids == popular.item_ids[1:]

    asyncio.run(run())


def test_only_the_whole_score_is_replayed(full_bundle: Path) -> None:
    """A new bundle need not have every part."""

    async def run() -> None:
        async with recommending(full_bundle) as parts:
            await parts.recommender.recommend(Query(history=HISTORY, strategy="semantic"))
            assert not parts.recommender.recent

    asyncio.run(run())


def test_route_takes_a_strategy_and_a_loaded_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    """And names what it cannot do: another bundle, and a part that this one has not."""
    with running(make_settings(tiny_bundle, tmp_path / "state")) as client:
        current = client.get("/info").json()["bundle_id"]
        whole = client.post("/recommend", json={"history": HISTORY}).json()
        named = client.post("/recommend", json={"history": HISTORY, "bundle_id": current}).json()
        alone = client.post("/recommend", json={"history": HISTORY, "strategy": "collaborative"}).json()
        other = client.post("/recommend", json={"history": [{"attributes": HEAT}], "bundle_id": "0" * 16})
        missing = [{"history": [], "strategy": strategy} for strategy in ("all", "semantic", "successors")]
        batches = [client.post("/recommend/batch", json={"requests": [missing[0], each]}) for each in missing[1:]]

    assert whole == named
    assert [item["id"] for item in alone["items"]] == [item["id"] for item in whole["items"]]
    assert [(fault["loc"], fault["type"]) for fault in other.json()["errors"]] == [
        (["body", "bundle_id"], "unknown_bundle")
    ]
    assert [[(fault["loc"], fault["type"]) for fault in batch.json()["errors"]] for batch in batches] == [
        [(["body", "requests", 1, "strategy"], "no_semantic_term")],
        [(["body", "requests", 1, "strategy"], "no_successors")],
    ]
