"""`llmemb_training.rat.score_weights`: the parts of the score computed once give what the whole recommender gives."""

from dataclasses import replace

import numpy as np
import pytest

from llmemb.scoring.item_space import join
from llmemb.scoring.projection import fit_reduction, fold
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model
from llmemb_training.config import RatConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.data.pseudo_cold import Fold, hold_out
from llmemb_training.evaluation.ranking import embedding_scorer, full_ranks, ndcg
from llmemb_training.rat.recommenders import TrainedRecommender
from llmemb_training.rat.score_weights import (
    FoldScores,
    TrialWeights,
    choose_within,
    given_weights,
    with_new_items_scaled,
)
from tests.support.prepared import write_prepared

DIM = 8


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> Fold:
    dataset = read_dataset(write_prepared(tmp_path_factory.mktemp("prepared")))
    return hold_out(dataset, 1 / 6, 5, np.random.default_rng(4))


@pytest.fixture(scope="module")
def recommender(held_out: Fold) -> TrainedRecommender:
    """Random weights, a random residual of the known items, and profile vectors of random embeddings."""
    random = np.random.default_rng(0)
    known = held_out.dataset.train_counts > 0
    raw = random.normal(size=(held_out.dataset.num_items, 12)).astype(np.float32)
    reduction = fold(fit_reduction(raw, 5, "whiten"), [])
    term = SemanticTerm(reduction, 1.0, 3, 0.6)
    projection = fold(fit_reduction(raw, DIM, "whiten"), [])
    return TrainedRecommender(
        build_sequence_model(SequenceModelSpec(dim=DIM, max_length=4)).eval(),
        projection.apply(raw),
        random.normal(size=(len(raw), DIM)).astype(np.float32) * known[:, None],
        projection,
        semantic_term=term,
        profile=term.apply(raw),
    )


@pytest.mark.parametrize(
    "weighing", [TrialWeights(0.0), TrialWeights(3.0), TrialWeights(3.0, 2.0), TrialWeights(3.0, 2.0, 1.5)]
)
def test_parts_give_what_the_whole_gives(
    held_out: Fold, recommender: TrainedRecommender, weighing: TrialWeights
) -> None:
    """Validation and pseudo-cold targets, under any weights, with and without successor vectors."""
    dataset = held_out.dataset
    successors = np.random.default_rng(1).normal(size=(dataset.num_items, 5)).astype(np.float32)
    scaled = with_new_items_scaled(recommender, weighing.scale, dataset.train_counts > 0)
    assert recommender.semantic_term is not None
    term = replace(recommender.semantic_term, gamma=weighing.gamma, delta=weighing.delta)
    scorer = embedding_scorer(recommender.model, scaled.item_vectors, term, join(scaled.item_vectors, successors))
    for targets in (dataset.validation, dataset.cold_targets):
        whole = full_ranks(scorer, targets, dataset.num_items, exclude_history=True)

        found = FoldScores(recommender, dataset, targets).full([TrialWeights(1.0), weighing], successors)

        assert found[1] == pytest.approx(ndcg(whole, 10).mean(), abs=1e-3)
        assert found[1] > 0


def test_pool_is_that_of_the_pseudo_cold_items(held_out: Fold, recommender: TrainedRecommender) -> None:
    """By hand: the target's place among the held-out items by their scores."""
    dataset, weighing = held_out.dataset, TrialWeights(3.0)
    assert recommender.semantic_term is not None
    scorer = embedding_scorer(
        recommender.model, recommender.item_vectors, replace(recommender.semantic_term, gamma=3.0)
    )
    scores = scorer(dataset.cold_targets.histories)[:, dataset.num_warm :]
    own = scores[np.arange(len(scores)), dataset.cold_targets.rows - dataset.num_warm]
    ranks = 1 + (scores > own[:, None]).sum(axis=1)

    (found,) = FoldScores(recommender, dataset, dataset.cold_targets).pool([weighing])

    assert found == pytest.approx(ndcg(ranks, 10).mean(), abs=1e-3)


def test_choice_is_the_best_for_new_items_within_the_cost() -> None:
    """By hand: 4 costs too much, 2 is better for new items than 1; of equals the first."""
    selection = choose_within("rat.x", (1.0, 2.0, 3.0, 4.0), (1.0, 0.995, 0.99, 0.98), (0.1, 0.3, 0.3, 0.9), 0.01)

    assert selection.chosen == 2.0
    assert [(trial.value, trial.score) for trial in selection.trials] == [(1, 1.0), (2, 0.995), (3, 0.99), (4, 0.98)]
    assert choose_within("rat.x", (1.0, 2.0), (0.5, 0.5), (0.2, 0.2), 0.0).chosen == 1.0


def test_weights_that_are_all_given_need_no_fold() -> None:
    """Anything left open does, unless a weight of 0 makes it idle."""
    given = RatConfig.model_validate({"semantic_term": {"gamma": 2}, "successors": {"delta": 3, "text_map": False}})
    open_map = RatConfig.model_validate({"semantic_term": {"gamma": 2}, "successors": {"delta": 3}})
    idle = RatConfig.model_validate({"semantic_term": {"gamma": 0}, "successors": {"delta": "auto"}})

    weights = given_weights(given)
    assert weights is not None
    assert weights.form is not None
    assert (weights.gamma, weights.delta, weights.form.window, weights.text_map) == (2, 3, 3, False)
    assert given_weights(open_map) is None
    assert given_weights(idle) is not None
    assert given_weights(RatConfig(new_item_scale="auto")) is None
