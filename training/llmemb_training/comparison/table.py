"""`llmemb table`: compare the paper's methods on several data sets and sequence models, with the same tuning for each.

A cell is a run folder, `DATA/MODEL/ROW-SEED`, with its own steps after those of the pipeline:

search/          candidates of `search.options`, first seed only: selection.json and the best candidate's checkpoint
vanilla/, llm_init/ or rat/   the row's recommender
evaluate/        figures.json, and cell.json with the cell's part of the table
"""

import itertools
import os
import shutil
import statistics
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from llmemb.bundle import Selection
from llmemb.errors import ConfigError
from llmemb.files import write_text_atomically
from llmemb_training import pipeline
from llmemb_training.comparison.run_summary import CONFIG_FILE
from llmemb_training.comparison.table_pages import (
    COLUMNS,
    OURS,
    VANILLA_BCE,
    VANILLA_SOFTMAX,
    CellName,
    Row,
    Table,
    TableCell,
    Training,
    write_table,
)
from llmemb_training.config import Config, dump_config, load_config
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.embedding.raw_embeddings import read_raw_embeddings
from llmemb_training.evaluation.baselines import LLM_INIT
from llmemb_training.evaluation.figures import write_figures
from llmemb_training.rat.adapting import adapt
from llmemb_training.rat.checkpoint import Progress, checkpoint_progress
from llmemb_training.rat.id_recommender import train_on_ids
from llmemb_training.rat.recommenders import VANILLA, read_item_embeddings
from llmemb_training.rat.selection import choose, read_selections, write_selections
from llmemb_training.runs.progress import say, watching
from llmemb_training.runs.run_folder import RunFolder, fingerprint_of
from llmemb_training.runs.versions import git_commit, library_versions
from llmemb_training.step_table import STEPS
from llmemb_training.steps.baselines import initial_table
from llmemb_training.steps.evaluate import make_figures, rank, trained_scorer, untrained_scorers

UNTRAINED = Row(name="untrained", title="what trains nothing", trains="nothing")
"""Semantic nearest neighbours, EASE and most popular: one cell for each data set and seed."""
ROWS = (
    Row(
        name=VANILLA_BCE,
        title="vanilla, the paper's loss",
        trains="vanilla",
        overrides=("rat.loss=bce", "rat.logit_adjustment=0"),
    ),
    Row(name=VANILLA_SOFTMAX, title="vanilla, full softmax", trains="vanilla", overrides=("rat.loss=softmax",)),
    Row(name=LLM_INIT, title="LLMInit", trains="llm_init", overrides=("rat.loss=softmax",)),
    Row(
        name="llmemb_paper",
        title="LLMEmb as in the paper",
        trains="rat",
        overrides=(
            "scft.enabled=true",
            "scft.positives=views",
            "scft.whitened_components=0",
            "rat.reduction=pca",
            "rat.table=frozen",
            "rat.adapter_layers=2",
            "rat.scoring=dot",
            "rat.loss=bce",
            "rat.logit_adjustment=0",
            "rat.alignment.form=infonce",
            "rat.alignment.alpha=0.01",
            "rat.alignment.temperature=2.0",
            "rat.residual.mode=none",
            "rat.semantic_term.gamma=0",
            "rat.new_item_scale=1.0",
        ),
        aligned_to=VANILLA_BCE,
    ),
    Row(name=OURS, title="LLMEmb as configured", trains="rat", aligned_to=VANILLA_SOFTMAX),
)
"""Rows in training order: a row comes after the one that it is aligned to."""
CELL_FILE = "cell.json"
_CHECKPOINT = "checkpoint.safetensors"  # the name used by the training of every row


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell to compute.

    Args:
        name: identifies the cell.
        row: the method.
        config_path: configuration file of the data set.
        overrides: overrides of that file: from the command and the row, and the sequence model and the seed.
        run: run folder of the cell.
        described: see `pipeline.describe_inputs`.
        searched_by: the cell of the first seed, whose search results are used; None: this cell runs the search.
        aligned_to: the cell whose item table is used for alignment.
    """

    name: CellName
    row: Row
    config_path: Path
    overrides: tuple[str, ...]
    run: RunFolder
    described: Mapping[str, Sequence[str]]
    searched_by: "Cell | None" = None
    aligned_to: "Cell | None" = None

    def all_overrides(self, selections: Sequence[Selection]) -> tuple[str, ...]:
        """Return the overrides, including the choices of the search."""
        return (*self.overrides, *(f"{selection.option}={selection.chosen}" for selection in selections))

    def config(self, selections: Sequence[Selection] = ()) -> Config:
        """Return the configuration with the choices of the search; without choices, the values of the file."""
        return load_config(self.config_path, self.all_overrides(selections))

    def resolved(self, selections: Sequence[Selection] = ()) -> Config:
        """Return the configuration with the choices of the search and of the step `select`."""
        return pipeline.resolved(self.config(selections), self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRequest:
    """The arguments of `llmemb table`.

    Args:
        config_paths: one configuration for each data set; the file name is the name of the data set.
        overrides: `KEY=VALUE` for all data sets, `NAME:KEY=VALUE` for one.
        models: names of sequence models.
        seeds: seeds for the first sequence model; a seed applies to data preparation and training.
        other_seeds: seeds for the other sequence models.
        rows: names of rows; empty: all. The rows that they are aligned to or compared with are added.
        folder: folder for the run folders and the table.
        shared: other run folders, whose steps with the same inputs are reused.
    """

    config_paths: Sequence[Path]
    overrides: Sequence[str] = ()
    models: Sequence[str]
    seeds: Sequence[int]
    other_seeds: Sequence[int]
    rows: Collection[str] = ()
    folder: Path
    shared: Sequence[Path] = ()


def make_table(request: TableRequest) -> Path:
    """Compute every cell that is not up to date; write `table.json` and `table.md` after each.

    Returns:
        The path of `table.md`.

    Raises:
        ConfigError: a name is unknown, a candidate is invalid, or two data sets have the same name.
        DataError: a data set does not exist.
    """
    cells = plan_cells(request)
    finished = {cell.name: found for cell in cells if (found := read_finished(cell)) is not None}
    written = _write(request.folder, cells, finished)
    for number, cell in enumerate(cells, 1):
        if cell.name in finished:
            continue
        say("table", f"cell {number} of {len(cells)}: {cell.name}")
        alike = [other.run for other in cells if (other.name.data, other.name.seed) == (cell.name.data, cell.name.seed)]
        others = [*(run for run in alike if run != cell.run), *(RunFolder(path) for path in request.shared)]
        made = finished[cell.name] = _make(cell, others)
        written = _write(request.folder, cells, finished)
        left = estimate_seconds([cell.name for cell in cells if cell.name not in finished], list(finished.values()))
        took = _duration(made.text_seconds + made.seconds)
        say("table", f"took {took}; {len(finished)} of {len(cells)} cells are done, about {_duration(left)} left")
    return written


def plan_cells(request: TableRequest) -> list[Cell]:
    """Check every configuration and return all cells in execution order.

    The first seed of every data set and sequence model comes before all other seeds.

    Raises:
        ConfigError: as in `make_table`.
        DataError: as in `make_table`.
    """
    rows = _wanted_rows(request.rows)
    paths = {path.stem: path for path in request.config_paths}
    if len(paths) < len(request.config_paths):
        raise ConfigError(f"two of the configurations {', '.join(map(str, request.config_paths))} have the same name")
    of_data = {data: _overrides_of(data, request.overrides, paths) for data in paths}
    described = {data: pipeline.describe_inputs(load_config(path, of_data[data])) for data, path in paths.items()}
    seeds_of = {model: request.seeds if model == request.models[0] else request.other_seeds for model in request.models}
    cells: dict[CellName, Cell] = {}
    for turn, data, model, row in itertools.product(range(max(map(len, seeds_of.values()))), paths, seeds_of, rows):
        if turn >= len(seeds_of[model]):
            continue
        first, seed = seeds_of[model][0], seeds_of[model][turn]
        name = CellName(data=data, model="" if row is UNTRAINED else model, row=row.name, seed=seed)
        aligned_to = None if row.aligned_to is None else name.model_copy(update={"row": row.aligned_to})
        if name not in cells:  # the untrained baselines have one cell for all sequence models
            cells[name] = Cell(
                name=name,
                row=row,
                config_path=paths[data],
                overrides=(*of_data[data], f"rat.model.name={model}", *row.overrides, f"seed={seed}"),
                run=RunFolder(request.folder / data / name.model / f"{row.name}-{seed}"),
                described=described[data],
                searched_by=cells.get(name.model_copy(update={"seed": first})),
                aligned_to=None if aligned_to is None else cells[aligned_to],
            )
            _check(cells[name])
    return list(cells.values())


def read_finished(cell: Cell) -> TableCell | None:
    """Return the result of a cell, or None if it is not up to date."""
    selections = _selections(cell)
    if selections is None or not cell.run.is_done("evaluate", _evaluate_fingerprint(cell, selections)):
        return None
    return TableCell.model_validate_json((cell.run.step("evaluate") / CELL_FILE).read_bytes())


def estimate_seconds(missing: Sequence[CellName], finished: Sequence[TableCell]) -> float:
    """Estimate the duration of the missing cells from the most similar finished cells, in seconds.

    Embeddings are computed once for a data set, a row and a seed.
    """

    def alike(name: CellName, cell: TableCell) -> int:
        return sum(getattr(name, part) == getattr(cell.name, part) for part in ("data", "model", "row", "seed"))

    total = 0.0
    embedded = {(cell.name.data, cell.name.row, cell.name.seed) for cell in finished}
    for name in missing:
        most = max(alike(name, cell) for cell in finished)
        total += statistics.mean(cell.seconds for cell in finished if alike(name, cell) == most)
        if (key := (name.data, name.row, name.seed)) not in embedded:
            same = [cell.text_seconds for cell in finished if (cell.name.data, cell.name.row) == (name.data, name.row)]
            total += max(same, default=0.0)
            embedded.add(key)
    return total


def _write(folder: Path, cells: Sequence[Cell], finished: Mapping[CellName, TableCell]) -> Path:
    first = {cell.name.data: cell for cell in reversed(cells)}
    rows = {cell.row.name: cell.row for cell in cells if cell.row is not UNTRAINED}
    folder.mkdir(parents=True, exist_ok=True)
    return write_table(
        folder,
        Table(
            sources={data: Path(cell.config().prepare.path).name for data, cell in reversed(first.items())},
            rows=tuple(rows.values()),
            planned=tuple(cell.name for cell in cells),
            cells=tuple(finished[cell.name] for cell in cells if cell.name in finished),
            versions=library_versions(),
        ),
    )


def _make(cell: Cell, others: Sequence[RunFolder]) -> TableCell:
    """Run the steps of a cell that are not up to date."""
    started = time.monotonic()
    run, row = cell.run, cell.row
    # A vanilla model reads no text.
    pipeline.train(cell.config(), run.path, last="prepare" if row.trains == "vanilla" else "embed", shared=others)
    text_seconds = time.monotonic() - started
    with run.locked(), watching():
        if cell.aligned_to is not None:
            other, chosen = cell.aligned_to, _chosen(cell.aligned_to)
            run.adopt("vanilla", _train_fingerprint(other, chosen), other.run)
        if _searches(cell):
            pipeline.run_step("search", run, _search_fingerprint(cell), lambda: _search(cell))
        selections = _chosen(cell)
        write_text_atomically(run.path / CONFIG_FILE, cell.config(selections).model_dump_json(indent=2) + "\n")
        if row.trains != "nothing":
            fingerprint = _train_fingerprint(cell, selections)
            for shared in others:
                run.adopt(row.trains, fingerprint, shared)
            pipeline.run_step(row.trains, run, fingerprint, lambda: _train(cell, cell.resolved(selections)))
        fingerprint = _evaluate_fingerprint(cell, selections)
        pipeline.run_step("evaluate", run, fingerprint, lambda: _evaluate(cell, selections, text_seconds))
    return TableCell.model_validate_json((run.step("evaluate") / CELL_FILE).read_bytes())


def _searches(cell: Cell) -> bool:
    return cell.searched_by is None and cell.row.trains != "nothing" and bool(cell.config().search.options)


def _search(cell: Cell) -> str:
    """Choose one option after another, and keep the best candidate's checkpoint so that training resumes from it."""
    config, output = cell.resolved(), cell.run.step("search")
    options = config.search.options
    chosen: dict[str, int | float | str] = {option: candidates[0] for option, candidates in options.items()}

    def score(option: str, value: int | float) -> float:
        values = {**chosen, option: value}
        tried = load_config(cell.config_path, [*cell.overrides, *(f"{name}={value}" for name, value in values.items())])
        tried = pipeline.resolved(tried, cell.run)
        rat = tried.rat.model_copy(update={"max_epochs": config.search.max_epochs})
        name = _candidate(values)
        folder = output / name
        folder.mkdir(exist_ok=True)
        return _fit(cell, tried.model_copy(update={"rat": rat}), folder, cell.run.logs / "search" / name).best_score

    selections = read_selections(output)
    if not selections:
        for option, candidates in options.items():
            found = choose(option, candidates, partial(score, option))
            selections = (*selections, found)
            chosen[option] = found.chosen
        (output / _CHECKPOINT).unlink(missing_ok=True)
        os.link(output / _candidate(chosen) / _CHECKPOINT, output / _CHECKPOINT)
        write_selections(output, selections)
    for folder in [path for path in output.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    return ", ".join(f"{selection.option} {selection.chosen}" for selection in selections)


def _candidate(values: Mapping[str, int | float | str]) -> str:
    return "-".join(f"{option.rpartition('.')[2]}-{value}" for option, value in values.items())


def _fit(cell: Cell, config: Config, folder: Path, logs: Path) -> Progress:
    """Train a candidate in `folder`, or resume its training."""
    dataset = read_dataset(cell.run.step("prepare"))
    if cell.row.trains == "vanilla":
        return train_on_ids(VANILLA, config.rat, config.seed, dataset, folder, logs)
    if cell.row.trains == "llm_init":
        return _train_llm_init(cell, config, dataset, folder, logs)
    raw = read_raw_embeddings(cell.run.step("embed"))
    collaborative = read_item_embeddings(cell.run.step("vanilla"))
    _, progress = adapt(config.rat, config.seed, dataset, raw, collaborative, folder / _CHECKPOINT, logs)
    return progress


def _train(cell: Cell, config: Config) -> str:
    """Train the row's recommender, resuming from the checkpoint of the search."""
    run, step = cell.run, cell.row.trains
    checkpoint = run.step(step) / _CHECKPOINT
    if _searches(cell) and not checkpoint.is_file():
        os.link(run.step("search") / _CHECKPOINT, checkpoint)
    if step != "llm_init":
        return STEPS[step].run(config, run)
    dataset = read_dataset(run.step("prepare"))
    return f"{config.rat.model.name}, {_train_llm_init(cell, config, dataset, run.step(step), run.logs / step)}"


def _train_llm_init(cell: Cell, config: Config, dataset: Dataset, folder: Path, logs: Path) -> Progress:
    raw = read_raw_embeddings(cell.run.step("embed"))
    initial = initial_table(raw, dataset.num_warm, config.rat.model.dim, config.seed)
    return train_on_ids(LLM_INIT, config.rat, config.seed, dataset, folder, logs, initial)


def _evaluate(cell: Cell, selections: tuple[Selection, ...], text_seconds: float) -> str:
    """Rank the test targets; write `figures.json` and `cell.json`."""
    started = time.monotonic()
    run, row, config = cell.run, cell.row, cell.resolved(selections)
    dataset = read_dataset(run.step("prepare"))
    training = None
    if row.trains == "nothing":
        raw = read_raw_embeddings(run.step("embed"))
        scorers = untrained_scorers(config.evaluate, config.rat, dataset, raw)
    else:
        scorers = {row.name: trained_scorer(run.step(row.trains), config.rat, dataset.num_items)}
        progress = checkpoint_progress(run.step(row.trains) / _CHECKPOINT)
        training = Training(
            epochs=progress.epoch,
            best_epoch=progress.best_epoch,
            max_epochs=config.rat.max_epochs,
            validation_ndcg=progress.best_score,
            fault=progress.fault(config.rat.patience),
        )
    predictions, tests = rank(config.evaluate, config.seed, dataset, scorers)
    figures = make_figures(config.evaluate, config.seed, dataset, predictions, tests)
    write_figures(run.step("evaluate"), figures)
    records = [run.record(step) for step in ("search", row.trains) if step != "search" or _searches(cell)]
    made = TableCell(
        name=cell.name,
        overrides=cell.all_overrides(selections),
        selections=selections,
        training=training,
        text_seconds=text_seconds,
        seconds=time.monotonic() - started + sum(record.seconds for record in records if record is not None),
        commit=git_commit(),
        figures=tuple(figure for figure in figures.figures if (figure.group, figure.metric) in COLUMNS),
    )
    write_text_atomically(run.step("evaluate") / CELL_FILE, made.model_dump_json(indent=1) + "\n")
    shown = [f for f in made.figures if (f.protocol, f.group, f.metric) == ("full", "all", "ndcg@10")]
    return "full NDCG@10: " + ", ".join(f"{figure.model} {figure.value:.4f}" for figure in shown)


def _selections(cell: Cell) -> tuple[Selection, ...] | None:
    """Return the choices of the search that a cell uses, or None if the search is not complete."""
    searching = cell.searched_by or cell
    if not _searches(searching):
        return ()
    done = searching.run.is_done("search", _search_fingerprint(searching))
    return read_selections(searching.run.step("search")) if done else None


def _chosen(cell: Cell) -> tuple[Selection, ...]:
    """Return the choices of the search that a cell uses; the cell order guarantees that the search is complete."""
    selections = _selections(cell)
    assert selections is not None
    return selections


def _search_fingerprint(cell: Cell) -> str:
    return fingerprint_of("search", {"search": dump_config(cell.config())["search"]}, [_train_fingerprint(cell, ())])


def _train_fingerprint(cell: Cell, selections: Sequence[Selection]) -> str:
    """Return the fingerprint of a cell's training; for a vanilla model it is the pipeline's."""
    fingerprints = _fingerprints(cell, selections)
    match cell.row.trains:
        case "vanilla":
            return fingerprints["vanilla"]
        case "llm_init":
            return fingerprint_of("llm_init", {}, [fingerprints["vanilla"], fingerprints["embed"]])
        case "rat":
            # Align to the tuned vanilla model, not to the untuned one that the pipeline would train.
            assert cell.aligned_to is not None
            aligned_to = _train_fingerprint(cell.aligned_to, _selections(cell.aligned_to) or ())
            return fingerprint_of("rat", {}, [fingerprints["rat"], aligned_to])
        case "nothing":
            return fingerprints["embed"]


def _evaluate_fingerprint(cell: Cell, selections: Sequence[Selection]) -> str:
    config = cell.config(selections)
    read = dump_config(config)["evaluate"]
    # The semantic neighbours use these options; a trained row has them in its training fingerprint.
    more = f"{config.rat.components} {config.rat.semantic_term}" if cell.row is UNTRAINED else ""
    return fingerprint_of("evaluate", {"evaluate": read, "neighbours": more}, [_train_fingerprint(cell, selections)])


def _fingerprints(cell: Cell, selections: Sequence[Selection]) -> dict[str, str]:
    return pipeline.step_fingerprints(cell.resolved(selections), cell.described, cell.config(selections))


def _wanted_rows(names: Collection[str]) -> list[Row]:
    """Return the named rows (empty: all), and the rows that they are aligned to or compared with."""
    known = {row.name: row for row in ROWS}
    if unknown := [name for name in names if name not in known]:
        raise ConfigError(f"--rows {unknown[0]!r}: there are {', '.join(known)}")
    wanted = set(names or known) | {VANILLA_SOFTMAX}
    wanted |= {row.aligned_to for row in ROWS if row.name in wanted and row.aligned_to is not None}
    return [UNTRAINED, *(row for row in ROWS if row.name in wanted)]


def _check(cell: Cell) -> None:
    """Raise if the configuration is invalid, by itself or with any candidate of the search."""
    config = cell.config()
    if _searches(cell):
        for option, candidates in config.search.options.items():
            for value in candidates:
                load_config(cell.config_path, [*cell.overrides, f"{option}={value}"])


def _overrides_of(data: str, overrides: Sequence[str], known: Collection[str]) -> tuple[str, ...]:
    """Return the overrides for one data set: those for all data sets, and those with its name as a prefix."""
    chosen = []
    for override in overrides:
        name, colon, rest = override.partition(":")
        if not colon or "=" in name:
            chosen.append(override)
        elif name not in known:
            raise ConfigError(f"--set {override!r}: {name!r} is not one of the configurations {', '.join(known)}")
        elif name == data:
            chosen.append(rest)
    return tuple(chosen)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
