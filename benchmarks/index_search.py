"""The index kinds against plain FAISS, unfiltered and filtered: query time and recall.

    python -m benchmarks.index_search --bundle runs/demo/bundle [--items 1000000] [--queries 200] [--rounds 3]

Writes `results/index_search.json` and `results/index_search.md`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np

from benchmarks.large_bundle import noisy, sessions
from benchmarks.results import Row, compare, make_results, write_results
from llmemb.bundle import read_bundle
from llmemb.index import Array, Hits, ItemIndex, RowFilter, choose_spec, tuned

SEED = 42
K = 10
SHARES = (1.0, 0.5, 0.1, 0.01)
"""Shares of the rows that pass the filter."""
KINDS = ("flat", "ivf", "hnsw")
BATCHES = (1, 32)
"""Batch sizes for queries; the service also searches for all waiting requests together."""
HNSW_ITEMS = 200_000
"""Maximum number of items for HNSW; building the graph takes too long above it."""
NOTES = (
    "Vectors: the bundle's item vectors, repeated with noise. Queries: session vectors of histories drawn from them, "
    "half to tune the index on and half to measure. Ten items asked for, one query at a time, one thread.",
    "Peer: FAISS `IndexFlatIP`, with `IDSelectorBitmap` where not all rows pass. Recall: share of its ten that ours "
    "found, beside its own 1.",
    "IVF called directly: FAISS on the very same index in memory, looking into as many cells as ours does, {cells[0]}, "
    "or into as few as find as much of these queries' ten best, {cells[1]}; ours is tuned on others.",
    "Index built and tuned in: {built}.",
)


def main() -> None:
    """Measure every kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    bundle = read_bundle(options.bundle)
    random = np.random.default_rng(SEED)
    vectors = noisy(bundle.item_vectors, options.items, random)
    tuning, queries = np.split(sessions(bundle, 2 * options.queries, random), 2)
    exact = faiss.IndexFlatIP(vectors.shape[1])
    exact.add(vectors)
    masks = {share: random.random(options.items) < share for share in SHARES}
    rows: list[Row] = []
    built: dict[str, float] = {}
    cells = (0, 0)
    for kind in KINDS:
        if kind == "hnsw" and options.items > HNSW_ITEMS:
            continue
        started = time.perf_counter()
        index = tuned(ItemIndex.build(vectors, choose_spec(options.items, kind)), vectors, tuning)
        built[kind] = time.perf_counter() - started
        for share, mask in masks.items():
            rows += _compare(kind, index, exact, queries, share, mask, options.rounds)
        if kind == "ivf":
            beside, cells = _beside_faiss(index, exact, queries, options.rounds)
            rows += beside
    results = make_results(
        "index_search",
        f"The index beside plain FAISS, {options.items:,} items of width {vectors.shape[1]}",
        rows,
        settings={"queries": str(options.queries), "rounds": str(options.rounds), "seed": str(SEED)},
        peer_versions={"faiss": faiss.__version__},
        notes=[
            note.format(built=", ".join(f"{kind} {spent:.0f} s" for kind, spent in built.items()), cells=cells)
            for note in NOTES
        ],
    )
    write_results(results)


def _compare(
    kind: str,
    index: ItemIndex,
    exact: faiss.IndexFlatIP,
    queries: Array,
    share: float,
    mask: np.ndarray,
    rounds: int,
) -> list[Row]:
    row_filter = RowFilter() if share == 1 else RowFilter(mask=mask)
    bits = np.packbits(mask, bitorder="little")
    parameters = None if share == 1 else faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))

    def ours(query: Array) -> Hits:
        return index.search(query[None], [K], [row_filter])[0]

    def peer(query: Array) -> np.ndarray:
        return exact.search(query[None], K, params=parameters)[1][0]

    mine, theirs = [], []
    for _ in range(rounds):
        mine.append(_milliseconds(ours, queries))
        theirs.append(_milliseconds(peer, queries))
    found = [np.isin(ours(query).rows, peer(query)).mean() for query in queries]
    name = f"{kind}, {share:.0%} pass"
    return [
        compare(f"{name}, a query", "ms", mine, theirs),
        compare(f"{name}, recall@{K} ({index.spec.recall_at_10} stated)", "", [float(np.mean(found))], [1.0]),
    ]


def _beside_faiss(
    index: ItemIndex, exact: faiss.IndexFlatIP, queries: Array, rounds: int
) -> tuple[list[Row], tuple[int, int]]:
    """Compare with FAISS's IVF; return the rows and FAISS's numbers of probed cells: ours, and the fewest possible."""
    with tempfile.TemporaryDirectory() as folder:
        index.write(Path(folder) / "index.faiss")
        direct = faiss.read_index(str(Path(folder) / "index.faiss"))
    # Both sides share one copy, because the memory location of an index changes the rate by up to 10 %.
    beside = ItemIndex(direct, index.spec)
    wanted = exact.search(queries, K)[1]

    def ours(some: Array) -> list[Hits]:
        return beside.search(some, [K] * len(some), [RowFilter()] * len(some))

    def peer(some: Array) -> np.ndarray:
        return direct.search(some, K)[1]

    counts = faiss.cvar.indexIVF_stats
    counts.reset()
    found = _recall(np.stack([hits.rows for hits in ours(queries)]), wanted)
    same = counts.nlist // counts.nq
    direct.nprobe = 1
    while _recall(peer(queries), wanted) < found and direct.nprobe < direct.nlist:
        direct.nprobe += 1
    fewest = direct.nprobe
    rows = []
    for size in BATCHES:
        batches = [queries[start : start + size] for start in range(0, len(queries) - size + 1, size)]
        mine: list[float] = []
        theirs: dict[int, list[float]] = {same: [], fewest: []}
        for _ in range(rounds):
            mine.append(1000 * size / _milliseconds(ours, batches))
            for cells, rates in theirs.items():
                direct.nprobe = cells
                rates.append(1000 * size / _milliseconds(peer, batches))
        name = f"ivf, recall@{K} {found:.3f}, {size} together; FAISS called directly"
        rows.append(compare(f"{name}, same parameters", "queries/s", mine, theirs[same], (">=", 0.9)))
        rows.append(compare(f"{name}, fewest cells", "queries/s", mine, theirs[fewest]))
    return rows, (same, fewest)


def _recall(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.mean([np.isin(best, rows).mean() for rows, best in zip(found, wanted, strict=True)]))


def _milliseconds(search: Callable[[Array], object], queries: Sequence[Array] | Array) -> float:
    started = time.perf_counter()
    for query in queries:
        search(query)
    return 1000 * (time.perf_counter() - started) / len(queries)


if __name__ == "__main__":
    main()
