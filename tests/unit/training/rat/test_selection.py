"""`llmemb_training.rat.selection`: open settings, the choice among candidates, and the resulting configuration."""

from pathlib import Path

import pytest

from llmemb.bundle import Selection, Trial
from llmemb_training.config import Config
from llmemb_training.rat.selection import METRIC, choose, open_options, read_selections, with_choices, write_selections

AUTO = {
    "encoder": {"base": "llm", "depth": "auto"},
    "rat": {"components": "auto", "residual": {"mode": "auto", "dropout": 0.7}, "semantic_term": {"gamma": "auto"}},
    "select": {"depth": [1, 2], "components": [4, 8], "residual": ["all", "none"]},
}


def config_of(**sections: object) -> Config:
    """A configuration with these sections."""
    return Config.model_validate(
        {"prepare": {"path": "data", "domain": "movie"}, "encoder": {"base": "llm"}} | sections
    )


def test_best_candidate_is_chosen_with_its_figures() -> None:
    """The chosen value is the best trial's; all trials are kept, in the order they were tried."""
    scores = {0.0: 0.1, 0.5: 0.3, 1.0: 0.2}
    selection = choose("rat.components", tuple(scores), scores.__getitem__)

    assert (selection.option, selection.chosen, selection.metric) == ("rat.components", 0.5, METRIC)
    assert [(trial.value, trial.score) for trial in selection.trials] == list(scores.items())


def test_first_of_equals_is_chosen() -> None:
    """So the cheapest candidate belongs first."""
    assert choose("encoder.depth", (2, 4, 6), lambda _: 0.25).chosen == 2


def test_selections_read_back(tmp_path: Path) -> None:
    """Numbers stay numbers, words words; a folder without a file has chosen nothing."""
    assert read_selections(tmp_path) == ()
    written = (
        Selection(option="a", chosen=4, metric=METRIC, trials=(Trial(value=4, score=0.5),)),
        Selection(option="b", chosen=0.5, metric=METRIC, trials=(Trial(value=0.5, score=0.25),)),
        Selection(option="c", chosen="none", metric=METRIC, trials=(Trial(value="none", score=0.0),)),
    )
    write_selections(tmp_path, written)

    assert read_selections(tmp_path) == written
    assert [type(selection.chosen) for selection in read_selections(tmp_path)] == [int, float, str]


def test_fixed_configuration_leaves_nothing_open() -> None:
    """Every default is a fixed value."""
    assert open_options(config_of()) == {}


def test_open_options_have_their_candidates() -> None:
    """In the order of choice; gamma is not chosen here."""
    options = open_options(config_of(**AUTO))

    assert list(options.items()) == [
        ("encoder.depth", (1, 2)),
        ("rat.components", (4, 8)),
        ("rat.residual.mode", ("all", "none")),
    ]


@pytest.mark.parametrize(
    ("option", "value"), [("encoder.depth", 2), ("rat.components", 8), ("rat.residual.mode", "none")]
)
def test_choice_takes_its_place_and_changes_nothing_else(option: str, value: int | str) -> None:
    """The configuration with one choice is the one that says it by itself."""
    config = config_of(**AUTO)
    said = config.model_dump()
    *sections, name = option.split(".")
    place = said
    for section in sections:
        place = place[section]
    place[name] = value

    assert with_choices(config, {option: value}) == Config.model_validate(said)
    assert option not in open_options(with_choices(config, {option: value}))


def test_no_choice_changes_nothing() -> None:
    """A fixed configuration is its own resolution; gamma's choice is none of its values."""
    assert with_choices(config_of(), {}) == config_of()
