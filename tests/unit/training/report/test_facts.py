"""`llmemb_training.report.facts`: the options with their meaning, and the steps with their share of the time."""

from llmemb_training.config import Config, EncoderConfig, PrepareConfig, ScftConfig
from llmemb_training.report.facts import options, step_times
from llmemb_training.runs.run_folder import StepRecord


def test_every_option_is_listed_with_its_meaning() -> None:
    """Nested sections are flattened, lists and missing values written for people, and what was set is known."""
    config = Config(
        prepare=PrepareConfig(path="p", domain="movie", attributes={"title": "movie_title"}),
        encoder=EncoderConfig(base="b", depth=None),
        scft=ScftConfig(enabled=False),
    )
    listed = options(config)
    by_key = {f"{section}.{option.key}": option for section, found in listed.items() for option in found}

    sections = ["prepare", "encoder", "select", "scft", "embed", "rat", "evaluate", "bundle", "search", "replay"]
    assert list(listed) == ["", *sections]
    assert by_key["rat.alignment.alpha"].value == "0.01"
    assert by_key["rat.alignment.alpha"].meaning.startswith("Weight of the alignment loss")
    assert not by_key["rat.alignment.alpha"].is_set
    assert (by_key["scft.enabled"].value, by_key["scft.enabled"].is_set) == ("no", True)
    assert by_key["scft.max_pairs"].value == "none"
    assert by_key["evaluate.ks"].value == "5, 10, 20"
    assert by_key["prepare.attributes"].value == "title = movie_title"
    assert by_key[".seed"].value == "42"


def test_times_are_shares_of_the_whole() -> None:
    """In the order of the steps; a run that took no time has no shares."""
    record = StepRecord(fingerprint="f", status="done", files={}, seconds=30.0, summary="done")
    steps = step_times({"prepare": record, "scft": record.model_copy(update={"seconds": 90.0})})

    assert [(step.name, step.share) for step in steps] == [("prepare", 25.0), ("scft", 75.0)]
    assert step_times({"prepare": record.model_copy(update={"seconds": 0.0})})[0].share == 0.0
