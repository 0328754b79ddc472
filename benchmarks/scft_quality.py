"""Quality of encoders without training a recommender: semantic nearest neighbours, ranked over the whole catalogue.

    python -m benchmarks.scft_quality --run runs/beauty untuned=FILE next=FILE ... [--components 384]

Each FILE is a `raw_embeddings.safetensors` of the run's items, float32 or float16; the whitening is fitted anew on
each. Prints one Markdown table. Validation targets are ranked among the warm items, by which choices are made; those of
the test and the cold ones among all items, and cold ones also among the cold items alone.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from llmemb.errors import DataError
from llmemb.scoring.projection import fit_reduction
from llmemb_training.config import EvaluateConfig
from llmemb_training.data.dataset import Dataset, Rows, Targets, read_dataset
from llmemb_training.data.splitting import tail_threshold
from llmemb_training.evaluation.baselines import semantic_knn_scorer
from llmemb_training.evaluation.ranking import Array, Ranks, Scorer, full_ranks, hit_rate, ndcg

COLUMNS = (
    "validation NDCG@10", "validation HR@10", "NDCG@10", "HR@10", "tail HR@10", "head HR@10", "cold NDCG@10",
    "cold HR@10", "cold HR@10 among cold",
)  # fmt: skip


def measure_neighbours(dataset: Dataset, raw: Array, components: int, config: EvaluateConfig) -> dict[str, float]:
    """Return each of `COLUMNS` for raw embeddings `(N, h)`; NaN if there are no targets.

    Args:
        dataset: the dataset of the embeddings.
        raw: raw embeddings; row r belongs to item row r.
        components: width of the whitened space; less if there are too few items.
        config: the number and weights of the items in a profile, and the tail share.

    Raises:
        DataError: the number of embeddings differs from the number of items.
    """
    if len(raw) != dataset.num_items:
        raise DataError(f"{len(raw):,} raw embeddings, but the dataset has {dataset.num_items:,} items")
    warm = raw[: dataset.num_warm]
    components = min(components, len(warm) - 1, raw.shape[1])
    reduced = fit_reduction(warm, components, "whiten", "--components").apply(raw)
    scorer = semantic_knn_scorer(reduced, config.knn_history, config.knn_decay)

    def ranks(scorer: Scorer, targets: Targets, num_items: int) -> Ranks:
        return full_ranks(scorer, targets, num_items, exclude_history=config.exclude_history)

    validation = ranks(_among(scorer, slice(dataset.num_warm)), dataset.validation, dataset.num_warm)
    test = ranks(scorer, dataset.test, dataset.num_items)
    cold = ranks(scorer, dataset.cold_targets, dataset.num_items)
    # Histories contain only warm items, so nothing is excluded among the cold ones.
    cold_items = Targets(
        dataset.cold_targets.user_ids, dataset.cold_targets.histories, dataset.cold_targets.rows - dataset.num_warm
    )
    among_cold = full_ranks(
        _among(scorer, slice(dataset.num_warm, None)),
        cold_items,
        dataset.num_items - dataset.num_warm,
        exclude_history=False,
    )
    counts = dataset.train_counts
    threshold = tail_threshold(counts[: dataset.num_warm], config.tail_share)
    is_tail = counts[dataset.test.rows] <= threshold
    figures = [
        ndcg(validation, 10), hit_rate(validation, 10), ndcg(test, 10), hit_rate(test, 10),
        hit_rate(test[is_tail], 10), hit_rate(test[~is_tail], 10), ndcg(cold, 10), hit_rate(cold, 10),
        hit_rate(among_cold, 10),
    ]  # fmt: skip
    return {name: _mean(values) for name, values in zip(COLUMNS, figures, strict=True)}


def _among(scorer: Scorer, items: slice) -> Scorer:
    """Score a subset of the items."""

    def score(histories: Sequence[Rows]) -> Array:
        return scorer(histories)[:, items]

    return score


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run folder with a prepared dataset")
    parser.add_argument("--components", type=int, default=384)
    parser.add_argument("files", nargs="+", metavar="NAME=FILE")
    given = parser.parse_args()
    dataset = read_dataset(given.run / "prepare")
    print("| | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|", sep="\n")
    for entry in given.files:
        name, _, path = entry.rpartition("=")
        (raw,) = load_file(path or entry).values()
        figures = measure_neighbours(dataset, raw.astype(np.float32), given.components, EvaluateConfig())
        line = " | ".join(f"{value:.4f}".replace("0.", ".", 1) for value in figures.values())
        print(f"| {name or path} | {line} |", flush=True)


if __name__ == "__main__":
    main()
