"""`llmemb table` on a made-up catalogue: no training twice, resuming after an interruption, the files written."""

import contextlib
import io
import os
import re
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.torch import load_file

from llmemb.cli import main
from llmemb_training.comparison.run_summary import read_run
from llmemb_training.comparison.table_pages import COLUMNS, Table, TableCell, read_table
from llmemb_training.config import Config, load_config
from llmemb_training.data.dataset import read_dataset
from llmemb_training.evaluation.figures import read_figures
from llmemb_training.rat.checkpoint import checkpoint_progress
from llmemb_training.rat.id_recommender import train_on_ids
from llmemb_training.rat.recommenders import VANILLA
from llmemb_training.report.curves import read_curves
from llmemb_training.runs.run_folder import RunFolder
from tests.support.catalogue import Ending, run_llmemb, write_catalogue, write_config

ROWS = ("vanilla_bce", "vanilla_softmax", "llm_init", "llmemb_paper", "llmemb")
CANDIDATES = {"rat.model.dropout": [0.1, 0.4], "rat.learning_rate": [0.001, 0.03]}
OPTIONS = (
    "scft.max_pairs=8",
    "rat.max_epochs=6",
    "search.max_epochs=2",
    f"search.options={{{', '.join(f'{option!r} = {values}' for option, values in CANDIDATES.items())}}}",
)
WHOLE = ("--models", "sasrec", "gru4rec", "--seeds", "1", "2")
PART = ("--models", "sasrec", "--seeds", "1", "--rows", "llmemb")
"""Three cells: what trains nothing, vanilla with full softmax, and ours."""


@dataclass(frozen=True)
class Made:
    """A table: its configuration, its folder, and what the command printed."""

    config_path: Path
    folder: Path
    output: str = ""

    def arguments(self, *more: str) -> list[str]:
        """The command's arguments: those of every test, and more."""
        return ["table", str(self.config_path), "--run", str(self.folder), *(f"--set={o}" for o in OPTIONS), *more]

    def make(self, *more: str) -> "Made":
        """Run the command in this process."""
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            main(self.arguments(*more))
        return Made(self.config_path, self.folder, printed.getvalue())

    def table(self) -> Table:
        """`table.json`."""
        return read_table(self.folder)

    def run(self, model: str, row: str, seed: int) -> RunFolder:
        """The run folder of a cell."""
        return RunFolder(self.folder / "tiny" / model / f"{row}-{seed}")

    def cell(self, model: str, row: str, seed: int) -> TableCell:
        """The record of a cell."""
        wanted = (model, row, seed)
        return next(c for c in self.table().cells if (c.name.model, c.name.row, c.name.seed) == wanted)

    def config(self, cell: TableCell) -> Config:
        """The configuration that a cell was trained by."""
        return load_config(self.config_path, cell.overrides)

    def ran(self) -> dict[str, int]:
        """How often each step did some work."""
        steps = [line.split()[0] for line in self.output.splitlines() if re.search(r"\(\d+\.\d s\)$", line)]
        return {step: steps.count(step) for step in dict.fromkeys(steps)}


@pytest.fixture(scope="module")
def config_path(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration named `tiny`."""
    folder = tmp_path_factory.mktemp("catalogue")
    return write_config(folder / "tiny.toml", source=write_catalogue(folder / "source"), base=tiny_llm)


@pytest.fixture(scope="module")
def whole(config_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two seeds of SASRec and one of GRU4Rec, all rows, undisturbed; read it, never write to it."""
    return Made(config_path, tmp_path_factory.mktemp("table")).make(*WHOLE)


@pytest.fixture
def copy(whole: Made, tmp_path: Path) -> Made:
    """The same table in a folder of one's own."""
    shutil.copytree(whole.folder, tmp_path / "table", copy_function=os.link)
    return Made(whole.config_path, tmp_path / "table")


def test_table_has_every_cell(whole: Made) -> None:
    """Each row of each sequence model and seed, with the figures of the cell's own evaluation; all of it is printed."""
    table = whole.table()
    names = [(cell.name.model, cell.name.row, cell.name.seed) for cell in table.cells]

    assert names == [
        ("", "untrained", 1), *(("sasrec", row, 1) for row in ROWS), *(("gru4rec", row, 1) for row in ROWS),
        ("", "untrained", 2), *(("sasrec", row, 2) for row in ROWS),
    ]  # fmt: skip
    assert table.planned == tuple(cell.name for cell in table.cells)
    for cell in table.cells:
        figures = read_figures(whole.run(cell.name.model, cell.name.row, cell.name.seed).step("evaluate"))
        assert figures.seed == cell.name.seed
        assert cell.figures == tuple(f for f in figures.figures if (f.group, f.metric) in COLUMNS)
        assert {f.model for f in cell.figures} == (
            {cell.name.row} if cell.name.model else {"ease", "semantic_knn", "popular"}
        )
    assert whole.output.endswith((whole.folder / "table.md").read_text(encoding="utf-8") + "\n")
    assert "17 of 17 cells are done, about 0:00:00 left\n" in whole.output


def test_nothing_is_done_twice(whole: Made) -> None:
    """Splits once a seed, texts once a seed and kind of SCFT, recommenders once a cell."""
    assert whole.ran() == {
        "prepare": 2, "select": 2, "scft": 4, "embed": 4,
        "evaluate": 17, "search": 10, "vanilla": 6, "llm_init": 3, "rat": 6,
    }  # fmt: skip
    ours = whole.run("gru4rec", "llmemb", 1)
    for step, file, other in (
        ("prepare", "items.parquet", whole.run("sasrec", "vanilla_bce", 1)),
        ("embed", "raw_embeddings.safetensors", whole.run("", "untrained", 1)),
        ("vanilla", "item_embeddings.safetensors", whole.run("gru4rec", "vanilla_softmax", 1)),
    ):
        assert (ours.step(step) / file).samefile(other.step(step) / file)
    paper = whole.run("sasrec", "llmemb_paper", 1).step("embed") / "raw_embeddings.safetensors"
    assert not paper.samefile(whole.run("sasrec", "llmemb", 1).step("embed") / "raw_embeddings.safetensors")


def test_every_row_is_searched_alike(whole: Made) -> None:
    """The same candidates for each; the best of each option is taken, stands in the record, and is trained with."""
    searched = [cell for cell in whole.table().cells if cell.name.model]
    for cell in searched:
        config = whole.config(cell)
        values = {"rat.model.dropout": config.rat.model.dropout, "rat.learning_rate": config.rat.learning_rate}
        assert {s.option: [trial.value for trial in s.trials] for s in cell.selections} == CANDIDATES
        for selection in cell.selections:
            assert selection.chosen == max(selection.trials, key=lambda trial: trial.score).value
            assert values[selection.option] == selection.chosen
        run = whole.run(cell.name.model, cell.name.row, cell.name.seed)
        assert read_run(run.path).options["rat.learning_rate"] == config.rat.learning_rate
    assert len({tuple(s.chosen for s in cell.selections) for cell in searched}) > 1  # a row's choice is its own


def test_further_seeds_take_the_choice_of_the_first(whole: Made) -> None:
    """They search nothing."""
    for row in ROWS:
        assert whole.cell("sasrec", row, 2).selections == whole.cell("sasrec", row, 1).selections
        assert whole.run("sasrec", row, 1).step("search").is_dir()
        assert not whole.run("sasrec", row, 2).step("search").exists()


def test_winner_is_trained_on_from_its_search(whole: Made, tmp_path: Path) -> None:
    """To the recommender that an undivided training with the chosen options gives."""
    run, cell = whole.run("sasrec", "vanilla_softmax", 1), whole.cell("sasrec", "vanilla_softmax", 1)
    config = whole.config(cell)
    dataset = read_dataset(run.step("prepare"))
    progress = train_on_ids(VANILLA, config.rat, 1, dataset, tmp_path, tmp_path / "logs")
    mine, anew = (load_file(folder / "item_embeddings.safetensors") for folder in (run.step("vanilla"), tmp_path))

    assert {path.name for path in run.step("search").iterdir()} == {"selection.json", "checkpoint.safetensors"}
    assert checkpoint_progress(run.step("search") / "checkpoint.safetensors").epoch == 2
    (curve,) = (c for c in read_curves(run.logs, "ndcg@10/validation") if c.name == "vanilla")
    assert [epoch for epoch, _ in curve.points] == list(range(3, progress.epoch + 1))
    assert mine["semantic"].equal(anew["semantic"])
    assert cell.training is not None
    assert (cell.training.epochs, cell.training.validation_ndcg) == (progress.epoch, progress.best_score)
    assert cell.training.at_limit == (progress.epoch == 6)


def test_second_run_does_nothing(copy: Made) -> None:
    """It prints the same table, and no step."""
    before = (copy.folder / "table.json").read_text(encoding="utf-8")
    made = copy.make(*WHOLE)

    assert made.output == (copy.folder / "table.md").read_text(encoding="utf-8") + "\n"
    assert (copy.folder / "table.json").read_text(encoding="utf-8") == before


@pytest.mark.parametrize(
    ("override", "ran"),
    [
        ("evaluate.num_negatives=5", {"evaluate": 3}),
        ("rat.max_epochs=7", {"search": 2, "vanilla": 1, "rat": 1, "evaluate": 2}),
        ("tiny:rat.alignment.alpha=0.5", {"search": 1, "rat": 1, "evaluate": 1}),
        ("rat.components=8", {"search": 1, "rat": 1, "evaluate": 2}),
        ("search.options={}", {"vanilla": 1, "rat": 1, "evaluate": 2}),
    ],
)
def test_changed_option_makes_what_depends_on_it(copy: Made, override: str, ran: dict[str, int]) -> None:
    """A table of fewer rows and seeds is made of the cells that are there."""
    made = copy.make(*PART, "--set", override)

    assert made.ran() == ran
    assert [cell.name.row for cell in made.table().cells] == ["untrained", "vanilla_softmax", "llmemb"]


@pytest.mark.parametrize(
    ("event", "path", "nth", "done"),
    [
        ("os.rename", "dropout-0.4-learning_rate-0.001/checkpoint.safetensors", 1, 1),
        ("os.rename", "search/selection.json", 1, 1),
        ("os.rename", "vanilla/checkpoint.safetensors", 2, 1),
        ("os.rename", "evaluate/cell.json", 2, 1),
        ("os.rename", "table.json", 3, 1),
        ("os.rename", "rat/checkpoint.safetensors", 3, 2),
    ],
)
def test_killed_table_goes_on(whole: Made, tmp_path: Path, event: str, path: str, nth: int, done: int) -> None:
    """Finished cells are in a valid table; the same command resumes to the figures of an uninterrupted run."""
    mine = Made(whole.config_path, tmp_path / "table")
    more = (*PART, "--shared", str(whole.run("", "untrained", 1).path))
    code, *output = run_llmemb(mine.arguments(*more), tmp_path, Ending(event, path, nth))
    assert code == -signal.SIGKILL, output
    part = mine.table()
    assert (len(part.cells), len(part.planned)) == (done, 3)
    assert f"Cells: {done} of 3." in (mine.folder / "table.md").read_text(encoding="utf-8")

    made = mine.make(*more)

    assert {"scft", "embed"} & made.ran().keys() == set()  # taken over from the other table
    for row in ("vanilla_softmax", "llmemb"):
        assert made.cell("sasrec", row, 1).figures == whole.cell("sasrec", row, 1).figures
        assert made.cell("sasrec", row, 1).selections == whole.cell("sasrec", row, 1).selections


def test_summary_is_printed_from_the_record(whole: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The first sequence model, ours and the better vanilla model; nothing is trained."""
    main(["table", "--summary", "--run", str(whole.folder)])
    lines = capsys.readouterr().out.splitlines()

    assert len(lines) == 5
    assert lines[2].startswith("| source, sasrec | vanilla, ")
    assert lines[3].startswith("|  | LLMEmb as configured | 0.")


@pytest.mark.parametrize("arguments", [[], ["tiny.toml", "--summary"]])
def test_configurations_or_the_summary_are_asked_for(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """One without the other, else it is wrong usage."""
    with pytest.raises(SystemExit) as caught:
        main(["table", *arguments])

    assert caught.value.code == 2
    assert "llmemb table: error: give configurations, or --summary without any" in capsys.readouterr().err


def test_unknown_name_is_one_sentence(config_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before anything runs."""
    with pytest.raises(SystemExit) as caught:
        main(Made(config_path, tmp_path / "table").arguments("--rows", "gru4rec"))

    assert caught.value.code == 3
    assert capsys.readouterr().err == (
        "llmemb table: --rows 'gru4rec': there are vanilla_bce, vanilla_softmax, llm_init, llmemb_paper, llmemb\n"
    )
    assert not (tmp_path / "table").exists()
