"""`table_pages`: tables of finished and unfinished cells, and what is claimed over which baseline."""

import statistics
from collections.abc import Mapping
from pathlib import Path

import pytest

from llmemb.bundle import Selection, Trial
from llmemb.errors import RunError
from llmemb_training.comparison.table_pages import (
    COLUMNS,
    CellName,
    Row,
    Table,
    TableCell,
    Training,
    failed_baseline,
    make_markdown,
    make_summary,
    ratio,
    read_table,
    write_table,
)
from llmemb_training.evaluation.figures import PROTOCOLS, Figure

ROWS = (
    Row(name="vanilla_bce", title="vanilla, the paper's loss", trains="vanilla", overrides=("rat.loss=bce",)),
    Row(name="vanilla_softmax", title="vanilla, full softmax", trains="vanilla"),
    Row(name="llmemb", title="LLMEmb as configured", trains="rat", aligned_to="vanilla_softmax"),
)
NDCG = ("all", "ndcg@10")
COLD = ("cold", "hr@10")
HEAD = "| sequence model |  | seeds | NDCG@10 | HR@10 | tail HR@10 | head HR@10 | cold HR@10 | cold, among cold HR@10 |"


def cell(
    model: str, row: str, seed: int, values: Mapping[str, float], *, cold: float = 0.0, validation: float = 0.1
) -> TableCell:
    """A cell whose figures are all `values[model name]`, those of cold items `cold`; sampled ones 0.5 higher."""
    figures = [
        Figure(
            model=name,
            protocol=protocol,
            group=group,
            metric=metric,
            value=(cold if group == "cold" else value) + (0.5 if protocol == "sampled" else 0.0),
            low=None,
            high=None,
            targets=9,
        )
        for name, value in values.items()
        for protocol in PROTOCOLS
        for group, metric in COLUMNS
        if group != "cold_among_cold"
    ]
    trial = (Trial(value=0.2, score=0.1), Trial(value=0.5, score=0.2))
    chosen = Selection(option="rat.model.dropout", chosen=0.5, metric="ndcg@10", trials=trial)
    return TableCell(
        name=CellName(data="shop", model=model, row=row, seed=seed),
        overrides=(),
        selections=(chosen,) if model else (),
        training=Training(epochs=9, best_epoch=5, max_epochs=9 + seed % 2, validation_ndcg=validation)
        if model
        else None,
        text_seconds=0.0,
        seconds=90.0,
        commit="abc1234",
        figures=tuple(figures),
    )


def untrained(seed: int, *, popular: float = 0.01) -> TableCell:
    return cell("", "untrained", seed, {"semantic_knn": 0.05, "popular": popular}, cold=0.08)


def table(*cells: TableCell, planned: int = 0) -> Table:
    """A table of these cells and of `planned` further seeds of ours."""
    more = [CellName(data="shop", model="sasrec", row="llmemb", seed=100 + number) for number in range(planned)]
    return Table(
        sources={"shop": "amazon_shop"},
        rows=ROWS,
        planned=(*(made.name for made in cells), *more),
        cells=cells,
        versions={"torch": "2"},
    )


WHOLE = table(
    *(untrained(seed) for seed in (1, 2)),
    *(cell("sasrec", "vanilla_bce", seed, {"vanilla_bce": 0.08}, validation=0.09) for seed in (1, 2)),
    *(cell("sasrec", "vanilla_softmax", seed, {"vanilla_softmax": 0.1}) for seed in (1, 2)),
    *(cell("sasrec", "llmemb", seed, {"llmemb": 0.1 + seed / 100}, cold=0.12) for seed in (1, 2)),
)


def lines_of(text: str, heading: str) -> list[list[str]]:
    """The cells of the lines of the first table after a heading, without the table's own head."""
    after = text[text.index(heading) :].splitlines()
    rows = []
    for line in after[1:]:
        if line.startswith("|"):
            rows.append([part.strip() for part in line.split("|")[1:-1]])
        elif rows:
            break
    return rows[2:]


def test_full_ranking_comes_first_and_the_sampled_one_in_a_table_of_its_own() -> None:
    """Each table has a line for each sequence model and row, and at its end what trains nothing."""
    text = make_markdown(WHOLE)
    full, sampled = lines_of(text, "### Ranked among all items"), lines_of(text, "### Ranked among 1 positive")

    assert text.index("## amazon_shop") < text.index("### Ranked among all items") < text.index("### Ranked among 1 po")
    assert text.count(HEAD) == 2
    assert [line[:2] for line in full] == [
        ["sasrec", "vanilla, the paper's loss"],
        ["sasrec", "vanilla, full softmax"],
        ["sasrec", "LLMEmb as configured"],
        ["", "semantic_knn"],
        ["", "popular"],
    ]
    assert full[2][3] == f"0.1150 ± {statistics.stdev([0.11, 0.12]):.4f}"
    assert [line[:2] for line in sampled] == [line[:2] for line in full]
    assert sampled[2][3].startswith("0.6150 ± ")


def test_group_that_was_not_measured_is_an_empty_cell() -> None:
    """`cold_among_cold` is a column all the same."""
    full = lines_of(make_markdown(WHOLE), "### Ranked among all items")

    assert {line[-1] for line in full} == {""}
    assert all(line[-2] for line in full)


def test_unfinished_table_shows_what_is_missing() -> None:
    """Cells of all, seeds of each line, and a line without figures where no seed is done."""
    text = make_markdown(table(untrained(1), cell("sasrec", "vanilla_softmax", 1, {"vanilla_softmax": 0.1}), planned=2))
    full = lines_of(text, "### Ranked among all items")

    assert text.startswith("Cells: 2 of 4. Commit abc1234; torch 2.\n")
    assert [(line[1], line[2], line[3]) for line in full] == [
        ("vanilla, full softmax", "1", "0.1000"),
        ("LLMEmb as configured", "0 of 2", ""),
        ("semantic_knn", "1", "0.0500"),
        ("popular", "1", "0.0100"),
    ]


def test_table_without_a_finished_cell_is_a_table() -> None:
    """It is written before the first cell is begun."""
    text = make_markdown(table(planned=1))

    assert text.startswith("Cells: 0 of 1. Commit unknown; torch 2.\n")
    assert lines_of(text, "### Ranked among all items") == [
        ["sasrec", "LLMEmb as configured", "0 of 1", *[""] * len(COLUMNS)]
    ]


def test_ratio_is_over_the_seeds_that_both_have() -> None:
    """Warm targets against vanilla with full softmax, cold ones against semantic neighbours."""
    assert ratio(WHOLE, "shop", "sasrec", "llmemb", NDCG) == pytest.approx(1.15)
    assert ratio(WHOLE, "shop", "sasrec", "llmemb", COLD) == pytest.approx(0.12 / 0.08)
    assert ratio(WHOLE, "shop", "sasrec", "vanilla_bce", NDCG) == pytest.approx(0.8)
    assert ratio(WHOLE, "shop", "sasrec", "vanilla_softmax", NDCG) is None
    assert ratio(WHOLE, "shop", "", "semantic_knn", NDCG) is None
    one = table(
        cell("sasrec", "vanilla_softmax", 1, {"vanilla_softmax": 0.1}),
        *(cell("sasrec", "llmemb", seed, {"llmemb": 0.1 * seed}) for seed in (1, 2)),
    )

    assert ratio(one, "shop", "sasrec", "llmemb", NDCG) == pytest.approx(1.0)
    assert ratio(one, "shop", "sasrec", "llmemb", COLD) is None


def test_no_gain_is_claimed_over_a_baseline_behind_most_popular() -> None:
    """In any seed: the ratios are empty, and the table and the summary say so."""
    broken = table(
        untrained(1, popular=0.2),
        cell("sasrec", "vanilla_softmax", 1, {"vanilla_softmax": 0.1}),
        cell("sasrec", "llmemb", 1, {"llmemb": 0.3}),
    )
    text = make_markdown(broken)

    assert failed_baseline(WHOLE, "shop", "sasrec") is None
    assert failed_baseline(broken, "shop", "sasrec") == "it is behind most popular (seed 1: 0.1000, 0.2000)"
    assert ratio(broken, "shop", "sasrec", "llmemb", NDCG) is None
    assert lines_of(text, "### Against") == [["sasrec", "LLMEmb as configured", *[""] * len(COLUMNS)]]
    assert "No gain is claimed over sasrec's vanilla model with full softmax: it is behind most popular" in text
    assert make_summary(broken).splitlines()[-1] == "|  | ratio |  |  |  |  |  |"


def test_choices_stand_with_how_the_training_ended() -> None:
    """What was chosen, the epoch that was kept, and whether the limit of epochs ended the training."""
    lines = lines_of(make_markdown(WHOLE), "### What was chosen")

    assert lines[0] == ["sasrec", "vanilla, the paper's loss", "1", "0.5", "0.0900", "5 of 9", "1.5"]
    assert lines[1] == ["sasrec", "vanilla, the paper's loss", "2", "0.5", "0.0900", "5 of 9, at the limit", "1.5"]


def test_rows_are_explained_by_their_overrides() -> None:
    """A reader can repeat a row without its name."""
    text = make_markdown(WHOLE)

    assert "\n- vanilla, the paper's loss: `rat.loss=bce`\n" in text
    assert "\n- LLMEmb as configured: as configured; aligned to the item table of vanilla, full softmax\n" in text


def test_summary_takes_the_better_vanilla_model_by_validation() -> None:
    """A data set is three lines: the vanilla model, ours, and their ratio, in which cold items have no baseline."""
    rows = [line.split("|")[1:-1] for line in make_summary(WHOLE).splitlines()]
    better = WHOLE.model_copy(
        update={
            "cells": (
                *WHOLE.cells[:2],
                *(cell("sasrec", "vanilla_bce", seed, {"vanilla_bce": 0.08}, validation=0.2) for seed in (1, 2)),
                *WHOLE.cells[4:],
            )
        }
    )

    assert [part.strip() for part in rows[2]] == [
        "amazon_shop, sasrec", "vanilla, full softmax", *["0.1000 ± 0.0000"] * 4, "0.0000 ± 0.0000"
    ]  # fmt: skip
    assert [part.strip() for part in rows[3]][:3] == ["", "LLMEmb as configured", "0.1150 ± 0.0071"]
    assert [part.strip() for part in rows[4]] == ["", "ratio", *["x 1.15"] * 4, ""]
    assert "| amazon_shop, sasrec | vanilla, the paper's loss | 0.0800" in make_summary(better)


def test_table_is_read_as_it_was_written(tmp_path: Path) -> None:
    """`table.json` is all that `table.md` is made of."""
    path = write_table(tmp_path, WHOLE)

    assert read_table(tmp_path) == WHOLE
    assert path.read_text(encoding="utf-8") == make_markdown(read_table(tmp_path))


def test_missing_table_is_one_sentence(tmp_path: Path) -> None:
    """It names the folder and the command."""
    with pytest.raises(RunError, match=r"there is no table\.json; `llmemb table` writes it$"):
        read_table(tmp_path)


def test_no_gain_is_claimed_over_a_baseline_that_is_not_converged() -> None:
    """What its training says of itself is shown with the seed."""
    vanilla = cell("sasrec", "vanilla_softmax", 1, {"vanilla_softmax": 0.1})
    assert vanilla.training is not None
    training = vanilla.training.model_copy(update={"fault": "the best of 9 epochs is epoch 1"})
    broken = table(
        untrained(1, popular=0.01),
        vanilla.model_copy(update={"training": training}),
        cell("sasrec", "llmemb", 1, {"llmemb": 0.3}),
    )

    assert failed_baseline(broken, "shop", "sasrec") == "it is not converged (seed 1: the best of 9 epochs is epoch 1)"
    assert ratio(broken, "shop", "sasrec", "llmemb", NDCG) is None
