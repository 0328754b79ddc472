"""What the benchmarks ask `/recommend` for."""

import json

import numpy as np

from benchmarks.http_load import request_bytes
from llmemb.bundle import Bundle

SEED = 42
HISTORIES = 256
HISTORY_ITEMS = 20


def recommend_requests(url: str, bundle: Bundle) -> list[bytes]:
    """Draw histories by popularity, and write each as a request; the same ones for the same bundle."""
    random = np.random.default_rng(SEED)
    popularity = bundle.items.popularity + 1.0
    rows = random.choice(len(popularity), (HISTORIES, HISTORY_ITEMS), p=popularity / popularity.sum())
    return [
        request_bytes(url, "/recommend", json.dumps({"history": [bundle.items.ids[row] for row in history]}).encode())
        for history in rows
    ]
