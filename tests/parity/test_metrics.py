"""The evaluation's figures against scikit-learn's: from the predictions file, and from scores themselves."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import ndcg_score, top_k_accuracy_score

from tests.support.catalogue import trained_run
from training.dataset import Targets
from training.ranking import full_ranks, hit_rate, ndcg
from training.report import read_figures

Array = NDArray[np.float64]


def outside(relevant: NDArray[np.int64], scores: Array, metric: str) -> float:
    """Compute a metric by scikit-learn.

    Args:
        relevant: the one relevant column of each row `(n,)`.
        scores: `(n, m)`.
        metric: `hr@k` or `ndcg@k`.
    """
    name, k = metric.split("@")
    columns = np.arange(scores.shape[1])
    if name == "hr":
        return float(top_k_accuracy_score(relevant, scores, k=int(k), labels=columns))
    return float(ndcg_score(columns == relevant[:, None], scores, k=int(k)))


def test_figures_are_those_of_an_outside_library(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each figure of each model, protocol and group follows from the ranks in `predictions.parquet`."""
    folder = trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec").folder / "evaluate"
    report, frame = read_figures(folder), pl.read_parquet(folder / "predictions.parquet")
    tail = pl.col("target_train_count") <= report.tail_max_train_count
    groups = {"all": pl.lit(value=True), "tail": tail, "head": ~tail, "cold": pl.lit(value=True)}
    wrong = []
    for figure in report.figures:
        split = "cold" if figure.group == "cold" else "test"
        rows = frame.filter(pl.col("model") == figure.model, pl.col("split") == split, groups[figure.group])
        places = rows[f"rank_{figure.protocol}"].to_numpy() - 1
        # A list in which the target stands at its rank, the best score first.
        scores = np.tile(-np.arange(max(places.max(), 20) + 1.0), (len(places), 1))
        value = outside(places, scores, figure.metric)
        if (figure.targets, figure.value) != (rows.height, pytest.approx(value, abs=1e-9)):
            wrong.append((figure, value))

    assert wrong == []
    assert len(report.figures) == 4 * 2 * 4 * 2 * 3  # models, protocols, groups, metrics, cut-offs


@pytest.mark.parametrize("exclude", [True, False])
def test_ranks_and_metrics_from_scores(exclude: bool) -> None:
    """From the scores of all items to the means: histories left out, the outside library finds the same."""
    random = np.random.default_rng(0)
    scores = random.normal(size=(300, 40))
    rows = random.integers(0, 40, 300)
    histories = [random.choice(40, 5, replace=False) for _ in rows]
    targets = Targets(tuple(map(str, range(300))), histories, rows)
    left = scores.copy()
    for i, history in enumerate(histories):
        if exclude:
            left[i, history[history != rows[i]]] = -1e9
    parts = iter(np.split(scores.copy(), [256]))
    ranks = full_ranks(lambda _: next(parts), targets, exclude_history=exclude)  # type: ignore[arg-type, return-value]

    for k in (1, 5, 10, 20):
        assert hit_rate(ranks, k).mean() == pytest.approx(outside(rows, left, f"hr@{k}"))
        assert ndcg(ranks, k).mean() == pytest.approx(outside(rows, left - left.min() + 1, f"ndcg@{k}"))
