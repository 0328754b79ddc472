"""Examples of request bodies; they work against the MovieLens bundle of `make demo`."""

from typing import Any

HEAT = {"title": "Heat", "release_year": 1995, "genres": ["Action", "Crime", "Thriller"]}

EMBED_EXAMPLES: dict[str, Any] = {
    "embed": {
        "summary": "Embed one film",
        "value": {"items": [{"id": "heat", "attributes": HEAT}]},
    },
    "add": {
        "summary": "Embed a new film and put it in the catalogue",
        "value": {
            "items": [
                {
                    "id": "heat-2",
                    "attributes": {"title": "Heat 2", "release_year": 2026, "genres": ["Action", "Crime", "Thriller"]},
                }
            ],
            "index": True,
        },
    },
}

PUT_EXAMPLES: dict[str, Any] = {
    "film": {
        "summary": "A film that cannot be recommended yet",
        "value": {"attributes": HEAT, "categories": ["Action", "Crime"], "available": False},
    },
}

PATCH_EXAMPLES: dict[str, Any] = {
    "unavailable": {"summary": "Stop recommending it", "value": {"available": False}},
    "categories": {"summary": "Other categories", "value": {"categories": ["Crime"]}},
}

RECOMMEND_EXAMPLES: dict[str, Any] = {
    "ids": {
        "summary": "After two films of the catalogue",
        "value": {"history": ["50", "172"], "k": 5},
    },
    "new": {
        "summary": "After a film that is not in the catalogue",
        "value": {"history": ["50", {"attributes": HEAT}], "k": 5, "exclude_history": True},
    },
    "popular": {
        "summary": "For a new user: the most popular",
        "value": {"history": [], "k": 5},
    },
}

RECOMMEND_BATCH_EXAMPLES: dict[str, Any] = {
    "two": {
        "summary": "Two people at once",
        "value": {"requests": [{"history": ["50", "172"], "k": 5}, {"history": ["1"], "k": 5}]},
    },
}

EVENTS_EXAMPLES: dict[str, Any] = {
    "two": {
        "summary": "Two films were watched",
        "value": {"events": [{"item_id": "50"}, {"item_id": "172"}]},
    },
}
