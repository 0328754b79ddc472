"""Selection of "auto" options on validation data: files of the choices, and configurations with the choices set."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from llmemb.bundle import Selection, Trial
from llmemb.files import write_text_atomically
from llmemb_training.config import Config

Value = TypeVar("Value", int, float, str, int | str, int | float | str)

METRIC = "ndcg@10"
"""The metric that candidates are compared by: on the validation targets, ranked among the warm items."""
_FILE = "selection.json"
_SELECTIONS = TypeAdapter(tuple[Selection, ...])


def choose(option: str, candidates: Sequence[Value], score: Callable[[Value], float]) -> Selection:
    """Score every candidate and choose the best; the first of equal candidates wins."""
    trials = tuple(Trial(value=value, score=score(value)) for value in candidates)
    best = max(trials, key=lambda trial: trial.score)
    return Selection(option=option, chosen=best.value, metric=METRIC, trials=trials)


def write_selections(folder: Path, selections: Sequence[Selection]) -> None:
    """Write `selection.json`."""
    text = _SELECTIONS.dump_json(tuple(selections), indent=2).decode()
    write_text_atomically(folder / _FILE, text + "\n")


def read_selections(folder: Path) -> tuple[Selection, ...]:
    """Read `selection.json`; empty if there is none."""
    path = folder / _FILE
    return _SELECTIONS.validate_json(path.read_bytes()) if path.is_file() else ()


def open_options(config: Config) -> dict[str, tuple[int | str, ...]]:
    """Return the options that `select` chooses and their candidates, in the order in which they are chosen.

    Gamma is not among them: `rat` chooses it, since that needs the trained recommender.
    """
    options: dict[str, tuple[int | str, ...]] = {}
    if config.encoder.depth == "auto":
        options["encoder.depth"] = config.select.depth
    if config.rat.components == "auto":
        options["rat.components"] = config.select.components
    if config.rat.residual.mode == "auto":
        options["rat.residual.mode"] = config.select.residual
    return options


def with_choices(config: Config, chosen: Mapping[str, float | str]) -> Config:
    """Return the configuration with its "auto" options set to the choices, a mapping from option to value."""
    encoder, rat = config.encoder, config.rat
    if "encoder.depth" in chosen:
        encoder = encoder.model_copy(update={"depth": chosen["encoder.depth"]})
    if "rat.components" in chosen:
        rat = rat.model_copy(update={"components": chosen["rat.components"]})
    if "rat.residual.mode" in chosen:
        rat = rat.model_copy(update={"residual": rat.residual.model_copy(update={"mode": chosen["rat.residual.mode"]})})
    return config.model_copy(update={"encoder": encoder, "rat": rat})
