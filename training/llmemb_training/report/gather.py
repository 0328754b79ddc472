"""Collect the content of the report page from a run folder."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from llmemb_training.config import Config
from llmemb_training.config.seeds import derive_generator, derive_seed
from llmemb_training.data.dataset import Dataset, Rows, read_dataset
from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
from llmemb_training.embedding.sample import read_sample
from llmemb_training.evaluation.figures import PROTOCOLS, read_figures
from llmemb_training.rat.recommenders import LLMEMB, VANILLA, read_recommender
from llmemb_training.rat.selection import read_selections
from llmemb_training.report.curves import Curve, LineChart, Series, line_chart, read_curves
from llmemb_training.report.facts import dataset_facts, options, step_times
from llmemb_training.report.item_map import draw_map
from llmemb_training.report.neighbours import show_neighbours
from llmemb_training.report.page import Page
from llmemb_training.report.results import make_bars, make_results
from llmemb_training.report.stages import Stage, raw_stage, trained_stage
from llmemb_training.report.summary import summarise
from llmemb_training.report.users import show_users
from llmemb_training.report.wording import Wording, in_order
from llmemb_training.runs.run_folder import RunFolder
from llmemb_training.runs.versions import library_versions

NUM_ITEMS = 10
"""Number of items whose neighbours are shown."""
MODELS_SHOWN = (LLMEMB, VANILLA)
_SELECTING = "select"
_TRAININGS = {"rat": LLMEMB}
"""Log folders that are not named after the model -> the model."""


def gather(config: Config, run: RunFolder, steps: Sequence[str]) -> Page:
    """Read the output of the steps and return the content of the page.

    Args:
        config: the configuration of the run.
        run: the run folder; the steps up to `evaluate` are complete.
        steps: names of these steps, in execution order.
    """
    dataset = read_dataset(run.step("prepare"))
    figures = read_figures(run.step("evaluate"))
    words = Wording(config, figures)
    rows, stages = _stages(config, dataset, run)
    generator = derive_generator(config.seed, "report", "items")
    chosen = sorted(generator.permutation(rows)[:NUM_ITEMS].tolist())
    return Page(
        created_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        seed=config.seed,
        words=words,
        summary=summarise(figures, words),
        figures=figures,
        results=tuple(make_results(figures, protocol, words) for protocol in PROTOCOLS),
        bars=make_bars(figures, words),
        selections=tuple(selection for step in steps for selection in read_selections(run.step(step))),
        dataset=dataset_facts(dataset, config.encoder.max_value_characters),
        charts=_charts(run.logs, words),
        item_map=draw_map(dataset, stages, rows, derive_seed(config.seed, "report", "map") % 2**32),
        neighbours=show_neighbours(dataset, stages, chosen),
        users=show_users(dataset, run.step("evaluate"), MODELS_SHOWN, derive_generator(config.seed, "report", "users")),
        steps=step_times({step: record for step in steps if (record := run.record(step)) is not None}),
        options=options(config),
        versions=library_versions(),
    )


def _stages(config: Config, dataset: Dataset, run: RunFolder) -> tuple[Rows, list[Stage]]:
    """Return the sample and the stages."""
    raw = read_raw_embeddings(run.step("embed"))
    catalogue = np.arange(dataset.num_items)
    trained = trained_stage("After RAT", read_recommender(run.step("rat"), config.rat.model).item_embeddings)
    sample = read_sample(run.step("scft"))
    tuned = raw_stage("After SCFT" if config.scft.enabled else "Without SCFT", catalogue, raw, raw[sample.rows])
    if not config.scft.enabled:
        return sample.rows, [tuned, trained]
    before = raw_stage("Before SCFT", sample.rows, sample.before, sample.before)
    return sample.rows, [before, tuned, trained]


def _charts(logs: Path, words: Wording) -> tuple[LineChart, ...]:
    """Draw the learning curves of the recommenders and of SCFT; curves without logs are omitted."""
    score, loss = (_by_model(_read_curves(logs, tag)) for tag in ("ndcg@10/validation", "loss/train"))
    tones = {model: model if model in MODELS_SHOWN else f"c{place}" for place, model in enumerate(in_order(set(score)))}
    charts = []
    for title, y_name, curves, mark in (
        ("Recommenders: validation NDCG@10", "NDCG@10", score, True),
        ("Recommenders: training loss", "loss", loss, False),
    ):
        if curves:
            series = [
                Series(words.model(model), tones.get(model, "c0"), curves[model]) for model in in_order(set(curves))
            ]
            charts.append(line_chart(title, "epoch", y_name, series, mark_highest=mark))
    contrastive = _read_curves(logs, "train/loss")
    if contrastive:
        series = [Series("contrastive loss", LLMEMB, curve.points) for curve in contrastive]
        charts.append(line_chart("SCFT: contrastive loss", "step", "loss", series, mark_highest=False))
    return tuple(charts)


def _read_curves(logs: Path, tag: str) -> tuple[Curve, ...]:
    """Read the curves of the final trainings, without the candidates of `select`."""
    return tuple(curve for curve in read_curves(logs, tag) if curve.name.partition("/")[0] != _SELECTING)


def _by_model(curves: tuple[Curve, ...]) -> dict[str, tuple[tuple[int, float], ...]]:
    names = [curve.name.rpartition("/")[2] for curve in curves]
    return {_TRAININGS.get(name, name): curve.points for name, curve in zip(names, curves, strict=True)}
