"""`table`: which cells a request comes to, and what is refused; integration tests run the command."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from llmemb.errors import ConfigError, DataError, LlmembError
from llmemb_training.comparison.table import ROWS, Cell, TableRequest, estimate_seconds, plan_cells
from llmemb_training.comparison.table_pages import CellName, TableCell
from tests.support.catalogue import write_catalogue, write_config

NAMES = ["vanilla_bce", "vanilla_softmax", "llm_init", "llmemb_paper", "llmemb"]


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., TableRequest]:
    """Make a request for two data sets, SASRec and GRU4Rec, as changed."""
    source = write_catalogue(tmp_path / "source")
    paths = [write_config(tmp_path / f"{name}.toml", source=source, base=Path("llm")) for name in ("first", "second")]
    least = TableRequest(
        config_paths=paths, models=["sasrec", "gru4rec"], seeds=[1, 2, 3], other_seeds=[1], folder=tmp_path / "table"
    )

    def make(**changes: object) -> TableRequest:
        return dataclasses.replace(least, **changes)  # type: ignore[arg-type]

    return make


def by_name(cells: list[Cell]) -> dict[tuple[str, str, str, int], Cell]:
    return {(cell.name.data, cell.name.model, cell.name.row, cell.name.seed): cell for cell in cells}


def test_table_is_every_row_of_every_data_set_and_model(request_of: Callable[..., TableRequest]) -> None:
    """Three seeds of the first sequence model, one of the other; what trains nothing once a data set and seed."""
    cells = plan_cells(request_of())
    named = by_name(cells)

    assert len(cells) == len(named) == 2 * (3 * (1 + 5) + 5)
    assert [cell.name.row for cell in cells[:11]] == ["untrained", *NAMES, *NAMES]
    assert [cell.name.model for cell in cells[:11]] == ["", *["sasrec"] * 5, *["gru4rec"] * 5]
    assert {seed for _, model, _, seed in named if model == "gru4rec"} == {1}
    assert {seed for _, _, row, seed in named if row == "untrained"} == {1, 2, 3}
    assert len({cell.run.path for cell in cells}) == len(cells)


def test_first_seed_of_all_comes_before_the_others(request_of: Callable[..., TableRequest]) -> None:
    """An unfinished table has a figure in as many lines as it can; and a row comes after what it is aligned to."""
    cells = plan_cells(request_of())

    assert [cell.name.seed for cell in cells] == [1] * 22 + [2] * 12 + [3] * 12
    assert [cell.name.data for cell in cells[:22]] == ["first"] * 11 + ["second"] * 11
    for place, cell in enumerate(cells):
        if cell.aligned_to is not None:
            assert cells.index(cell.aligned_to) < place


def test_further_seeds_follow_the_search_of_the_first(request_of: Callable[..., TableRequest]) -> None:
    """The search of the same data set, sequence model and row."""
    named = by_name(plan_cells(request_of()))

    assert named["first", "sasrec", "llmemb", 1].searched_by is None
    assert named["first", "sasrec", "llmemb", 3].searched_by is named["first", "sasrec", "llmemb", 1]
    assert named["second", "gru4rec", "llm_init", 1].searched_by is None


def test_llmemb_is_aligned_to_the_vanilla_model_of_its_loss(request_of: Callable[..., TableRequest]) -> None:
    """Of the same data set, sequence model and seed."""
    named = by_name(plan_cells(request_of()))

    assert named["second", "sasrec", "llmemb_paper", 2].aligned_to is named["second", "sasrec", "vanilla_bce", 2]
    assert named["second", "sasrec", "llmemb", 2].aligned_to is named["second", "sasrec", "vanilla_softmax", 2]
    assert named["second", "sasrec", "llm_init", 2].aligned_to is None


def test_rows_are_configured_as_their_names_say(request_of: Callable[..., TableRequest]) -> None:
    """The paper's row has what the paper has and nothing more; ours is the configuration."""
    overrides = ["rat.logit_adjustment=0.5", "scft.enabled=false", "rat.semantic_term.gamma=auto"]
    named = by_name(plan_cells(request_of(overrides=overrides)))
    of_row = {name: named["first", "gru4rec", name, 1].config() for name in NAMES}
    paper, ours = of_row["llmemb_paper"], of_row["llmemb"]

    assert {name: config.rat.loss for name, config in of_row.items()} == dict(
        zip(NAMES, ["bce", "softmax", "softmax", "bce", "softmax"], strict=True)
    )
    assert {config.rat.model.name for config in of_row.values()} == {"gru4rec"}
    assert (paper.scft.enabled, paper.scft.positives, paper.scft.whitened_components) == (True, "views", 0)
    assert (paper.rat.reduction, paper.rat.table, paper.rat.adapter_layers) == ("pca", "frozen", 2)
    assert (paper.rat.alignment.form, paper.rat.alignment.alpha, paper.rat.alignment.temperature) == (
        "infonce", 0.01, 2.0
    )  # fmt: skip
    assert (paper.rat.residual.mode, paper.rat.semantic_term.gamma, paper.rat.logit_adjustment) == ("none", 0, 0)
    assert (paper.rat.scoring, paper.rat.new_item_scale) == ("dot", 1.0)
    assert (ours.scft.enabled, ours.rat.logit_adjustment, ours.rat.semantic_term.gamma) == (False, 0.5, "auto")


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        (["llmemb"], ["vanilla_softmax", "llmemb"]),
        (["llmemb_paper"], ["vanilla_bce", "vanilla_softmax", "llmemb_paper"]),
        (["llm_init"], ["vanilla_softmax", "llm_init"]),
        ([], NAMES),
    ],
)
def test_rows_bring_what_they_are_aligned_to_and_compared_with(
    asked: list[str], made: list[str], request_of: Callable[..., TableRequest]
) -> None:
    """In the order of the table, whatever the order in which they are asked for."""
    cells = plan_cells(request_of(rows=asked, models=["sasrec"], seeds=[1]))

    assert [cell.name.row for cell in cells if cell.name.data == "first"] == ["untrained", *made]


def test_override_is_of_all_data_sets_or_of_one(request_of: Callable[..., TableRequest]) -> None:
    """A name before a colon is that of a configuration; a colon in the value is none."""
    overrides = ["rat.max_epochs=5", "second:rat.max_epochs=9", "encoder.base=a:b"]
    named = by_name(plan_cells(request_of(overrides=overrides)))

    assert named["first", "sasrec", "llmemb", 1].config().rat.max_epochs == 5
    assert named["second", "sasrec", "llmemb", 1].config().rat.max_epochs == 9
    assert named["first", "sasrec", "llmemb", 1].config().encoder.base == "a:b"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"rows": ["llmemb", "bert"]},
            ConfigError,
            r"^--rows 'bert': there are vanilla_bce, vanilla_softmax, llm_init",
        ),
        (
            {"models": ["sasrec", "lstm"]},
            ConfigError,
            r"rat\.model\.name: the sequence model 'lstm' is not known; there",
        ),
        ({"overrides": ["third:seed=1"]}, ConfigError, r"^--set 'third:seed=1': 'third' is not one of the conf"),
        ({"overrides": ["rat.max_epochs=0"]}, ConfigError, r"rat\.max_epochs: Input should be greater than or equal"),
        ({"overrides": ["search.options={'rat.model.dim' = [8]}"]}, ConfigError, r"search\.options\.rat\.model\.dim"),
        (
            {"overrides": ["search.options={'rat.model.heads' = [3]}"]},
            ConfigError,
            r"dim 16 must be a multiple of heads",
        ),
        (
            {"overrides": ["search.options={'rat.model.layers' = []}"]},
            ConfigError,
            r"has \[\], not one or more different",
        ),
        ({"overrides": ["second:prepare.path=nowhere"]}, DataError, r"^nowhere holds no source"),
        ({"seeds": [1, -2]}, ConfigError, r"seed: Input should be greater than or equal to 0"),
    ],
)
def test_wrong_request_is_refused_before_anything_runs(
    changes: dict[str, object], error: type[LlmembError], message: str, request_of: Callable[..., TableRequest]
) -> None:
    """The message names the fault, with its data set, model or seed."""
    asked = request_of(**changes)
    with pytest.raises(error, match=message):
        plan_cells(asked)

    assert not asked.folder.exists()


def test_data_sets_of_one_name_are_refused(request_of: Callable[..., TableRequest], tmp_path: Path) -> None:
    """Their cells would share one folder."""
    (tmp_path / "other").mkdir()
    again = write_config(tmp_path / "other" / "first.toml", source=tmp_path / "source", base=Path("llm"))
    asked = request_of()

    with pytest.raises(ConfigError, match=r"^two of the configurations .*first\.toml, .* have the same name$"):
        plan_cells(dataclasses.replace(asked, config_paths=[*asked.config_paths, again]))


def finished(data: str, model: str, row: str, seed: int, seconds: float, text_seconds: float = 0.0) -> TableCell:
    return TableCell(
        name=CellName(data=data, model=model, row=row, seed=seed),
        overrides=(),
        selections=(),
        training=None,
        text_seconds=text_seconds,
        seconds=seconds,
        commit=None,
        figures=(),
    )


def test_time_left_is_that_of_the_cells_most_alike() -> None:
    """The row with another seed says more than another row; of equals the mean."""
    done = [finished("a", "sasrec", "llmemb", 1, 100), finished("a", "sasrec", "llm_init", 1, 10)]

    def left(*names: tuple[str, str, str, int]) -> float:
        return estimate_seconds([CellName(data=d, model=m, row=r, seed=s) for d, m, r, s in names], done)

    assert left() == 0
    assert left(("a", "sasrec", "llmemb", 2)) == 100
    assert left(("a", "sasrec", "llmemb", 2), ("a", "sasrec", "llm_init", 2)) == 110
    assert left(("a", "sasrec", "vanilla_bce", 1)) == 55


def test_time_left_counts_the_embeddings_of_a_seed_once() -> None:
    """They are made for the first sequence model of a data set, a row and a seed, and the others take them over."""
    done = [finished("a", "sasrec", "llmemb_paper", 1, 10, 1000), finished("a", "gru4rec", "llmemb_paper", 1, 10)]
    missing = [CellName(data="a", model=model, row="llmemb_paper", seed=2) for model in ("sasrec", "gru4rec")]

    assert estimate_seconds(missing, done) == 2 * 10 + 1000
    assert estimate_seconds([CellName(data="a", model="bert4rec", row="llmemb_paper", seed=1)], done) == 10


def test_names_of_the_rows_are_those_of_the_command() -> None:
    """They are in commands and in table.json."""
    assert [row.name for row in ROWS] == NAMES
