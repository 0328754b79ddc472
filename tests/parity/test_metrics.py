"""The evaluation's figures against scikit-learn's: from the predictions file, and from scores themselves."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score, top_k_accuracy_score

from llmemb_training.data.dataset import Targets
from llmemb_training.evaluation.figures import Figure, GroupBounds, read_figures
from llmemb_training.evaluation.ranking import full_ranks, hit_rate, ndcg, reciprocal_rank
from tests.support.catalogue import trained_run

Array = NDArray[np.float64]


def outside(relevant: NDArray[np.int64], scores: Array, metric: str) -> float:
    """Compute a metric by scikit-learn.

    Args:
        relevant: the one relevant column of each row `(n,)`.
        scores: `(n, m)`.
        metric: `hr@k`, `ndcg@k` or `mrr`.
    """
    columns = np.arange(scores.shape[1])
    if metric == "mrr":
        return float(label_ranking_average_precision_score(columns == relevant[:, None], scores))
    name, k = metric.split("@")
    if name == "hr":
        return float(top_k_accuracy_score(relevant, scores, k=int(k), labels=columns))
    return float(ndcg_score(columns == relevant[:, None], scores, k=int(k)))


def expected(figure: Figure, frame: pl.DataFrame, bounds: dict[str, GroupBounds]) -> tuple[int, float]:
    """Return how many targets a figure is over, and its value, by scikit-learn."""
    rows = frame.filter(model=figure.model, split="cold" if figure.group.startswith("cold") else "test")
    if figure.group in bounds:
        group = bounds[figure.group]
        rows = rows.filter(pl.col(group.by).is_between(group.low, 10**9 if group.high is None else group.high))
    column = "rank_among_cold" if figure.group == "cold_among_cold" else f"rank_{figure.protocol}"
    places = rows[column].to_numpy() - 1
    # A list in which the target stands at its rank, the best score first.
    scores = np.tile(-np.arange(max(places.max(), 20) + 1.0), (len(places), 1))
    return rows.height, outside(places, scores, figure.metric)


def test_figures_are_those_of_an_outside_library(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each figure of each model, protocol and group follows from the ranks in `predictions.parquet`."""
    folder = trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec").folder / "evaluate"
    report, frame = read_figures(folder), pl.read_parquet(folder / "predictions.parquet")
    bounds = {group.group: group for group in report.group_bounds}
    figures = [figure for figure in report.figures if figure.low is not None]
    wrong = []
    for figure in figures:
        targets, value = expected(figure, frame, bounds)
        if (figure.targets, figure.value) != (targets, pytest.approx(value, abs=1e-9)):
            wrong.append((figure, value))

    assert wrong == []
    assert {"all", "tail", "head", "cold", "tail_users", "popularity_1", "length_1"} <= {f.group for f in figures}
    # Models, protocols, groups; two metrics at three cut-offs, and MRR.
    assert len(figures) == 7 * len({(f.protocol, f.group) for f in figures}) * (2 * 3 + 1)
    assert {f.group for f in figures if f.protocol == "full"} == {f.group for f in figures}


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
    ranks = full_ranks(lambda _: next(parts), targets, 40, exclude_history=exclude)  # type: ignore[arg-type, return-value]

    for k in (1, 5, 10, 20):
        assert hit_rate(ranks, k).mean() == pytest.approx(outside(rows, left, f"hr@{k}"))
        assert ndcg(ranks, k).mean() == pytest.approx(outside(rows, left - left.min() + 1, f"ndcg@{k}"))
    assert reciprocal_rank(ranks).mean() == pytest.approx(outside(rows, left, "mrr"))
