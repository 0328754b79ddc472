"""`training.base_check`: what a base cannot do is refused before anything is prepared."""

from pathlib import Path

import pytest

from llmemb.errors import ConfigError, EncoderError, LlmembError
from tests.support.catalogue import write_catalogue, write_config
from tests.support.families import LAYERS, POSITIONS, WIDTH, write_family
from training import pipeline
from training.base_check import check_base
from training.config import Config, load_config


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT; read it, never write to it."""
    return write_family(tmp_path_factory.mktemp("bases") / "bert", "bert")


def config(base: Path, folder: Path, *options: str) -> Config:
    """A configuration over a source that is not there."""
    return load_config(write_config(folder / "tiny.toml", source=folder / "source", base=base), options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["encoder.depth=4"], EncoderError, f"encoder.depth is 4, but .* has {LAYERS} layers: choose from 1"),
        (["encoder.depth=auto", "select.depth=[7, 1]"], ConfigError, f"select.depth has 7, but .* has {LAYERS} "),
        (["encoder.max_tokens=131"], EncoderError, f"encoder.max_tokens is 131, but .* has {POSITIONS} positions: "),
        (["rat.components=33"], ConfigError, f"rat.components is 33, but the vectors of .* are {WIDTH} wide: "),
        (
            ["rat.components=auto", "select.components=[16, 64]"],
            ConfigError,
            f"a candidate of select.components is 64, but the vectors of .* are {WIDTH} wide",
        ),
        (
            ["rat.semantic_term.gamma=1.0"],
            ConfigError,
            f"rat.semantic_term.components is 256, but the vectors of .* are {WIDTH} wide: choose at most {WIDTH}$",
        ),
        (
            ["encoder.max_tokens=8"],
            ConfigError,
            "prepare.instruction takes [0-9]+ tokens, and encoder.max_tokens is 8: nothing of an item would be left$",
        ),
    ],
)  # fmt: skip
def test_what_the_base_cannot_do_is_refused(
    options: list[str], error: type[LlmembError], message: str, base: Path, tmp_path: Path
) -> None:
    """One sentence with the option, its value and the base's."""
    with pytest.raises(error, match=f"^{message}"):
        check_base(config(base, tmp_path, *options))


@pytest.mark.parametrize(
    "options",
    [
        ["encoder.pooling=cls", f"encoder.depth={LAYERS}", f"encoder.max_tokens={POSITIONS}"],
        [f"rat.components={WIDTH}", "rat.semantic_term.gamma=auto", f"rat.semantic_term.components={WIDTH}"],
        ["rat.reduction=none", "rat.components=256"],
        ["prepare.instruction=", "encoder.max_tokens=8"],
    ],
)
def test_what_the_base_can_do_passes(options: list[str], base: Path, tmp_path: Path) -> None:
    """Up to the bound; what is not used is not held against it."""
    check_base(config(base, tmp_path, *options))


@pytest.mark.parametrize("verb", ["train", "select", "scft"])
def test_nothing_is_begun_on_a_base_that_is_refused(verb: str, base: Path, tmp_path: Path) -> None:
    """Every verb that reads the base says it before its first step."""
    write_catalogue(tmp_path / "source")
    bad = config(base, tmp_path, "rat.components=33", "encoder.depth=auto", "select.depth=[1]")
    if verb != "train":
        pipeline.run_verb("prepare", bad, tmp_path / "run")
    before = {path.name for path in (tmp_path / "run").glob("*/*")}

    with pytest.raises(ConfigError, match=r"^rat\.components is 33, but "):
        pipeline.train(bad, tmp_path / "run") if verb == "train" else pipeline.run_verb(verb, bad, tmp_path / "run")

    assert {path.name for path in (tmp_path / "run").glob("*/*")} == before


def test_base_is_not_asked_once_its_encoder_is_there(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `select` and `scft` up to date nothing reads the base: a finished run starts without it."""
    write_catalogue(tmp_path / "source")
    for verb in ("prepare", "select", "scft"):
        pipeline.run_verb(verb, config(base, tmp_path, "scft.enabled=false"), tmp_path / "run")
    capsys.readouterr()

    pipeline.run_verb("scft", config(base, tmp_path, "scft.enabled=false", "rat.max_epochs=2"), tmp_path / "run")
    pipeline.run_verb("scft", config(base, tmp_path, "scft.enabled=false", "rat.components=33"), tmp_path / "run")

    assert capsys.readouterr().out.count("up to date") == 2
