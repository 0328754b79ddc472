"""`llmemb_training.steps.rat`, after `llmemb_training.steps.vanilla`: the files written, and the choices made."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmemb.errors import ConfigError
from llmemb_training.config import RatConfig, SelectConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.rat.adapting import START_GAMMA
from llmemb_training.rat.recommenders import TrainedRecommender, read_recommender
from llmemb_training.rat.selection import read_selections
from llmemb_training.steps import rat, vanilla
from tests.support.prepared import write_prepared

SELECT = SelectConfig(gamma=(0.0, 0.5, 20.0))
MODEL = {"dim": 8, "max_length": 6, "layers": 1, "dropout": 0.1}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared dataset of 36 warm items and 4 cold ones, and in `vanilla` the recommender on ids."""
    folder = write_prepared(tmp_path_factory.mktemp("prepared"))
    (folder / "vanilla").mkdir()
    vanilla.run(config(), 3, folder, folder / "vanilla", folder / "logs")
    return folder


def config(**options: Any) -> RatConfig:
    values = {"model": MODEL, "components": 6, "batch_size": 16, "learning_rate": 1e-2, "max_epochs": 2}
    return RatConfig.model_validate(values | options)


def run(
    prepared: Path, output: Path, gamma: float | str, *, trained: bool = True, **options: Any
) -> tuple[TrainedRecommender, str]:
    """Run the step with a semantic term; return what it wrote and its summary."""
    output.mkdir(exist_ok=True)
    term = {"gamma": gamma, "trained": trained, "components": 5, "history": 3, "decay": 0.6}
    chosen = config(semantic_term=term, **options)
    line = rat.run(chosen, SELECT, 3, prepared, raw(prepared), prepared / "vanilla", output, output / "logs")
    return read_recommender(output, chosen.model), line


def raw(prepared: Path) -> rat.Array:
    """Embeddings that encode the taste an item is for, so that the semantic term helps."""
    num_items = read_dataset(prepared).num_items
    random = np.random.default_rng(0)
    table = random.normal(size=(num_items, 12)) + 4 * np.eye(4, 12)[np.arange(num_items) % 4]
    return table.astype(np.float32)


def test_vanilla_is_a_table_of_ids(prepared: Path, tmp_path: Path) -> None:
    """One vector for each warm item, no projection; the same again by the same seed."""
    first = read_recommender(prepared / "vanilla", config().model)
    line = vanilla.run(config(), 3, prepared, tmp_path, tmp_path / "logs")
    second = read_recommender(tmp_path, config().model)

    assert first.semantic.shape == (36, 8)
    assert (first.residual, first.projection, first.semantic_term) == (None, None, None)
    assert np.array_equal(first.semantic, second.semantic)
    assert line.startswith("sasrec, validation NDCG@10 0.")


def test_gamma_of_zero_leaves_the_term_out(prepared: Path, tmp_path: Path) -> None:
    """The recommender has neither a term nor profile vectors, and nothing was chosen."""
    recommender, line = run(prepared, tmp_path, 0)

    assert (recommender.semantic_term, recommender.profile) == (None, None)
    assert read_selections(tmp_path) == ()
    assert line.endswith(", gamma 0, delta 0, new items scaled by 1")


def test_fixed_gamma_is_taken(prepared: Path, tmp_path: Path) -> None:
    """With the width and the history of the configuration; profile vectors of all items, of unit length."""
    recommender, line = run(prepared, tmp_path, 0.75)

    assert recommender.semantic_term is not None
    assert recommender.profile is not None
    term = recommender.semantic_term
    assert (term.gamma, term.history, term.decay, term.components) == (0.75, 3, 0.6, 5)
    assert np.array_equal(recommender.profile, term.apply(raw(prepared)))
    assert np.linalg.norm(recommender.profile, axis=1) == pytest.approx(np.ones(40))
    assert read_selections(tmp_path) == ()
    assert ", gamma 0.75, " in line


def test_gamma_is_chosen_on_a_fold(prepared: Path, tmp_path: Path) -> None:
    """Every candidate is tried; of those within the cost of the best the one that ranks pseudo-cold items best."""
    recommender, line = run(prepared, tmp_path / "auto", "auto", trained=False)
    fixed, _ = run(prepared, tmp_path / "fixed", 20.0, trained=False)
    (selection,) = read_selections(tmp_path / "auto")
    scores = {trial.value: trial.score for trial in selection.trials}

    assert selection.option == "rat.semantic_term.gamma"
    assert selection.metric == "ndcg@10, the best for new items within 1.0% of the best"
    assert tuple(scores) == (START_GAMMA, *SELECT.gamma)
    assert scores[selection.chosen] >= 0.99 * max(scores.values())
    assert selection.chosen > 0  # the embeddings were made for it
    assert f", gamma {selection.chosen:.3g}, " in line
    assert recommender.semantic_term is not None
    assert recommender.semantic_term.gamma == selection.chosen
    # The written model is trained on all items, whatever was chosen on the fold.
    assert np.array_equal(recommender.item_embeddings, fixed.item_embeddings)


def test_term_in_training_changes_what_is_learned_and_gamma(prepared: Path, tmp_path: Path) -> None:
    """An open gamma moves from where it starts, a given one stays; the sequence model is another one either way."""
    run(prepared, tmp_path / "auto", "auto")
    (selection,) = read_selections(tmp_path / "auto")
    beside, _ = run(prepared, tmp_path / "beside", 2.0)
    after, _ = run(prepared, tmp_path / "after", 2.0, trained=False)

    assert selection.trials[0].value != START_GAMMA
    assert beside.semantic_term is not None
    assert beside.semantic_term.gamma == pytest.approx(2.0)
    assert not np.allclose(beside.semantic, after.semantic, atol=1e-3)


def test_new_items_are_scaled_and_known_ones_stay(prepared: Path, tmp_path: Path) -> None:
    """What the projection gives grows; with its residual a known item is where it was, and a cold one is longer."""
    dataset = read_dataset(prepared)
    plain, _ = run(prepared, tmp_path / "plain", 0)
    scaled, line = run(prepared, tmp_path / "scaled", 0, new_item_scale=1.5)
    known = dataset.train_counts > 0

    assert not known.all()
    np.testing.assert_allclose(scaled.item_embeddings[known], plain.item_embeddings[known], atol=1e-5)
    np.testing.assert_allclose(scaled.item_embeddings[~known], 1.5 * plain.item_embeddings[~known], atol=1e-5)
    assert scaled.projection is not None
    np.testing.assert_allclose(scaled.projection.apply(raw(prepared)), scaled.semantic, atol=1e-4)
    assert line.endswith("new items scaled by 1.5")


def test_scale_of_new_items_costs_little(prepared: Path, tmp_path: Path) -> None:
    """Within the share that may be given up; cosine scoring and tables without residuals know no length."""
    run(prepared, tmp_path / "auto", 0, new_item_scale="auto")
    (selection,) = read_selections(tmp_path / "auto")
    scores = {trial.value: trial.score for trial in selection.trials}

    assert tuple(scores) == SELECT.new_item_scale
    assert scores[selection.chosen] >= (1 - SELECT.new_item_cost) * max(scores.values())
    run(prepared, tmp_path / "cosine", 0, new_item_scale="auto", scoring="cosine")
    assert read_selections(tmp_path / "cosine")[0].chosen == 1.0


def test_collaborative_table_is_vanilla_s(prepared: Path, tmp_path: Path) -> None:
    """Alignment reads it: a strong one changes the recommender."""
    plain, _ = run(prepared, tmp_path / "a", 0, alignment={"alpha": 0})
    aligned, _ = run(prepared, tmp_path / "b", 0, alignment={"alpha": 50, "temperature": 0.1})

    assert not np.allclose(plain.semantic, aligned.semantic, atol=1e-3)


def test_term_that_is_too_wide_is_named(prepared: Path, tmp_path: Path) -> None:
    """The error is of the term's option, not of the adapter's."""
    wide = config(semantic_term={"gamma": 1, "components": 64})

    with pytest.raises(ConfigError, match=r"^rat\.semantic_term\.components is 64, but 36 items of width 12 allow"):
        rat.run(wide, SELECT, 3, prepared, raw(prepared), prepared / "vanilla", tmp_path, tmp_path / "logs")


def test_successors_are_counted_in_training_and_weighed_as_given(prepared: Path, tmp_path: Path) -> None:
    """All given: nothing is chosen; a new item has what its text suggests, or nothing."""
    dataset = read_dataset(prepared)
    given = {"delta": 2.5, "estimator": "mean", "out_power": 1.0, "in_power": 0.0, "window": 2}
    with_map, line = run(prepared, tmp_path / "map", 1, successors={**given, "text_map": True})
    without, _ = run(prepared, tmp_path / "none", 1, successors={**given, "text_map": False})

    assert read_selections(tmp_path / "map") == ()
    assert ", gamma 1, delta 2.5, " in line
    assert with_map.successors is not None
    assert without.successors is not None
    assert with_map.profile is not None
    assert with_map.semantic_term is not None
    assert with_map.semantic_term.text_map is not None
    assert (with_map.semantic_term.delta, with_map.successors.dtype) == (2.5, np.float16)
    assert with_map.history_vectors.shape == (dataset.num_items, 8 + 5 + 5)
    new = slice(dataset.num_warm, None)
    suggested = with_map.semantic_term.successors_of_texts(with_map.profile[new])
    np.testing.assert_allclose(with_map.successors[new], suggested, atol=2e-3)
    assert not without.successors[new].any()
    assert np.array_equal(with_map.successors[: dataset.num_warm], without.successors[: dataset.num_warm])


def test_open_successors_are_chosen_on_a_fold(prepared: Path, tmp_path: Path) -> None:
    """Each open value is a selection of its own; delta 0 leaves them out."""
    still_open = dict.fromkeys(("delta", "estimator", "out_power", "in_power", "window", "text_map"), "auto")
    recommender, line = run(prepared, tmp_path / "auto", 1, successors=still_open)
    selections = {selection.option: selection for selection in read_selections(tmp_path / "auto")}
    delta = selections["rat.successors.delta"]

    assert list(selections)[:5] == [
        f"rat.successors.{name}" for name in ("estimator", "out_power", "in_power", "window", "delta")
    ]
    assert delta.chosen == max(delta.trials, key=lambda trial: trial.score).value
    assert ("rat.successors.text_map" in selections) == (delta.chosen > 0)
    assert (recommender.successors is None) == (delta.chosen == 0)
    assert f", delta {delta.chosen:g}, " in line


def test_fold_that_was_trained_is_not_trained_again(prepared: Path, tmp_path: Path) -> None:
    """Cut off after the fold, the step goes on to the same result."""
    whole, line = run(prepared, tmp_path / "whole", "auto", trained=False)
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(tmp_path / "whole" / "fold.safetensors", cut)
    stamp = (cut / "fold.safetensors").stat().st_mtime_ns
    resumed, resumed_line = run(prepared, cut, "auto", trained=False)

    assert resumed_line == line
    assert (cut / "fold.safetensors").stat().st_mtime_ns == stamp
    assert np.array_equal(resumed.history_vectors, whole.history_vectors)
