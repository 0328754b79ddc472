"""`llmemb_training.report.results` and `summary`: tables, bars and sentences say what the figures say."""

import pytest

from llmemb_training.config import Config, EncoderConfig, PrepareConfig
from llmemb_training.evaluation.figures import Comparison, Figure, Figures, GroupBounds, Training
from llmemb_training.report.results import make_bars, make_results
from llmemb_training.report.summary import summarise
from llmemb_training.report.wording import Wording, in_order

CONFIG = Config(prepare=PrepareConfig(path="p", domain="movie"), encoder=EncoderConfig(base="b"))
VALUES = {
    ("llmemb", "all"): 0.119,
    ("vanilla", "all"): 0.1,
    ("llmemb", "tail"): 0.05,
    ("vanilla", "tail"): 0.02,
    ("llmemb", "head"): 0.199,
    ("vanilla", "head"): 0.2,
    ("llmemb", "cold"): 0.03,
    ("vanilla", "cold"): 0.0,
    ("semantic_knn", "cold"): 0.04,
    ("popular", "cold"): 0.004,
}
P_VALUES = {("vanilla", "all"): 0.001, ("vanilla", "tail"): 0.0001, ("vanilla", "head"): 0.4}


def figure(model: str, group: str, metric: str, value: float, protocol: str = "full") -> Figure:
    """A figure with an interval around it."""
    return Figure.model_validate(
        {
            "model": model,
            "protocol": protocol,
            "group": group,
            "metric": metric,
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
            "targets": 1234,
        }
    )


def figures_of(*figures: Figure, p_values: dict[tuple[str, str], float] = P_VALUES) -> Figures:
    """Figures with a tail of at most 12 interactions."""
    return Figures(
        seed=1,
        tail_max_train_count=12,
        confidence=0.95,
        bootstrap_samples=100,
        group_bounds=(
            GroupBounds(group="tail", by="target_train_count", low=0, high=12, members=8),
            GroupBounds(group="head", by="target_train_count", low=13, high=None, members=2),
            GroupBounds(group="length_2", by="history_length", low=3, high=5, members=9),
            GroupBounds(group="length_1", by="history_length", low=2, high=2, members=9),
        ),
        figures=figures,
        comparisons=tuple(
            Comparison(
                model="llmemb", baseline=baseline, protocol="full", group=group, metric="hr@10",
                difference=0.01, ratio=None, low=-0.01, high=0.02, p_value=p_value,
            )
            for (baseline, group), p_value in p_values.items()
        ),
    )  # fmt: skip


MAIN = figures_of(*(figure(model, group, "hr@10", value) for (model, group), value in VALUES.items()))


def test_summary_is_plain() -> None:
    """One sentence for each group, which says if the difference may be chance; new items have one too."""
    sentences = [text.replace("\N{NO-BREAK SPACE}", " ") for text in summarise(MAIN, Wording(CONFIG, MAIN)).sentences]

    assert sentences == [
        "For 1,234 users, LLMEmb finds the next item among its first ten in 11.9 % of the cases, vanilla SASRec in "
        "10.0 % (+19 %).",
        "Where the next item is a tail item (at most 12 training interactions), in 5.0 %, vanilla SASRec in 2.0 % "
        "(\N{MULTIPLICATION SIGN}2.5).",
        "Where it is a head item, in 19.9 %, vanilla SASRec in 20.0 % (\N{MINUS SIGN}1 %, which may be chance).",
        "Of 1,234 first interactions with new items, held out of all training, it finds 3.0 %, semantic neighbours "
        "4.0 % (\N{MINUS SIGN}25 %), most popular 0.4 %, vanilla SASRec 0.0 %.",
    ]


def test_no_gain_is_shown_over_a_baseline_that_did_not_converge() -> None:
    """Its values are shown under a name that says so, a warning comes first, and no difference is shown."""
    training = Training(
        model="vanilla", epochs=5, best_epoch=1, validation_ndcg=0.1, popular_ndcg=0.2, fault="it learned nothing"
    )
    figures = MAIN.model_copy(update={"trainings": (training,), "comparisons": ()})
    summary = summarise(figures, Wording(CONFIG, figures))
    all_users, *_, cold = [text.replace("\N{NO-BREAK SPACE}", " ") for text in summary.sentences]

    assert summary.warnings == (
        "Vanilla SASRec (not converged): it learned nothing. It is not a baseline, and no gain over it is shown.",
    )
    assert all_users.endswith("in 11.9 % of the cases, vanilla SASRec (not converged) in 10.0 %.")
    assert "semantic neighbours 4.0 % (\N{MINUS SIGN}25 %)" in cold
    assert [(tile.change, tile.verdict) for tile in summary.tiles[:3]] == [("", "none")] * 3
    assert make_bars(figures, Wording(CONFIG, figures))[0].bars[1].label == "Vanilla SASRec (not converged)"


def test_our_own_training_has_a_warning_too() -> None:
    """Where ours did not converge the comparisons stay, under a warning."""
    training = Training(
        model="llmemb", epochs=5, best_epoch=1, validation_ndcg=0.1, popular_ndcg=0.2, fault="it learned nothing"
    )
    figures = MAIN.model_copy(update={"trainings": (training,)})
    summary = summarise(figures, Wording(CONFIG, figures))

    assert summary.warnings == ("LLMEmb (not converged): it learned nothing.",)
    assert summary.tiles[0].verdict == "better"


def test_tiles_judge_by_the_test() -> None:
    """Better or worse if the test is significant or there is none; otherwise even."""
    tiles = summarise(MAIN, Wording(CONFIG, MAIN)).tiles

    assert [(tile.group, tile.verdict) for tile in tiles] == [
        ("all", "better"), ("tail", "better"), ("head", "even"), ("cold", "worse"),
    ]  # fmt: skip


def test_groups_without_targets_are_not_told_of() -> None:
    """A dataset without held-out items has no sentence on new items."""
    some = figures_of(*(figure(m, g, "hr@10", value) for (m, g), value in VALUES.items() if g == "all"))

    assert len(summarise(some, Wording(CONFIG, some)).sentences) == 1
    assert summarise(figures_of(), Wording(CONFIG, figures_of())).tiles == ()


def test_main_table_marks_the_best_of_each_column() -> None:
    """The highest value, for Gini the lowest; a model without a value has an empty cell."""
    extra = [figure("llmemb", "all", "gini@10", 0.9), figure("vanilla", "all", "gini@10", 0.7)]
    figures = figures_of(*MAIN.figures, *extra)
    results = make_results(figures, "full", Wording(CONFIG, figures))
    best = {
        column.group: [row.model for row in results.main.rows if row.cells[place].best]
        for place, column in enumerate(results.main.columns)
    }
    catalogue = results.others[-1]

    assert best == {
        "All": ["llmemb"],
        "Tail items": ["llmemb"],
        "Head items": ["vanilla"],
        "New items": ["semantic_knn"],
    }
    assert [row.cells[0].figure is None for row in results.main.rows] == [False, False, True, True]
    assert [row.cells[0].best for row in catalogue.rows] == [False, True]
    assert catalogue.columns[0].is_catalogue


def test_protocols_never_stand_in_one_table() -> None:
    """The sampled protocol's figures are not in the full ranking's tables, nor the other way round."""
    figures = figures_of(*MAIN.figures, figure("llmemb", "all", "hr@10", 0.9, "sampled"))
    words = Wording(CONFIG, figures)

    for protocol in ("full", "sampled"):
        results = make_results(figures, protocol, words)
        shown = [cell.figure for table in (results.main, *results.others) for row in table.rows for cell in row.cells]
        assert {one.protocol for one in shown if one is not None} == {protocol}


def test_groups_stand_from_least_to_greatest_with_their_bounds() -> None:
    """Length groups are in order, each with its bounds; other cut-offs are sorted by k."""
    figures = figures_of(
        figure("llmemb", "length_2", "hr@10", 0.2),
        figure("llmemb", "length_1", "hr@10", 0.1),
        *(figure("llmemb", "all", metric, 0.5) for metric in ("hr@20", "mrr", "hr@5", "hr@10")),
    )
    cut_offs, lengths = make_results(figures, "full", Wording(CONFIG, figures)).others

    assert [column.metric for column in cut_offs.columns] == ["HR@5", "HR@10", "HR@20", "MRR"]
    assert [(column.group, column.note) for column in lengths.columns] == [
        ("Length 1", "2 items in the history"), ("Length 2", "3 to 5 items in the history"),
    ]  # fmt: skip


def test_bars_reach_to_the_end_of_the_longest_interval() -> None:
    """Each panel has its own scale, and no bar exceeds it."""
    panels = make_bars(MAIN, Wording(CONFIG, MAIN))
    tail = panels[1].bars[1]

    assert [panel.title for panel in panels] == ["All", "Tail items", "Head items", "New items"]
    assert [max(bar.high or 0 for bar in panel.bars) for panel in panels] == pytest.approx([100] * 4)
    assert (tail.length, tail.low, tail.high) == pytest.approx((100 * 2 / 6, 100 / 6, 50))


def test_unknown_names_stand_as_they_are() -> None:
    """A model, metric or group without a display name is shown by its key, after the known ones."""
    words = Wording(CONFIG, MAIN)

    assert in_order({"zebra", "popular", "aardvark", "llmemb"}) == ["llmemb", "popular", "aardvark", "zebra"]
    assert (words.model("zebra"), words.model_note("zebra"), words.group("odd"), words.metric("map@3")) == (
        "zebra", "", "odd", "MAP@3",
    )  # fmt: skip
