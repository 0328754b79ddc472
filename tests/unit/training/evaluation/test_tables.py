"""`tables` and `figures`: what a person reads, and what a program reads back."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from llmemb_training.evaluation.figures import (
    FIGURES_FILE,
    PROTOCOLS,
    Comparison,
    Figure,
    Figures,
    GroupBounds,
    Training,
    read_figures,
    write_figures,
)
from llmemb_training.evaluation.tables import make_tables

GROUPS = ("all", "tail", "head", "cold", "popularity_1", "popularity_2", "tail_users", "head_users", "length_1")
METRICS = ("hr@3", "ndcg@3", "hr@10", "ndcg@10", "mrr")
CATALOGUE = ("coverage@10", "tail_share@10", "gini@10")
MODELS = ("llmemb", "popular")


def make_figures(groups: tuple[str, ...] = GROUPS) -> Figures:
    """Every figure is another number: full from 0.1 up, sampled from 0.5 up."""
    figures = []
    for p, protocol in enumerate(PROTOCOLS):
        for m, model in enumerate(MODELS):
            for group in groups:
                for i, metric in enumerate(METRICS):
                    value = 0.1 + 0.4 * p + 0.2 * m + 0.01 * GROUPS.index(group) + 0.001 * i
                    figures.append(
                        Figure(
                            model=model,
                            protocol=protocol,
                            group=group,
                            metric=metric,
                            value=value,
                            low=value - 0.01,
                            high=value + 0.02,
                            targets=1000 + GROUPS.index(group),
                        )
                    )
    figures += [
        Figure(model=model, protocol="full", group="all", metric=metric, value=0.25, low=None, high=None, targets=9)
        for model in MODELS
        for metric in CATALOGUE
    ]
    comparisons = [
        Comparison(
            model="llmemb",
            baseline="popular",
            protocol=protocol,
            group=group,
            metric=metric,
            difference=-0.2,
            ratio=None if group == "cold" else 0.75,
            low=-0.3,
            high=0.1,
            p_value=0.0005 if protocol == "full" else 0.25,
        )
        for protocol in PROTOCOLS
        for group in ("all", "tail", "head", "cold")
        if group in groups
        for metric in ("hr@10", "ndcg@10")
    ]
    return Figures(
        seed=1,
        tail_max_train_count=4,
        confidence=0.95,
        bootstrap_samples=1000,
        group_bounds=(
            GroupBounds(group="tail", by="target_train_count", low=0, high=4, members=80),
            GroupBounds(group="popularity_1", by="target_train_count", low=0, high=2, members=50),
            GroupBounds(group="popularity_2", by="target_train_count", low=3, high=None, members=50),
            GroupBounds(group="tail_users", by="history_length", low=0, high=9, members=800),
            GroupBounds(group="head_users", by="history_length", low=10, high=None, members=200),
            GroupBounds(group="length_1", by="history_length", low=0, high=None, members=1000),
        ),
        figures=tuple(figures),
        comparisons=tuple(comparisons),
    )


def sections() -> dict[str, str]:
    """The parts of the tables by their headings, in their order."""
    parts = make_tables(make_figures()).split("### ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2] for part in parts}


def test_full_ranking_comes_first_and_protocols_share_no_table() -> None:
    """Seven tables; those of the sampled protocol are the last two and say that they cannot be compared."""
    sampled = "ranked among 1 positive and sampled negatives: not comparable with the full ranking"
    full = [
        "Ranked among all items",
        "What is recommended: the ten best of each user of the test",
        "Ranked among all items, by popularity of the target",
        "Ranked among all items, by length of the history",
        "llmemb against each baseline, ranked among all items",
    ]

    assert list(sections()) == [*full, sampled.capitalize(), f"llmemb against each baseline, {sampled}"]
    assert not any("0.5" in sections()[title] or "0.6" in sections()[title] for title in full)
    assert "| llmemb | 0.5020 [0.4920, 0.5220] |" in sections()[sampled.capitalize()]


def test_model_that_did_not_converge_is_marked_in_every_table() -> None:
    """A warning comes first; without recorded trainings, or with converged ones only, there is none."""
    good = Training(model="llmemb", epochs=9, best_epoch=6, validation_ndcg=0.2, popular_ndcg=0.1, fault=None)
    bad = good.model_copy(update={"model": "popular", "fault": "it learned nothing"})
    text = make_tables(make_figures().model_copy(update={"trainings": (good, bad)}))

    assert text.startswith("**Warning**: popular did not converge: it learned nothing.\n\n### Ranked among all items\n")
    assert text.count("| popular (not converged) |") == 5
    assert "llmemb (not converged)" not in text
    assert make_tables(make_figures().model_copy(update={"trainings": (good,)})) == make_tables(make_figures())


def test_main_table_has_the_four_groups_with_intervals() -> None:
    """HR, NDCG and MRR of all targets, HR and NDCG of tail, head and cold; below it who was counted."""
    text = sections()["Ranked among all items"]

    assert "| model | all HR@10 | all NDCG@10 | all MRR | tail HR@10 | tail NDCG@10 | head HR@10 |" in text
    assert "| llmemb | 0.1020 [0.0920, 0.1220] | 0.1030 [0.0930, 0.1230] | 0.1040 [0.0940, 0.1240] | 0.1120 [" in text
    assert "Targets: all 1,000, tail 1,001, head 1,002, cold 1,003; tail: at most 4 training interactions." in text
    assert "the 95% interval, by 1,000 resamples" in text


def test_groups_come_with_their_bounds() -> None:
    """Popularity groups beside each other, and those of the users in a table of their own."""
    popularity = sections()["Ranked among all items, by popularity of the target"]
    length = sections()["Ranked among all items, by length of the history"]

    assert "| model | popularity_1 NDCG@10 | popularity_2 NDCG@10 |" in popularity
    assert (
        "Bounds: popularity_1 0 to 2; popularity_2 3 or more. Targets: popularity_1 1,004, popularity_2" in popularity
    )
    assert "| model | tail_users NDCG@10 | head_users NDCG@10 | length_1 NDCG@10 |" in length
    assert "tail_users 0 to 9; head_users 10 or more" in length


def test_catalogue_metrics_have_no_interval() -> None:
    """They have no users to resample."""
    text = sections()["What is recommended: the ten best of each user of the test"]

    assert "| model | coverage | tail share | Gini |\n| --- | --- | --- | --- |" in text
    assert "| popular | 0.2500 | 0.2500 | 0.2500 |" in text


def test_comparison_shows_difference_interval_ratio_and_p() -> None:
    """p is not shown more finely than 0.001, and over 0 there is no ratio."""
    text = sections()["llmemb against each baseline, ranked among all items"]
    row = next(line for line in text.splitlines() if line.startswith("| popular |"))

    assert row.split(" | ")[1] == "-0.2000 [-0.3000, +0.1000], x 0.75, p < 0.001"
    assert row.split(" | ")[-1] == "-0.2000 [-0.3000, +0.1000], p < 0.001 |"
    assert "p 0.250" in make_tables(make_figures())


@pytest.mark.parametrize("groups", [("all",), ("all", "tail", "popularity_2"), ()])
def test_missing_groups_leave_their_columns_out(groups: tuple[str, ...]) -> None:
    """Every table keeps as many cells in each row as it has columns, also one without figures."""
    text = make_tables(make_figures(groups))
    for part in text.split("### ")[1:]:
        widths = {line.count(" | ") for line in part.splitlines() if line.startswith("|")}
        assert len(widths) == 1

    assert ("cold HR@10" in text) is False
    assert ("tail HR@10" in text) is ("tail" in groups)


def test_figures_read_back(tmp_path: Path) -> None:
    """Figures read back as written, and an unknown key is refused."""
    figures = make_figures()
    write_figures(tmp_path, figures)
    assert read_figures(tmp_path) == figures

    path = tmp_path / FIGURES_FILE
    path.write_text(path.read_text().replace('"seed"', '"seeds"'))
    with pytest.raises(ValidationError, match="seeds"):
        read_figures(tmp_path)
