"""`replay`: the gain of new items from their first clicks, measured on their later clicks and on the test targets.

figures.json, table.md  see `llmemb_training.evaluation.replay`
work/                   completed blocks, until the step is complete

`N` items, `C` of them cold; `n` targets; `K` the last k. A new item has K + 1 states: its residual fitted to its first
0, 1, ..., K clicks.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from llmemb.scoring.first_clicks import Background, ClickPrior, Wide, fit_residual, log_partition
from llmemb.scoring.session import items_read, session_vectors
from llmemb_training.config import RatConfig, ReplayConfig
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset, Rows, Targets, read_dataset
from llmemb_training.evaluation.ranking import Ranks, chunks, embedding_scorer, full_ranks, hit_rate, ndcg, rank_scores
from llmemb_training.evaluation.replay import (
    FIRST_CLICKS,
    FROZEN,
    TRAINED_ANEW,
    Clicks,
    ReplayFigures,
    ReplayRow,
    plan_replay,
    write_replay,
)
from llmemb_training.rat.recommenders import TrainedRecommender, read_recommender
from llmemb_training.runs.progress import bar

Array = NDArray[np.float32]
Values = TypeVar("Values", Array, Ranks)
BLOCK = 256
"""Number of items or targets per block; each completed block is saved."""
WORK = "work"


def run(
    config: ReplayConfig,
    rat_config: RatConfig,
    seed: int,
    dataset_folder: Path,
    rat_folder: Path,
    retrained_folder: Path | None,
    output: Path,
    *,
    exclude_history: bool,
) -> str:
    """Replay, write the table, and return the summary line; resumes an interrupted run.

    Args:
        config: the section `replay`.
        rat_config: the section `rat`, which the recommenders were trained with.
        seed: the seed in the configuration.
        dataset_folder: output of `prepare`.
        rat_folder: output of `rat`, with the frozen recommender.
        retrained_folder: folder of the recommender trained with the first clicks, or None.
        output: the step's folder.
        exclude_history: whether items of the history are excluded from ranking.

    Raises:
        ConfigError: the configuration or its data does not support a replay.
        DataError: the dataset has no times.
    """
    dataset = read_dataset(dataset_folder)
    clicks, places = plan_replay(config, rat_config, dataset, seed)
    recommender = read_recommender(rat_folder, rat_config.model)
    work = output / WORK
    work.mkdir(exist_ok=True)
    replay = _Replay(config, seed, dataset, recommender, clicks, exclude_history=exclude_history)
    states = _in_blocks(dataset.num_items - dataset.num_warm, "items", work, replay.fit)
    later = _in_blocks(len(places), "later", work, lambda block: replay.rank_later(states, places[block]))
    ordinary = _in_blocks(len(dataset.test.rows), "ordinary", work, lambda block: replay.rank_ordinary(states, block))
    rows = [_row(FIRST_CLICKS if k else FROZEN, k, later[:, i], ordinary[:, i]) for i, k in enumerate(config.ks)]
    if retrained_folder is not None:
        retrained = read_recommender(retrained_folder, rat_config.model)
        scorer = embedding_scorer(
            retrained.model, retrained.item_vectors, retrained.semantic_term, retrained.history_vectors
        )

        def rank(targets: Targets) -> Ranks:
            return full_ranks(scorer, targets, dataset.num_items, exclude_history=exclude_history)

        known = clicks.targets(dataset, places)
        later = _in_blocks(len(places), "later-anew", work, lambda block: rank(known.part(block)))
        ordinary = _in_blocks(len(ordinary), "ordinary-anew", work, lambda block: rank(dataset.test.part(block)))
        rows.append(_row(TRAINED_ANEW, config.ks[-1], later, ordinary))
    figures = ReplayFigures(
        seed=seed,
        by_position=clicks.by_position,
        held_out_items=dataset.num_items - dataset.num_warm,
        measured_items=len(np.unique(clicks.rows[places])),
        later_clicks=len(places),
        ordinary_targets=len(dataset.test.rows),
        rows=tuple(rows),
    )
    write_replay(output, figures)
    shutil.rmtree(work)
    last = figures.rows[len(config.ks) - 1]
    return (
        f"{figures.later_clicks:,} later clicks of {figures.measured_items:,} new items: HR@10 "
        f"{rows[0].later_hr_at_10:.4f} frozen, {last.later_hr_at_10:.4f} with {last.clicks} clicks"
    )


class _Replay:
    """A frozen recommender, and new items whose residuals are fitted to their clicks.

    Args:
        config: the section `replay`.
        seed: seed for the background sessions.
        dataset: the dataset with the clicks and the test targets.
        recommender: the frozen recommender.
        clicks: all clicks.
        exclude_history: whether items of the history are excluded from ranking.
    """

    def __init__(
        self,
        config: ReplayConfig,
        seed: int,
        dataset: Dataset,
        recommender: TrainedRecommender,
        clicks: Clicks,
        *,
        exclude_history: bool,
    ) -> None:
        self._config, self._dataset, self._clicks = config, dataset, clicks
        self._recommender, self._vectors = recommender, recommender.item_vectors
        self._history_vectors = recommender.history_vectors
        self._read = items_read(recommender.model, recommender.semantic_term)
        self._exclude_history = exclude_history
        self._prior = ClickPrior(config.prior, config.own_clicks)
        # Sorted by item, then by time.
        self._places = np.argsort(clicks.rows, kind="stable")
        self._sorted_rows = clicks.rows[self._places]
        known = [rows for rows in dataset.train if len(rows)]
        drawn = derive_generator(seed, "replay", "background").permutation(len(known))[: config.background_sessions]
        sessions = self._sessions([known[i] for i in drawn])
        self._background = Background(sessions, self._log_partition(sessions))

    def fit(self, block: slice) -> Array:
        """Return the residuals of a block of cold items, counted from 0, in all states: `(n, K + 1, d)`."""
        most, dim = self._config.ks[-1], self._recommender.model.spec.dim
        cold = np.arange(self._dataset.num_warm, self._dataset.num_items)[block]
        residuals = np.zeros((len(cold), most + 1, dim), dtype=np.float32)
        for line, row in enumerate(cold):
            places = self._places[slice(*np.searchsorted(self._sorted_rows, (row, row + 1)))][:most]
            taken = self._sessions(self._clicks.targets(self._dataset, places).histories)
            partition = self._log_partition(taken)
            for k, place in enumerate(places.tolist(), 1):
                residuals[line, k:] = fit_residual(
                    taken[:k],
                    partition[:k],
                    self._background,
                    self._vectors[row],
                    dim,
                    exposures=self._config.exposure * self._exposures(place),
                    prior=self._prior,
                )
        return residuals

    def rank_later(self, states: Array, places: Rows) -> Ranks:
        """Return the ranks of clicks, each with the item states before it, `(n, number of ks)`.

        Args:
            states: residuals of all cold items, `(C, K + 1, d)`.
            places: positions of the clicks.
        """
        targets = self._clicks.targets(self._dataset, places)
        return self._rank(states, targets, self._clicks.counts_before(places, self._dataset.num_warm, len(states)))

    def rank_ordinary(self, states: Array, block: slice) -> Ranks:
        """Return the ranks of a block of test targets with the final item states; see `rank_later`."""
        targets = self._dataset.test.part(block)
        counts = np.bincount(self._clicks.rows - self._dataset.num_warm, minlength=len(states))
        return self._rank(states, targets, np.broadcast_to(counts, (len(targets.rows), len(states))))

    def _rank(self, states: Array, targets: Targets, counts: Rows) -> Ranks:
        """Rank targets; `counts` has the number of clicks on each cold item before each target, `(n, C)`."""
        ranks = np.empty((len(targets.rows), len(self._config.ks)), dtype=np.int64)
        num_cold, num_states, dim = states.shape
        for chunk in chunks(len(ranks), len(self._vectors)):
            histories, rows = targets.histories[chunk], targets.rows[chunk]
            sessions = self._sessions(histories)
            frozen = sessions @ self._vectors.T
            gains = (sessions[:, :dim] @ states.reshape(-1, dim).T).reshape(-1, num_cold, num_states)
            for i, k in enumerate(self._config.ks):
                scores = frozen.copy()
                state = np.minimum(counts[chunk], k)[:, :, None]
                scores[:, -num_cold:] += np.take_along_axis(gains, state, axis=2)[:, :, 0]
                ranks[chunk, i] = rank_scores(scores, rows, histories if self._exclude_history else ())
        return ranks

    def _exposures(self, place: int) -> int:
        return int(self._clicks.exposures[place]) if self._config.exposures == "time" else self._clicks.interactions

    def _sessions(self, histories: Sequence[Rows]) -> Array:
        """Return the session vector of each history, `(n, D)`."""
        kept = [self._history_vectors[rows[-self._read :]] for rows in histories]
        return session_vectors(self._recommender.model, kept, self._recommender.semantic_term)

    def _log_partition(self, sessions: Array) -> Wide:
        return log_partition(sessions, self._vectors[: self._dataset.num_warm])


def _in_blocks(total: int, name: str, work: Path, compute: Callable[[slice], Values]) -> Values:
    """Compute an array block by block, and save each completed block to a file."""
    parts: list[Values] = []
    with bar("replay", name, total) as progress:
        for start in range(0, total, BLOCK):
            path = work / f"{name}-{start:09d}.safetensors"
            if not path.is_file():
                temporary = path.with_suffix(".tmp")
                save_file({name: compute(slice(start, min(start + BLOCK, total)))}, temporary)
                temporary.replace(path)
            parts.append(load_file(path)[name])
            progress.update(len(parts[-1]))
    return np.concatenate(parts) if parts else compute(slice(0, 0))


def _row(model: str, k: int, later: Ranks, ordinary: Ranks) -> ReplayRow:
    return ReplayRow(
        model=model,
        clicks=k,
        later_hr_at_10=float(hit_rate(later, 10).mean()),
        later_ndcg_at_10=float(ndcg(later, 10).mean()),
        ordinary_hr_at_10=float(hit_rate(ordinary, 10).mean()) if len(ordinary) else None,
        ordinary_ndcg_at_10=float(ndcg(ordinary, 10).mean()) if len(ordinary) else None,
    )
