"""Cost of an IVF index as a function of the number of items, with the exponent by which each cost grows.

    python -m benchmarks.index_growth --bundle runs/demo/bundle [--items 100000 1000000 10000000]

Uses one thread and processor time, so that other work on the machine matters less. Ten million items of width
192 take 16 GB of memory and about half an hour. Writes `results/index_growth.json` and `results/index_growth.md`.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import torch

from benchmarks.large_bundle import noisy, sessions
from benchmarks.results import Row, compare, make_results, write_results
from llmemb.bundle import Bundle, read_bundle
from llmemb.index import ItemIndex, RowFilter, choose_spec, tuned

SEED = 42
K = 10
QUERIES = 200
ROUNDS = 3
NOTES = (
    "Vectors: the bundle's item vectors, repeated with noise. Each row sets one size beside the next smaller one; the "
    "power p is that of n to which the figure grows, and the aim is what n log n would come to.",
    "Built: cells fitted and items put into them. Tuned: the exact ten best of 200 session vectors, and the searches "
    "that find how many cells to look into for 99 % of them. A query: one at a time, ten items asked for, as tuned.",
)


@dataclass(frozen=True, slots=True)
class Growth:
    """Costs of an index with a number of items; times are processor times."""

    items: int
    cells: int
    probes: int
    recall: float
    built_seconds: float
    tuned_seconds: float
    query_milliseconds: list[float]
    megabytes: float
    """Size of the index file, which equals its memory."""


def main() -> None:
    """Measure each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--items", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    torch.set_num_threads(1)
    bundle = read_bundle(options.bundle)
    grown = []
    for items in options.items:
        grown.append(measure(bundle, items))
        print(grown[-1], flush=True)
    each = "; ".join(
        f"{one.items:,} items: {one.cells:,} cells, {one.probes} looked into at least, recall@10 {one.recall:.3f}"
        for one in grown
    )
    results = make_results(
        "index_growth",
        f"The index as it grows, width {bundle.space.width}",
        [row for small, large in pairwise(grown) for row in rows_of(small, large)],
        settings={"queries": str(QUERIES), "rounds": str(ROUNDS), "seed": str(SEED), "threads": "1"},
        peer_versions={"faiss": faiss.__version__},
        notes=[*NOTES, f"{each}."],
    )
    write_results(results)


def measure(bundle: Bundle, items: int) -> Growth:
    """Build, tune and query an index with a number of items."""
    random = np.random.default_rng(SEED)
    vectors = noisy(bundle.item_vectors, items, random)
    tuning, queries = np.split(sessions(bundle, 2 * QUERIES, random), 2)
    began = time.process_time()
    index = ItemIndex.build(vectors, choose_spec(items, "ivf"))
    built = time.process_time()
    index = tuned(index, vectors, tuning)
    ended = time.process_time()
    spec = index.spec
    assert spec.ivf is not None
    with tempfile.TemporaryDirectory() as folder:
        index.write(Path(folder) / "index.faiss")
        megabytes = (Path(folder) / "index.faiss").stat().st_size / 1e6
    return Growth(
        items=items,
        cells=spec.ivf.cells,
        probes=spec.ivf.probes,
        recall=spec.recall_at_10,
        built_seconds=built - began,
        tuned_seconds=ended - built,
        query_milliseconds=[_milliseconds(index, queries) for _ in range(ROUNDS)],
        megabytes=megabytes,
    )


def _milliseconds(index: ItemIndex, queries: np.ndarray) -> float:
    began = time.process_time()
    for query in queries:
        index.search(query[None], [K], [RowFilter()])
    return 1000 * (time.process_time() - began) / len(queries)


def rows_of(small: Growth, large: Growth) -> list[Row]:
    """Compare an index with a smaller one."""
    times = large.items / small.items
    most = times * math.log(large.items) / math.log(small.items)

    def row(name: str, unit: str, ours: Sequence[float], peer: Sequence[float]) -> Row:
        power = math.log(float(np.median(ours) / np.median(peer))) / math.log(times)
        name = f"{large.items:,} items; {small.items:,}: {name}, p {power:.2f}"
        return compare(name, unit, ours, peer, ("<=", round(most, 1)))

    return [
        row("built", "s", [large.built_seconds], [small.built_seconds]),
        row("tuned", "s", [large.tuned_seconds], [small.tuned_seconds]),
        row("a query", "ms", large.query_milliseconds, small.query_milliseconds),
        row("its file", "MB", [large.megabytes], [small.megabytes]),
    ]


if __name__ == "__main__":
    main()
