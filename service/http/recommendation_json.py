"""Recommendations as JSON, put together from texts that are JSON already: the attributes, as they are stored.

Reading each item's attributes only to write them again would take longer than finding the items. What comes out is a
`RecommendResponse`; a test holds it to that.
"""

import json
from collections.abc import Sequence

from service.ranking.recommendation import Reason, Recommendation


def recommendation_json(bundle_id: str, recommendation: Recommendation) -> str:
    """Write the answer of `/recommend`."""
    snapshot, explanation = recommendation.snapshot, recommendation.explanation
    texts = snapshot.texts(recommendation.rows.tolist())
    items = ",".join(
        [
            f'{{"id":{_text(item_id)},"score":{score!r},"attributes":{attributes_json},'
            f'"reasons":{"null" if explanation is None else _reasons(explanation.reasons(place))}}}'
            for place, ((item_id, attributes_json), score) in enumerate(
                zip(texts, recommendation.scores.tolist(), strict=True)
            )
        ]
    )
    fallback = '"popular"' if recommendation.by_popularity else "null"
    return f'{{"bundle_id":{_text(bundle_id)},"items":[{items}],"fallback":{fallback}}}'


def batch_json(results: Sequence[str]) -> str:
    """Write the answer of `/recommend/batch` from those of its requests."""
    return f'{{"results":[{",".join(results)}]}}'


def _reasons(reasons: Sequence[Reason]) -> str:
    return "[{}]".format(
        ",".join(
            f'{{"position":{reason.position},"id":{"null" if reason.id is None else _text(reason.id)},'
            f'"contribution":{reason.contribution!r}}}'
            for reason in reasons
        )
    )


_text = json.encoder.encode_basestring
