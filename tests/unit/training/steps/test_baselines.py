"""`steps.baselines`: recommenders that differ by what they say, and that a kill does not train twice."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import DataError
from llmemb_training.data.dataset import read_dataset
from llmemb_training.evaluation.baselines import LLM_INIT
from llmemb_training.rat.recommenders import read_recommender
from llmemb_training.steps import baselines
from llmemb_training.steps.baselines import INITIAL_DEVIATION, initial_table
from llmemb_training.steps.evaluate import Folders
from tests.support.evaluated import RAT, write_inputs

ITEMS, COLD = 40, 4
CONFIG = RAT.model_copy(update={"max_epochs": 2})
Inputs = tuple[Folders, np.ndarray]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """A dataset and raw embeddings; read them only."""
    return write_inputs(tmp_path_factory.mktemp("inputs"), num_items=ITEMS, num_cold=COLD, num_users=50)


@pytest.fixture(scope="module")
def trained(inputs: Inputs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step's folder after a run; read it only."""
    output = tmp_path_factory.mktemp("trained")
    baselines.run(CONFIG, 3, inputs[0].dataset, inputs[1], output, output.with_name("logs"))
    return output


def test_two_recommenders_are_written(trained: Path) -> None:
    """The other loss ranks the warm items only; LLMInit has a vector for the cold ones too."""
    tables = {name: read_recommender(trained / name, RAT.model).item_vectors for name in ("vanilla_bce", LLM_INIT)}

    assert {path.name for path in trained.iterdir()} == set(tables)
    assert tables["vanilla_bce"].shape == (ITEMS - COLD, RAT.model.dim)
    assert tables[LLM_INIT].shape == (ITEMS, RAT.model.dim)


def test_llm_init_starts_from_the_texts_and_trains_on(trained: Path, inputs: Inputs) -> None:
    """Warm rows moved away from where they started; the cold ones, without interactions, did not."""
    initial = initial_table(inputs[1], ITEMS - COLD, RAT.model.dim, 3)
    table = read_recommender(trained / LLM_INIT, RAT.model).item_vectors
    warm, cold = slice(None, ITEMS - COLD), slice(ITEMS - COLD, None)
    cosines = (table * initial).sum(axis=1) / np.linalg.norm(table, axis=1) / np.linalg.norm(initial, axis=1)

    np.testing.assert_array_equal(table[cold], initial[cold])
    assert not np.allclose(table[warm], initial[warm], atol=1e-4)
    assert np.mean(cosines[warm]) > 0.5


@pytest.mark.parametrize("dim", [4, 16, 40])
def test_initial_table_is_principal_components_at_the_scale_of_a_random_one(dim: int) -> None:
    """Items of like texts stay alike; where the LLM is narrower than the table, the rest is random."""
    raw = np.random.default_rng(0).normal(size=(300, 16)).astype(np.float32)
    raw[1] = raw[0]
    table = initial_table(raw, 280, dim, 3)
    known = min(dim, 16)

    assert table.shape == (300, dim)
    assert table.dtype == np.float32
    assert table[:280, :known].std() == pytest.approx(INITIAL_DEVIATION, rel=0.05)
    np.testing.assert_array_equal(table[0, :known], table[1, :known])
    assert dim <= 16 or not np.allclose(table[0, known:], table[1, known:])
    assert not np.array_equal(initial_table(raw[::-1].copy(), 280, dim, 3), table)


def test_loss_is_the_one_that_was_not_chosen(inputs: Inputs, tmp_path: Path) -> None:
    """After BCE it is the full softmax."""
    config = CONFIG.model_copy(update={"loss": "bce", "max_epochs": 1})
    summary = baselines.run(config, 3, inputs[0].dataset, inputs[1], tmp_path / "bce", tmp_path / "logs")

    assert summary.startswith("vanilla_softmax ")
    assert f"; {LLM_INIT} " in summary


def test_finished_baselines_are_not_trained_again(trained: Path, inputs: Inputs, tmp_path: Path) -> None:
    """After a kill the step goes on from each checkpoint, to the same recommenders and without another epoch."""
    output = tmp_path / "baselines"
    shutil.copytree(trained, output)
    shutil.rmtree(output / LLM_INIT)
    before = (output / "vanilla_bce" / "checkpoint.safetensors").stat().st_mtime_ns
    baselines.run(CONFIG, 3, inputs[0].dataset, inputs[1], output, tmp_path / "logs")

    assert (output / "vanilla_bce" / "checkpoint.safetensors").stat().st_mtime_ns == before
    for name in ("vanilla_bce", LLM_INIT):
        first, second = (read_recommender(folder / name, RAT.model).item_vectors for folder in (trained, output))
        np.testing.assert_array_equal(first, second)


def test_texts_that_are_all_the_same_are_an_error(inputs: Inputs, tmp_path: Path) -> None:
    """LLMInit has nothing to start from."""
    assert read_dataset(inputs[0].dataset).num_items == ITEMS
    with pytest.raises(DataError, match="the same raw embedding"):
        baselines.run(CONFIG, 3, inputs[0].dataset, np.ones_like(inputs[1]), tmp_path, tmp_path / "logs")
