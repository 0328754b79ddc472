"""Replay of recent queries with a new bundle before it becomes current: does it answer, and does it agree?"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from llmemb_service.errors import DeadlineError, RetryLaterError
from llmemb_service.ranking.query import Query
from llmemb_service.ranking.recommender import Recommender

TOP = 10

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Replayed:
    """The result of a replay."""

    requests: int
    failed: int
    """Number of queries that the new bundle could not answer."""
    overlap_at_10: float | None
    """Mean share of the ten items that both bundles recommend; None if no query was answered by both."""


async def replay(before: Recommender, after: Recommender) -> Replayed:
    """Ask `after` what was last asked of `before`, and let it remember the same.

    Ids that only one of the two knows are passed over. A query that finds the service too busy counts for nothing.
    """
    requests, failed, overlaps = 0, 0, []
    for query in list(before.recent):
        asked = replace(query, k=TOP, explain=False, stored=True)
        try:
            old, new = await _top(before, asked), await _top(after, asked)
        except (RetryLaterError, DeadlineError):
            continue
        requests += 1
        if new is None:
            failed += 1
            continue
        after.recent.append(query)
        if old is not None:
            overlaps.append(overlap(old, new))
    return Replayed(requests, failed, sum(overlaps) / len(overlaps) if overlaps else None)


def overlap(one: Sequence[str], other: Sequence[str]) -> float:
    """Return the share of items that two lists have in common; 1 if both are empty."""
    longest = max(len(one), len(other))
    return len(set(one) & set(other)) / longest if longest else 1.0


async def _top(recommender: Recommender, query: Query) -> list[str] | None:
    """Return the ids that a recommender recommends, None if it fails."""
    try:
        return (await recommender.rank([query]))[0].item_ids
    except (RetryLaterError, DeadlineError):
        raise
    except Exception:
        logger.exception("a recent query fails")
        return None
