"""Reproduction of published SASRec results on the public Beauty file, without item texts.

    python -m benchmarks.sasrec_reproduction --sequences beauty.txt [--losses softmax bce] ...

The file is `data/beauty.txt` of github.com/FeiSun/BERT4Rec: a line for each interaction, user and item, in time. It
goes through `prepare`, the training loop and the ranking that every run goes through, in the sizes that the figures
were published with. A run that was broken off goes on where it stood; one loss may be trained beside the other. Writes
`results/sasrec_reproduction.json` and `.md`.

Source of the figures and sizes: Klenitskiy and Vasilev 2023, arXiv 2309.07602, table 2 and its repository.
"""

import argparse
import hashlib
import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
import torch

from benchmarks.results import WORK, Row, compare, make_results, write_results
from llmemb.files import sha256_of_file
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.config import PrepareConfig, RatConfig
from llmemb_training.config.seeds import derive_generator, derive_seed
from llmemb_training.data.dataset import Dataset, Targets, read_dataset
from llmemb_training.evaluation.ranking import Ranks, hit_rate, ndcg, rank_targets
from llmemb_training.rat.checkpoint import Progress
from llmemb_training.rat.fitting import Recommender, fit
from llmemb_training.rat.item_tables import IdTable
from llmemb_training.steps import prepare

Loss = Literal["softmax", "bce"]

FOLDER = WORK / "sasrec_reproduction"
PUBLISHED: dict[Loss, dict[str, float]] = {
    "softmax": {"HR@10": 0.0533, "NDCG@10": 0.0327},
    "bce": {"HR@10": 0.0246, "NDCG@10": 0.0126},
}
SPEC = SequenceModelSpec(name="sasrec", dim=64, max_length=50, layers=2, heads=1, dropout=0.1)
VALIDATION_USERS = 10_000
"""Drawn once; all are tested on."""


def config_of(loss: Loss, dropout: float) -> RatConfig:
    """Return how the figures were published: batch 128, at most 100 epochs, patience 10."""
    return RatConfig(
        model=SPEC.model_copy(update={"dropout": dropout}),
        loss=loss,
        batch_size=128,
        learning_rate=1e-3,
        max_epochs=100,
        patience=10,
    )


def prepared(sequences: Path, seed: int) -> Dataset:
    """Read the file through `prepare`: the order of a user's lines is their time, and nothing is dropped."""
    source, output = FOLDER / "source", FOLDER / "prepare"
    if not (output / "dataset.json").is_file():
        source.mkdir(parents=True, exist_ok=True)
        output.mkdir(exist_ok=True)
        names = ["user_id", "item_id"]
        frame = pl.read_csv(sequences, separator=" ", has_header=False, new_columns=names)
        frame.with_row_index("timestamp").write_parquet(source / "interactions.parquet")
        items = frame.select(pl.col("item_id").unique().sort())
        # `prepare` wants text; nothing here reads it.
        items.with_columns(pl.format("item {}", "item_id").alias("name")).write_parquet(source / "items.parquet")
        config = PrepareConfig(path=str(source), domain="product", min_interactions=1, cold_share=0.0)
        print(prepare.run(config, seed, output))
    return read_dataset(output)


def train(loss: Loss, config: RatConfig, dataset: Dataset, seed: int) -> tuple[Recommender, Progress]:
    """Train with early stopping; resume from a checkpoint of the same loss, sizes and seed."""
    text = f"{config.model_dump_json()} {seed}"
    folder = FOLDER / f"{loss}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(derive_seed(seed, "reproduction", "weights"))
    recommender = Recommender(IdTable(dataset.num_warm, config.model.dim), build_sequence_model(config.model))
    drawn = derive_generator(seed, "reproduction", "validation").permutation(len(dataset.validation.rows))
    validation = _subset(dataset.validation, np.sort(drawn[:VALIDATION_USERS]))
    checkpoint = folder / "checkpoint.safetensors"
    progress = fit(loss, recommender, dataset.train, validation, config, seed, checkpoint, folder / "logs")
    return recommender, progress


def _subset(targets: Targets, chosen: np.ndarray) -> Targets:
    return replace(
        targets,
        user_ids=tuple(targets.user_ids[i] for i in chosen),
        histories=[targets.histories[i] for i in chosen],
        rows=targets.rows[chosen],
    )


def rows_of(loss: Loss, ranks: Ranks) -> list[Row]:
    """Set HR@10 and NDCG@10 of the test targets beside what was published."""
    ours = {"HR@10": float(hit_rate(ranks, 10).mean()), "NDCG@10": float(ndcg(ranks, 10).mean())}
    return [compare(f"{loss}: {name}", "", [ours[name]], [value]) for name, value in PUBLISHED[loss].items()]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sequences", type=Path, required=True, help="beauty.txt")
    parser.add_argument("--losses", nargs="+", choices=PUBLISHED, default=list(PUBLISHED))
    parser.add_argument("--dropout", type=float, default=SPEC.dropout)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    dataset = prepared(given.sequences, given.seed)
    rows, notes = [], []
    for loss in given.losses:
        started = time.monotonic()
        recommender, progress = train(loss, config_of(loss, given.dropout), dataset, given.seed)
        ranks = rank_targets(recommender.model, recommender.item_embeddings(), dataset.test, exclude_history=True)
        rows += rows_of(loss, ranks)
        notes.append(f"{loss}: {progress}, the validation on {VALIDATION_USERS:,} users.")
        print(f"{loss}: {progress}, {time.monotonic() - started:.0f} s", *rows[-2:], sep="\n")
    users = len(dataset.test.rows)
    notes.append(
        f"{users:,} users, {dataset.num_items:,} items; the test targets ranked among all, the history left out."
    )
    settings = {key: str(value) for key, value in config_of("softmax", given.dropout).model.model_dump().items()}
    settings |= {"batch": "128", "seed": str(given.seed), "sequences": sha256_of_file(given.sequences)}
    title = "SASRec on the public Beauty file, beside what was published"
    write_results(make_results("sasrec_reproduction", title, rows, settings=settings, peer_versions={}, notes=notes))


if __name__ == "__main__":
    main()
