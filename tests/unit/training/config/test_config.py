"""`llmemb_training.config`: errors found before anything runs, and overriding of values."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from llmemb.errors import ConfigError
from llmemb_training.config import Config, EvaluateConfig, dump_config, load_config

LEAST = """
[prepare]
path = "data"
domain = "movie"

[encoder]
base = "llm"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with the least that a configuration holds."""
    file = tmp_path / "least.toml"
    file.write_text(LEAST)
    return file


def value_of(config: Config, key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = getattr(value, name)
    return value


def test_least_configuration_has_the_defaults(path: Path) -> None:
    """All but the source, the domain and the LLM may be left out."""
    config = load_config(path)

    assert (config.prepare.path, config.prepare.domain, config.encoder.base) == ("data", "movie", "llm")
    assert config.evaluate == EvaluateConfig()


def test_byte_order_mark_is_passed_over(path: Path) -> None:
    """Editors of Windows begin a file with it."""
    path.write_text("\ufeff" + path.read_text(encoding="utf-8"), encoding="utf-8")

    assert load_config(path).prepare.domain == "movie"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("seed=7", "seed", 7),
        (" seed = 7 ", "seed", 7),
        ("rat.alignment.alpha=0", "rat.alignment.alpha", 0.0),
        ("rat.learning_rate=1e-2", "rat.learning_rate", 0.01),
        ("scft.enabled=false", "scft.enabled", False),
        ("rat.model.name=gru4rec", "rat.model.name", "gru4rec"),
        ('rat.model.name="gru4rec"', "rat.model.name", "gru4rec"),
        ("encoder.base=HuggingFaceTB/SmolLM2-135M", "encoder.base", "HuggingFaceTB/SmolLM2-135M"),
        ("encoder.base=a = b", "encoder.base", "a = b"),
        ("evaluate.ks=[1, 10]", "evaluate.ks", (1, 10)),
        ("prepare.attributes={title = 'movie_title'}", "prepare.attributes", {"title": "movie_title"}),
        ("prepare.attributes.title=movie_title", "prepare.attributes", {"title": "movie_title"}),
    ],
)
def test_override_is_toml_or_else_plain_text(path: Path, override: str, key: str, value: object) -> None:
    """`--set` reaches any depth, makes the sections on its way, and quotes are needed for neither text nor names."""
    assert value_of(load_config(path, [override]), key) == value


def test_later_override_wins(path: Path) -> None:
    """Overrides are applied in order, over the file."""
    assert load_config(path, ["seed=1", "seed=2", "prepare.domain=book"]).seed == 2


@pytest.mark.parametrize("override", ["seed", "", "=1", " =1", "rat.alignment.alpha"])
def test_malformed_override_is_refused(path: Path, override: str) -> None:
    """An override without a key or without `=` is named and explained."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])

    assert str(caught.value) == f"--set {override!r} must look like section.key=value"


def test_override_below_a_value_is_refused(path: Path) -> None:
    """A value has nothing below it."""
    with pytest.raises(ConfigError, match=r"^--set 'prepare\.path\.deep=1': path is no section$"):
        load_config(path, ["prepare.path.deep=1"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=1", "sed: Extra inputs are not permitted"),
        ("rat.alfa=1", "rat.alfa: Extra inputs are not permitted"),
        ("rat.alignment.alfa=1", "rat.alignment.alfa: Extra inputs are not permitted"),
        ("rat.model.width=8", "rat.model.width: Extra inputs are not permitted"),
        ("seed=many", "seed: Input should be a valid integer"),
        ("seed=1.5", "seed: Input should be a valid integer"),
        ("seed=-1", "seed: Input should be greater than or equal to 0"),
        ("prepare.path=1", "prepare.path: Input should be a valid string"),
        (
            "prepare.instruction='The {title}: '",
            "prepare.instruction: Value error, the instruction 'The {title}: ' has a field other than {domain}",
        ),
        ("prepare.attributes.title=1", "prepare.attributes.title: Input should be a valid string"),
        (
            "rat.model.name=lstm",
            "rat.model.name: the sequence model 'lstm' is not known; there are sasrec, gru4rec, bert4rec",
        ),
        ("rat.loss=hinge", "rat.loss: Input should be 'softmax', 'bce', 'sampled_softmax' or 'gbce'"),
        ("rat.logit_adjustment=-1", "rat.logit_adjustment: Input should be greater than or equal to 0"),
        (
            "rat={loss='bce',logit_adjustment=0.5}",
            "rat: Value error, logit_adjustment 0.5 needs loss 'softmax', not 'bce'",
        ),
        ("rat.adapter_layers=3", "rat.adapter_layers: Input should be 1 or 2"),
        ("rat.residual.mode=some", "rat.residual.mode: Input should be 'none', 'all', 'popular' or 'auto'"),
        ("rat.learning_rate=0", "rat.learning_rate: Input should be greater than 0"),
        ("rat.learning_rate=nan", "rat.learning_rate: Input should be greater than 0"),
        ("scft.batch_items=1", "scft.batch_items: Input should be greater than or equal to 2"),
        ("prepare.cold_share=1", "prepare.cold_share: Input should be less than 1"),
        ("rat=3", "rat: Input should be a valid dictionary"),
    ],
)
def test_wrong_key_or_value_is_named(path: Path, override: str, message: str) -> None:
    """The error holds the file, the dotted key, and what was expected there."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])

    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("rat.model.heads=3", "rat.model: Value error, dim 64 must be a multiple of heads 3"),
        ("evaluate.ks=[5, 20]", "evaluate: Value error, ks must be positive and hold 10"),
        ("evaluate.ks=[0, 10]", "evaluate: Value error, ks must be positive and hold 10"),
        ("evaluate.ks=[]", "evaluate: Value error, ks must be positive and hold 10"),
    ],
)
def test_values_that_do_not_fit_each_other_are_refused(path: Path, override: str, message: str) -> None:
    """A check over several keys names their section."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, [override])

    assert str(caught.value).startswith(f"{path}: {message}")


def test_list_attribute_that_is_no_attribute_is_refused(path: Path) -> None:
    """A misspelt list attribute would otherwise be silently no list."""
    with pytest.raises(ConfigError, match=r"prepare: Value error, list_attributes: 'genre' is none of the attributes"):
        load_config(path, ["prepare.attributes={genres = 'class'}", "prepare.list_attributes=['genre']"])


def test_list_attributes_need_no_attributes(path: Path) -> None:
    """Where the source's columns are the attributes, any name may be a list."""
    assert load_config(path, ["prepare.list_attributes=['class']"]).prepare.list_attributes == ("class",)


def test_every_fault_is_named(path: Path) -> None:
    """Several faults come in one message."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, ["sed=1", "rat.batch_size=0"])

    assert "sed: " in str(caught.value)
    assert "rat.batch_size: " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"seed = ", "is not TOML: "),
        (b"seed = 1\nseed = 2", "is not TOML: "),
        (b"domain = '\xff'", "is not TOML: "),
        (b"", ": prepare: Field required; encoder: Field required"),
        (b"[prepare]\npath = 'a'\n[encoder]\nbase = 'b'", ": prepare.domain: Field required"),
    ],
)
def test_unreadable_file_is_refused(path: Path, content: bytes, message: str) -> None:
    """What is not TOML, or lacks a key, names the file."""
    path.write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        load_config(path)

    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    """A file that is not there is named, and so is a folder in its place."""
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match=f"^cannot read the configuration {path}: "):
            load_config(path)


def test_dumped_configuration_is_the_same_when_read(path: Path) -> None:
    """The resolved configuration in the run folder makes the same run."""
    config = load_config(path, ["evaluate.ks=[10]", "rat.model.dim=16", "encoder.depth=2"])

    assert Config.model_validate(dump_config(config)) == config


def test_configuration_is_frozen(path: Path) -> None:
    """No step can change what another reads."""
    with pytest.raises(ValidationError, match="frozen"):
        load_config(path).seed = 1  # type: ignore[misc]
