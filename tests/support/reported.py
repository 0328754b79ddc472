"""A run folder as it is before `report`, made up but for `evaluate`, which ran; with texts that attack the page."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from safetensors.numpy import save_file
from torch.utils.tensorboard import SummaryWriter

from llmemb.bundle import Selection, Trial
from llmemb.item import attributes_to_json, parse_attributes
from llmemb_training.config import Config, EncoderConfig, EvaluateConfig, PrepareConfig, ScftConfig
from llmemb_training.data.dataset import read_dataset, write_dataset
from llmemb_training.embedding.raw_embeddings import RAW_EMBEDDINGS_FILE, save_raw_embeddings
from llmemb_training.embedding.sample import SAMPLE_FILE
from llmemb_training.rat.checkpoint import Progress, write_progress
from llmemb_training.rat.selection import write_selections
from llmemb_training.runs.run_folder import RunFolder
from llmemb_training.steps import evaluate
from tests.support.evaluated import RAT, RAW_WIDTH, write_inputs

ITEMS, COLD, USERS = 60, 6, 80
STEPS = ("prepare", "select", "scft", "embed", "vanilla", "rat", "baselines", "evaluate")
ATTACK = '</script><script>alert("x")</script><img src=http://host.invalid/x onerror=alert(1)>'
"""Stands in titles, genres and user ids."""
STUCK = Progress(epoch=21, best_epoch=1, best_score=0.05, popular_score=0.1)
"""A training that never left its first plateau."""
GENRES = ("Drama", "Space", "Western & Horror")
SELECTION = Selection(
    option="rat.semantic_term.gamma",
    chosen=0.5,
    metric="ndcg@10",
    trials=(Trial(value=0.0, score=0.0811), Trial(value=0.5, score=0.0934)),
)


def write_run(folder: Path, *, scft: bool = True, stuck: bool = False) -> tuple[Config, RunFolder]:
    """Write what the steps before `report` leave; return the configuration and the run folder.

    Item r is called `Film r`, followed by the attack where r is a multiple of 7; its genres are `All`, one of
    `GENRES`, and a rare one.

    Args:
        folder: takes the run.
        scft: whether SCFT was on.
        stuck: whether the vanilla model's training went as `STUCK` says.
    """
    folders, raw = write_inputs(folder, num_items=ITEMS, num_cold=COLD, num_users=USERS)
    dataset = read_dataset(folders.dataset)
    attributes = [
        attributes_to_json(parse_attributes({"title": _title(row), "genres": ["All", GENRES[row % 3], f"rare {row}"]}))
        for row in range(ITEMS)
    ]
    info = dataset.info.model_copy(
        update={"attribute_names": ("title", "genres"), "counts": {"interactions_read": 4321, "items_odd_ones": 17}}
    )
    write_dataset(
        folders.dataset,
        replace(dataset, info=info, items=dataset.items.with_columns(attributes=pl.Series(attributes))),
    )
    config = Config(
        seed=5,
        prepare=PrepareConfig(path="source", domain="movie"),
        encoder=EncoderConfig(base="tiny"),
        scft=ScftConfig(enabled=scft),
        rat=RAT,
        evaluate=EvaluateConfig(num_negatives=15, bootstrap_samples=100),
    )
    run = RunFolder(folder)
    for name in ("select", "scft", "embed", "evaluate"):
        run.step(name).mkdir()
    write_selections(run.step("select"), [SELECTION])
    save_raw_embeddings(raw, run.step("embed") / RAW_EMBEDDINGS_FILE)
    rows = np.arange(0, ITEMS, 2)
    before = np.random.default_rng(1).standard_normal((len(rows), RAW_WIDTH), dtype=np.float32)
    save_file({"rows": rows, "before": before}, run.step("scft") / SAMPLE_FILE)
    if stuck:
        write_progress(folders.vanilla, STUCK)
    evaluate.run(config.evaluate, RAT, config.seed, folders, raw, run.step("evaluate"))
    for name in STEPS:
        run.finish(name, "made up", 61.5, f"{name} is done")
    for name in ("vanilla", "rat", "baselines/vanilla_bce", "select/rat.components-8"):
        write_log(run.logs / name, {"ndcg@10/validation": [0.1, 0.25, 0.2], "loss/train": [3.0, 2.0, 1.5]})
    write_log(run.logs / "scft", {"train/loss": [4.0, 3.5]})
    return config, run


def _title(row: int) -> str:
    return f"Film {row} {ATTACK}" if row % 7 == 0 else f"Film {row}"


def write_log(folder: Path, scalars: dict[str, list[float]], first_step: int = 1) -> None:
    """Write a TensorBoard log, one value a step."""
    with SummaryWriter(str(folder)) as log:
        for tag, values in scalars.items():
            for step, value in enumerate(values, first_step):
                log.add_scalar(tag, value, step)
