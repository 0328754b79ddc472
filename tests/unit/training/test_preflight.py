"""`llmemb_training.preflight`: what cannot work is refused before the first step whose work would be lost."""

import json
import sys
from pathlib import Path

import pytest

from llmemb.errors import ConfigError, DataError, EncoderError, LlmembError, RunError
from llmemb_training import pipeline
from llmemb_training.config import Config, load_config
from llmemb_training.preflight import check_base, check_dataset, check_ray
from llmemb_training.steps import prepare
from tests.support.catalogue import write_catalogue, write_config
from tests.support.families import LAYERS, POSITIONS, WIDTH, write_family
from tests.support.tiny import write_tiny_llm


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
        (
            ["scft.max_tokens=8"],
            ConfigError,
            "prepare.instruction takes [0-9]+ tokens, and scft.max_tokens is 8: nothing of an item would be left$",
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
        ["scft.enabled=false", "scft.max_tokens=8"],
    ],
)
def test_what_the_base_can_do_passes(options: list[str], base: Path, tmp_path: Path) -> None:
    """Up to the bound; unused settings are not checked."""
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


def test_base_whose_head_is_not_its_embeddings_generates_nothing(tiny_llm: Path, tmp_path: Path) -> None:
    """Its configuration says so."""
    with pytest.raises(ConfigError, match=r"^scft\.generation_weight is 0\.1, but the head of .* is not its token "):
        check_base(config(tiny_llm, tmp_path, "scft.generation_weight=0.1"))


def test_base_is_not_read_once_its_encoder_is_there(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `select` and `scft` up to date a run starts without it; the encoder tells how wide the vectors are."""
    write_catalogue(tmp_path / "source")
    for verb in ("prepare", "select", "scft"):
        pipeline.run_verb(verb, config(base, tmp_path, "scft.enabled=false"), tmp_path / "run")
    capsys.readouterr()

    pipeline.run_verb("scft", config(base, tmp_path, "scft.enabled=false", "rat.max_epochs=2"), tmp_path / "run")
    assert capsys.readouterr().out.count("up to date") == 1

    with pytest.raises(ConfigError, match=r"^rat\.components is 33, but the vectors of '.*/run/scft/encoder' are 32 "):
        pipeline.run_verb("scft", config(base, tmp_path, "scft.enabled=false", "rat.components=33"), tmp_path / "run")


def begun(run: Path) -> set[str]:
    """The steps that have begun in a run folder."""
    return {path.stem for path in (run / "steps").glob("*.json")}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["rat.components=38"], "rat.components is 38, but 38 items to train on span only 37 directions: choose at"),
        (["rat.components=auto", "select.components=[4, 38]"], "a candidate of select.components is 38, but 38 "),
        (["rat.semantic_term.gamma=auto", "rat.semantic_term.components=38"], "rat.semantic_term.components is 38, "),
        (
            ["bundle.categories_attribute=shelf"],
            "bundle.categories_attribute is 'shelf', but the items have only the attributes title, release_year, "
            "genres$",
        ),
    ],
)
def test_only_prepare_has_run_when_the_dataset_does_not_allow_what_is_asked(
    options: list[str], message: str, tmp_path: Path
) -> None:
    """Neither the LLM nor a recommender is trained before the refusal."""
    write_catalogue(tmp_path / "source")
    wide = write_tiny_llm(tmp_path / "llm", hidden=64)

    with pytest.raises(ConfigError, match=f"^{message}"):
        pipeline.train(config(wide, tmp_path, "scft.enabled=false", "rat.max_epochs=1", *options), tmp_path / "run")

    assert begun(tmp_path / "run") == {"prepare"}


def test_vanilla_is_not_trained_for_a_term_wider_than_the_encoder(tiny_llm: Path, tmp_path: Path) -> None:
    """`llmemb rat` trains `vanilla` first, and the base is no longer read then."""
    write_catalogue(tmp_path / "source")
    options = ("scft.enabled=false", "rat.max_epochs=1")
    pipeline.train(config(tiny_llm, tmp_path, *options), tmp_path / "run", last="embed")
    wide = config(tiny_llm, tmp_path, *options, "rat.semantic_term.gamma=1.0", "rat.semantic_term.components=33")

    with pytest.raises(
        ConfigError, match=r"^rat\.semantic_term\.components is 33, but the vectors of .* are 32 wide: "
    ):
        pipeline.run_verb("rat", wide, tmp_path / "run")

    assert begun(tmp_path / "run") == {"prepare", "select", "scft", "embed"}


def test_vanilla_is_not_trained_where_rat_lacks_its_vectors(tiny_llm: Path, tmp_path: Path) -> None:
    """All inputs of a verb's steps are looked for before the first of them."""
    write_catalogue(tmp_path / "source")
    whole = config(tiny_llm, tmp_path, "rat.max_epochs=1")
    pipeline.train(whole, tmp_path / "run", last="prepare")

    with pytest.raises(RunError, match="embed is not up to date"):
        pipeline.run_verb("rat", whole, tmp_path / "run")

    assert begun(tmp_path / "run") == {"prepare"}


@pytest.mark.parametrize(
    ("histories", "message"),
    [
        (["abc", "bcd", "cda", "dab"], "no user has two items to train on beside the two that are kept for validation"),
        (["abab", "abcd", "bcdb"], "user 'u1' interacted with all 4 items, so that none is left to rank a target "),
        (["abab", "abc", "bcdb", "cdda"], None),
    ],
)
def test_histories_that_no_step_can_use_are_refused(histories: list[str], message: str | None, tmp_path: Path) -> None:
    """`vanilla` and `evaluate` would find it out after hours."""
    source = tmp_path / "source"
    source.mkdir()
    lines = [f"u{user},{item},{time}" for user, items in enumerate(histories) for time, item in enumerate(items)]
    (source / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n")
    items = sorted(set("".join(histories)))
    (source / "items.jsonl").write_text("".join(json.dumps({"item_id": item, "title": item}) + "\n" for item in items))
    options = ("prepare.min_interactions=1", "prepare.cold_share=0", "rat.components=2")
    whole = config(tmp_path / "no base", tmp_path, *options)
    (tmp_path / "prepare").mkdir()
    prepare.run(whole.prepare, whole.seed, tmp_path / "prepare")

    if message is None:
        check_dataset(whole, tmp_path / "prepare")
        return
    with pytest.raises(DataError, match=f"^{source}: {message}"):
        check_dataset(whole, tmp_path / "prepare")


def test_ray_is_looked_for_before_anything_is_embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without it fails immediately."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "llmemb_training.embedding.ray", raising=False)

    check_ray(config(tmp_path, tmp_path))
    with pytest.raises(ConfigError, match=r"^embed\.engine is 'ray', but the module 'ray' is missing: "):
        check_ray(config(tmp_path, tmp_path, "embed.engine=ray"))
