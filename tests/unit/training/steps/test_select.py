"""`llmemb_training.steps.select`: depth, components and residual mode, chosen on validation."""

from pathlib import Path
from typing import Any

import pytest

from llmemb.bundle import Selection
from llmemb.encoder.encoder import load_llm
from llmemb_training.config import Config
from llmemb_training.embedding.raw_embeddings import load_raw_embeddings
from llmemb_training.rat.selection import read_selections
from llmemb_training.steps import select
from tests.support.prepared import write_prepared


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of 36 warm items and 4 cold ones."""
    return write_prepared(tmp_path_factory.mktemp("prepared"))


def config(llm: Path, **changes: Any) -> Config:
    """Leave everything open that `select` chooses."""
    rat = {
        "model": {"dim": 8, "max_length": 6, "layers": 1},
        "batch_size": 16,
        "learning_rate": 1e-2,
        "components": "auto",
        "residual": {"mode": "auto"},
    }
    sections: dict[str, Any] = {
        "prepare": {"path": "-", "domain": "movie"},
        "encoder": {"base": str(llm), "max_tokens": 64, "depth": "auto"},
        "rat": rat,
        "select": {"depth": [1, 2], "components": [4, 8], "residual": ["none", "all"], "max_epochs": 2},
    }
    return Config.model_validate(sections | changes)


def run(chosen: Config, prepared: Path, output: Path) -> tuple[tuple[Selection, ...], str]:
    output.mkdir(exist_ok=True)
    line = select.run(chosen, prepared, output, output / "logs")
    return read_selections(output), line


@pytest.fixture(scope="module")
def finished(tiny_llm: Path, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step's folder after a choice of everything; read it, never write to it."""
    folder = tmp_path_factory.mktemp("select") / "select"
    run(config(tiny_llm), prepared, folder)
    return folder


def checkpoints(folder: Path) -> dict[str, int]:
    """When each candidate's checkpoint was written last."""
    return {path.stem: path.stat().st_mtime_ns for path in folder.glob("depth-*.safetensors")}


def test_every_open_option_is_chosen_in_turn(finished: Path) -> None:
    """The best of its trials, one option after another; each is tried with what was chosen before it."""
    depth, components, residual = read_selections(finished)

    assert [each.option for each in (depth, components, residual)] == [
        "encoder.depth", "rat.components", "rat.residual.mode"
    ]  # fmt: skip
    for each, candidates in ((depth, [1, 2]), (components, [4, 8]), (residual, ["none", "all"])):
        assert [trial.value for trial in each.trials] == candidates
        assert each.metric == "ndcg@10"
        scores = {trial.value: trial.score for trial in each.trials}
        assert each.chosen == max(scores, key=scores.__getitem__)
        assert len(set(scores.values())) == 2
    best = max(trial.score for trial in depth.trials)
    assert components.trials[0].score == best
    assert {trial.value: trial.score for trial in residual.trials}["none"] == max(t.score for t in components.trials)
    assert sorted(checkpoints(finished)) == sorted(
        {
            "depth-1-components-4-residual-none",
            "depth-2-components-4-residual-none",
            f"depth-{depth.chosen}-components-8-residual-none",
            f"depth-{depth.chosen}-components-{components.chosen}-residual-all",
        }
    )


def test_candidates_read_the_llm_at_their_depth(tiny_llm: Path, prepared: Path, finished: Path) -> None:
    """Each depth has its own raw embeddings, of the untuned LLM; the copy of the LLM is not kept."""
    one, two = (load_raw_embeddings(finished / f"raw-depth-{depth}.safetensors") for depth in (1, 2))
    encoder = load_llm(str(tiny_llm), depth=1, max_tokens=64)
    dataset = select.read_dataset(prepared)
    prompts = [dataset.prompt(100).render(attributes) for attributes in dataset.attributes()]

    assert one == pytest.approx(encoder.encode(prompts), abs=1e-4)
    assert abs(one - two).max() > 1e-2
    assert sorted(path.name for path in finished.iterdir() if path.is_dir()) == ["logs"]


def test_run_that_was_cut_off_trains_only_what_is_left(
    tiny_llm: Path, prepared: Path, finished: Path, tmp_path: Path
) -> None:
    """Existing results are read, not trained again, and the choice is the same."""
    folder = tmp_path / "select"
    folder.mkdir()
    lacking = max(checkpoints(finished))
    for path in finished.glob("*.safetensors"):
        if path.stem != lacking:
            (folder / path.name).write_bytes(path.read_bytes())
    before = checkpoints(folder)
    selections, _ = run(config(tiny_llm), prepared, folder)

    assert selections == read_selections(finished)
    assert {name: stamp for name, stamp in checkpoints(folder).items() if name != lacking} == before
    assert (folder / f"{lacking}.safetensors").read_bytes() == (finished / f"{lacking}.safetensors").read_bytes()


def test_only_what_is_open_is_chosen(tiny_llm: Path, prepared: Path, tmp_path: Path) -> None:
    """A fixed value is no candidate, and every trial uses it."""
    open_one = config(tiny_llm, encoder={"base": str(tiny_llm), "max_tokens": 64, "depth": 1})
    rat = open_one.rat.model_copy(update={"components": 4})
    selections, line = run(open_one.model_copy(update={"rat": rat}), prepared, tmp_path)

    assert [selection.option for selection in selections] == ["rat.residual.mode"]
    assert line == f"rat.residual.mode {selections[0].chosen}"
    assert sorted(checkpoints(tmp_path)) == [
        "depth-1-components-4-residual-all", "depth-1-components-4-residual-none"
    ]  # fmt: skip


def test_nothing_open_runs_nothing(tmp_path: Path) -> None:
    """Neither the dataset nor the LLM is read."""
    fixed = Config.model_validate({"prepare": {"path": "-", "domain": "movie"}, "encoder": {"base": "no/such/llm"}})
    selections, line = run(fixed, tmp_path / "no", tmp_path / "select")

    assert selections == ()
    assert line == "nothing is left open"
    assert [path.name for path in (tmp_path / "select").iterdir()] == ["selection.json"]
