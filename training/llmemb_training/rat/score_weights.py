"""The weights of the parts of a score: gamma, the successor vectors and their delta, and the scale of new items.

All are chosen on a fold: a recommender trained without the pseudo-cold items (`data/pseudo_cold.py`), which
then act as new items. `B` targets, `N` items of the fold, the first `W` of them warm; `d`, `q` as in
`llmemb/scoring/session.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Selection, Trial
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import recency_weights
from llmemb.scoring.session import session_vectors
from llmemb_training.config import RatConfig, SelectConfig, SuccessorsConfig
from llmemb_training.data.dataset import Dataset, Targets
from llmemb_training.data.pseudo_cold import Fold
from llmemb_training.evaluation.ranking import Array, chunks, ndcg, rank_scores
from llmemb_training.rat.recommenders import TrainedRecommender
from llmemb_training.rat.selection import METRIC, choose
from llmemb_training.rat.successors import SuccessorForm, fit_text_map, follower_counts, successor_vectors


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreWeights:
    """The weights, chosen or given by the configuration."""

    gamma: float = 0.0
    """0: no semantic term and no successor vectors."""
    delta: float = 0.0
    form: SuccessorForm | None = None
    """How the successor vectors are computed; None: no successor vectors."""
    text_map: bool = False
    new_item_scale: float = 1.0


@dataclass(frozen=True, slots=True)
class TrialWeights:
    """One candidate combination of weights; delta has no effect without successor vectors."""

    gamma: float
    delta: float = 0.0
    scale: float = 1.0


class FoldScores:
    """NDCG@10 of one set of targets for any weights; the sessions are encoded only once.

    Args:
        recommender: trained on the fold.
        fold: its dataset.
        targets: targets whose histories have at least one item.
    """

    def __init__(self, recommender: TrainedRecommender, fold: Dataset, targets: Targets) -> None:
        self._targets = targets
        self._embeddings = recommender.item_embeddings
        self._profile, self._term = recommender.profile, recommender.semantic_term
        self._known = fold.train_counts > 0
        self._num_warm = fold.num_warm
        max_length = recommender.model.spec.max_length
        histories = [self._embeddings[rows[-max_length:]] for rows in targets.histories]
        self._sessions = session_vectors(recommender.model, histories)  # (B, d)

    def full(self, trials: Sequence[TrialWeights], successors: Array | None = None) -> list[float]:
        """Return NDCG@10 among all items of the fold, excluding the items of the history, for each trial."""
        return self._measure(trials, successors, pool=False)

    def pool(self, trials: Sequence[TrialWeights], successors: Array | None = None) -> list[float]:
        """Return NDCG@10 among the pseudo-cold items only; all targets must be pseudo-cold."""
        return self._measure(trials, successors, pool=True)

    def _measure(self, trials: Sequence[TrialWeights], successors: Array | None, *, pool: bool) -> list[float]:
        rows, histories = self._targets.rows, self._targets.histories
        first = self._num_warm if pool else 0
        ranks = np.empty((len(trials), len(rows)), dtype=np.int64)
        for chunk in chunks(len(rows), len(self._embeddings)):
            sequence = self._sessions[chunk] @ self._embeddings[first:].T
            semantic = self._profile_scores(chunk, self._profile, first)
            following = self._profile_scores(chunk, successors, first)
            for line, trial in enumerate(trials):
                scores = np.where(self._known[first:], sequence, np.float32(trial.scale) * sequence)
                if semantic is not None:
                    scores += np.float32(trial.gamma) * semantic
                if following is not None:
                    scores += np.float32(trial.delta) * following
                ranks[line, chunk] = rank_scores(scores, rows[chunk] - first, () if pool else histories[chunk])
        return [float(ndcg(line, 10).mean()) if len(line) else 0.0 for line in ranks]

    def _profile_scores(self, chunk: slice, vectors: Array | None, first: int) -> Array | None:
        """Return the inner products `(n, N - first)` of the histories' weighted means with the profile vectors."""
        if vectors is None or self._profile is None or self._term is None:
            return None
        means = [
            recency_weights(min(len(rows), self._term.history), self._term.decay) @ vectors[rows[-self._term.history :]]
            for rows in self._targets.histories[chunk]
        ]
        products: Array = np.stack(means) @ self._profile[first:].T
        return products


def given_weights(config: RatConfig) -> ScoreWeights | None:
    """Return the weights from the configuration; None if any of them is "auto"."""
    term, successors, scale = config.semantic_term, config.successors, config.new_item_scale
    if term.gamma == "auto" or scale == "auto":
        return None
    if term.gamma == 0 or successors.delta == 0:
        return ScoreWeights(gamma=term.gamma, new_item_scale=scale)
    if "auto" in (
        successors.delta, successors.estimator, successors.out_power, successors.in_power, successors.window,
        successors.text_map,
    ):  # fmt: skip
        return None
    form = SuccessorForm.model_validate(successors.model_dump(exclude={"delta", "text_map"}))
    return ScoreWeights(
        gamma=term.gamma,
        delta=float(successors.delta),
        form=form,
        text_map=bool(successors.text_map),
        new_item_scale=scale,
    )


def choose_weights(
    config: RatConfig, select: SelectConfig, recommender: TrainedRecommender, fold: Fold
) -> tuple[ScoreWeights, list[Selection]]:
    """Choose the weights that are "auto" in the configuration: gamma, successors and the scale of new items.

    - gamma and the scale of new items: the candidates are the values whose score on the validation targets, ranked
      among all items with the pseudo-cold ones, is at most a given share below the best. Of these, the value with the
      best score on the pseudo-cold targets is chosen: ranked among the pseudo-cold items for gamma, among all items for
      the scale.
    - the form of the successor vectors and delta: the best score on the validation targets, each form at its best
      delta.
    - the text map: used if it improves the ranks of targets that follow a pseudo-cold item.

    Args:
        config: the configuration of `rat`.
        select: the candidates.
        recommender: trained on the fold, with the semantic term used in its training.
        fold: the fold from `hold_out`.
    """
    warm, cold = (
        FoldScores(recommender, fold.dataset, targets)
        for targets in (fold.dataset.validation, fold.dataset.cold_targets)
    )
    selections: list[Selection] = []
    gamma = recommender.semantic_term.gamma if recommender.semantic_term else 0.0
    if config.semantic_term.gamma == "auto":
        learned = round(gamma, 3)
        candidates = [learned, *(value for value in select.gamma if value != learned)]
        trials = [TrialWeights(value) for value in candidates]
        selections.append(
            choose_within(
                "rat.semantic_term.gamma", candidates, warm.full(trials), cold.pool(trials), select.gamma_cost
            )
        )
        gamma = float(selections[-1].chosen)
    weights = ScoreWeights(gamma=gamma)
    successors = None
    if gamma and config.successors.delta != 0:
        weights, successors = _choose_successors(config.successors, select, recommender, fold, warm, gamma, selections)
    scale = config.new_item_scale
    if scale == "auto":
        useful = recommender.residual is not None and recommender.scoring == "dot"
        scales = select.new_item_scale if useful else (1.0,)
        trials = [TrialWeights(gamma, weights.delta, value) for value in scales]
        kept = warm.full(trials, successors), cold.full(trials, successors)
        selections.append(choose_within("rat.new_item_scale", scales, *kept, select.new_item_cost))
        scale = float(selections[-1].chosen)
    return replace(weights, new_item_scale=scale), selections


def choose_within(
    option: str, candidates: Sequence[float], scores: Sequence[float], cold_scores: Sequence[float], cost: float
) -> Selection:
    """Choose the best candidate for new items among those whose score is at most the share `cost` below the best.

    The first of equal candidates wins.

    Args:
        option: its key in the configuration.
        candidates: the candidate values.
        scores: score of each candidate on the validation targets.
        cold_scores: score of each candidate on the pseudo-cold targets.
        cost: maximum loss on the validation targets, as a share of the best score.
    """
    least = (1 - cost) * max(scores)
    within = [place for place, score in enumerate(scores) if score >= least]
    best = max(within, key=lambda place: cold_scores[place])
    trials = tuple(Trial(value=value, score=score) for value, score in zip(candidates, scores, strict=True))
    metric = f"{METRIC}, the best for new items within {cost:.1%} of the best"
    return Selection(option=option, chosen=candidates[best], metric=metric, trials=trials)


def _choose_successors(
    config: SuccessorsConfig,
    select: SelectConfig,
    recommender: TrainedRecommender,
    fold: Fold,
    warm: FoldScores,
    gamma: float,
    selections: list[Selection],
) -> tuple[ScoreWeights, Array | None]:
    """Choose form, delta and text map; return the weights and the fold's successor vectors `(N, q)`."""
    assert recommender.profile is not None
    deltas = list(select.delta) if config.delta == "auto" else [config.delta]
    trials = [TrialWeights(gamma, delta) for delta in deltas]
    scores: dict[SuccessorForm, list[float]] = {}

    def scores_of(form: SuccessorForm) -> list[float]:
        if form not in scores:
            scores[form] = warm.full(trials, _vectors(form, recommender, fold.dataset, text_map=False)[0])
        return scores[form]

    candidates = _candidates(config, select)
    form = SuccessorForm.model_validate(
        {name: values[0] for name, values in candidates.items()} | {"decay": config.decay, "ridge": config.ridge}
    )
    for name, values in candidates.items():
        if len(values) > 1:
            tried = {value: form.model_copy(update={name: value}) for value in values}
            best = {value: max(scores_of(one)) for value, one in tried.items()}
            selections.append(choose(f"rat.successors.{name}", values, best.__getitem__))
            form = tried[selections[-1].chosen]
    delta = deltas[0]
    if config.delta == "auto":
        by_delta = dict(zip(deltas, scores_of(form), strict=True))
        selections.append(choose("rat.successors.delta", deltas, by_delta.__getitem__))
        delta = float(selections[-1].chosen)
    if delta == 0:
        return ScoreWeights(gamma=gamma), None
    text_map = config.text_map
    if text_map == "auto":
        mixed = FoldScores(recommender, fold.dataset, fold.mixed)
        selections.append(
            choose(
                "rat.successors.text_map",
                [0, 1],
                lambda value: mixed.full(
                    [TrialWeights(gamma, delta)], _vectors(form, recommender, fold.dataset, text_map=bool(value))[0]
                )[0],
            )
        )
        text_map = bool(selections[-1].chosen)
    vectors, _ = _vectors(form, recommender, fold.dataset, text_map=text_map)
    return ScoreWeights(gamma=gamma, delta=delta, form=form, text_map=text_map), vectors


_FormValue = int | float | str


def _candidates(config: SuccessorsConfig, select: SelectConfig) -> dict[str, Sequence[_FormValue]]:
    """Return the candidates for each option of the form: those of `select` if it is "auto", else the given value."""
    open_values: dict[str, tuple[_FormValue, Sequence[_FormValue]]] = {
        "estimator": (config.estimator, select.successor_estimator),
        "out_power": (config.out_power, select.successor_out_power),
        "in_power": (config.in_power, select.successor_in_power),
        "window": (config.window, select.successor_window),
    }
    return {name: several if given == "auto" else (given,) for name, (given, several) in open_values.items()}


def _vectors(
    form: SuccessorForm, recommender: TrainedRecommender, dataset: Dataset, *, text_map: bool
) -> tuple[Array, Array | None]:
    """Return the successor vectors `(N, q)` of all items, and the text map `(q, q)` used for new items.

    An item without followers in training, such as a new item, gets its vector from the text map, or the zero vector
    without a map.
    """
    assert recommender.profile is not None
    warm = recommender.profile[: dataset.num_warm]
    counts = follower_counts(dataset.train, dataset.num_warm, form.window, form.decay)
    vectors = np.zeros_like(recommender.profile)
    vectors[: dataset.num_warm] = successor_vectors(form, counts, warm)
    if not text_map:
        return vectors, None
    map_ = fit_text_map(warm, vectors[: dataset.num_warm], counts, form.ridge)
    nothing_follows = np.ones(len(vectors), dtype=np.bool_)
    nothing_follows[: dataset.num_warm] = counts.sum(axis=1) == 0
    vectors[nothing_follows] = recommender.profile[nothing_follows] @ map_
    return vectors, map_


def with_weights(recommender: TrainedRecommender, weights: ScoreWeights, dataset: Dataset) -> TrainedRecommender:
    """Return a trained recommender with the given weights.

    Args:
        recommender: trained on all of `dataset`, with the semantic term used in its training.
        weights: the weights from `choose_weights`.
        dataset: the dataset from which successor vectors are computed.
    """
    scaled = with_new_items_scaled(recommender, weights.new_item_scale, dataset.train_counts > 0)
    if scaled.semantic_term is None or weights.gamma == 0:
        return replace(scaled, semantic_term=None, profile=None)
    term = replace(scaled.semantic_term, gamma=weights.gamma)
    if weights.form is None:
        return replace(scaled, semantic_term=term)
    vectors, text_map = _vectors(weights.form, recommender, dataset, text_map=weights.text_map)
    term = replace(term, delta=weights.delta, text_map=text_map)
    return replace(scaled, semantic_term=term, successors=vectors.astype(np.float16))


def with_new_items_scaled(
    recommender: TrainedRecommender, scale: float, known: NDArray[np.bool_]
) -> TrainedRecommender:
    """Return the recommender with a scaled projection, and residuals that keep the known items' embeddings unchanged.

    A residual makes an embedding longer, so items without a residual rank lower because of their length. The scale has
    no effect on cosine scores, which ignore length.

    Args:
        recommender: has a projection and residuals, or is returned unchanged.
        scale: factor for the embeddings of items without training interactions.
        known: which items have training interactions, `(N,)`.
    """
    if scale == 1.0 or recommender.residual is None or recommender.projection is None:
        return recommender
    factor = np.float32(scale)
    projection = Projection(recommender.projection.weight * factor, recommender.projection.bias * factor)
    semantic = recommender.semantic * factor
    residual = np.where(known[:, None], recommender.item_embeddings - semantic, np.float32(0))
    return replace(recommender, semantic=semantic, residual=residual, projection=projection)
