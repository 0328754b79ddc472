"""`training.ablation`: the table over variants and seeds. The command itself runs in the integration tests."""

import statistics

from training.ablation import BASELINES, VARIANTS, make_ablation_table
from training.report import Figure, Figures, Protocol


def figures(values: dict[str, float], *, shift: float = 0.0) -> Figures:
    """NDCG@10 and HR@5 of all targets for each model, in both protocols; the sampled ones are 0.5 higher."""
    protocols: tuple[tuple[Protocol, float], ...] = (("full", 0.0), ("sampled", 0.5))
    return Figures(
        tail_max_train_count=1,
        figures=tuple(
            Figure(model=model, protocol=protocol, group="all", metric=metric, value=value + shift + more, targets=9)
            for protocol, more in protocols
            for model, value in values.items()
            for metric in ("hr@5", "ndcg@10")
        ),
    )


ONE = {"llmemb": 0.2, "vanilla": 0.1, "semantic_knn": 0.05, "popular": 0.01}


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]


def test_table_has_a_row_for_each_variant_and_baseline() -> None:
    """Variants show the model that was trained so, baselines those of the first variant; @10 only; full first."""
    results = {variant: [figures({**ONE, "llmemb": 0.2 + i / 100})] for i, variant in enumerate(VARIANTS)}
    full, sampled = make_ablation_table(results).split("### Ranked among 1 positive")

    assert rows_of(full) == [
        ["", "all NDCG@10"],
        ["llmemb", "0.2000"],
        ["no SCFT", "0.2100"],
        ["no alignment", "0.2200"],
        ["no SCFT, no alignment", "0.2300"],
        ["vanilla", "0.1000"],
        ["semantic_knn", "0.0500"],
        ["popular", "0.0100"],
    ]
    assert rows_of(sampled)[1] == ["llmemb", "0.7000"]
    assert len(rows_of(full)) == 1 + len(VARIANTS) + len(BASELINES)


def test_cells_are_mean_and_standard_deviation_over_seeds() -> None:
    """The deviation is that of a sample; one seed has none."""
    seeds = [figures(ONE, shift=shift) for shift in (0.0, 0.1, 0.3)]
    table = make_ablation_table({"llmemb": seeds})

    assert f"0.3333 ± {statistics.stdev([0.2, 0.3, 0.5]):.4f}" in rows_of(table)[1][1]
    assert "all items, 3 seeds, mean ± standard deviation" in table
