"""`ablation`: variants, figures and tables over seeds. The command itself runs in the integration tests."""

import statistics
from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb_training.comparison.ablation import (
    GROUPS,
    METRICS,
    AblationFigure,
    ablate,
    ablation_figures,
    make_ablation_tables,
    variants_of,
)
from llmemb_training.config import load_config
from llmemb_training.evaluation.figures import Figure, Figures, Protocol, Training

ONE = {"llmemb": 0.2, "vanilla": 0.1, "semantic_knn": 0.05, "popular": 0.01}
LEAST = '[prepare]\npath = "data"\ndomain = "movie"\n[encoder]\nbase = "llm"\n'


def figures(values: dict[str, float], *, shift: float = 0.0) -> Figures:
    """Each model's figures of a seed: the value, the group's number times 0.01 more; the sampled ones 0.5 higher."""
    protocols: tuple[tuple[Protocol, float], ...] = (("full", 0.0), ("sampled", 0.5))
    return Figures(
        seed=0,
        tail_max_train_count=1,
        confidence=0.95,
        bootstrap_samples=100,
        group_bounds=(),
        comparisons=(),
        figures=tuple(
            Figure(
                model=model,
                protocol=protocol,
                group=group,
                metric=metric,
                value=value + shift + more + number / 100,
                low=None,
                high=None,
                targets=9,
            )
            for protocol, more in protocols
            for model, value in values.items()
            for number, group in enumerate((*GROUPS, "popularity 1"))
            for metric in (*METRICS, "mrr")
        ),
    )


def rows_of(table: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| ")]


def configuration(folder: Path, *overrides: str) -> Path:
    path = folder / "least.toml"
    path.write_text(LEAST)
    load_config(path, overrides)
    return path


def test_variants_switch_off_what_their_names_say(tmp_path: Path) -> None:
    """Each is the configuration with one part changed, as an override that the configuration takes."""
    path = configuration(tmp_path)
    config = load_config(path)
    changed = {name: load_config(path, overrides) for name, overrides in variants_of(config).items()}

    assert changed["llmemb"] == config
    assert not changed["no SCFT"].scft.enabled
    assert changed["no alignment"].rat.alignment.alpha == 0
    assert not changed["no SCFT, no alignment"].scft.enabled
    assert changed["no SCFT, no alignment"].rat.alignment.alpha == 0
    assert changed["no whitening"].rat.reduction == "pca"
    assert changed["no residual"].rat.residual.mode == "none"
    assert changed["no semantic term"].rat.semantic_term.gamma == 0
    assert changed["no logit adjustment"].rat.logit_adjustment == 0
    assert changed["adapter of one layer"].rat.adapter_layers == 1
    assert changed["pooling of the last token"].encoder.pooling == "last"
    assert "half the depth" not in changed


@pytest.mark.parametrize(("depth", "half"), [("4", 2), ("7", 3), ("1", None), ('"auto"', None)])
def test_depth_is_halved_where_it_is_fixed(depth: str, half: int | None, tmp_path: Path) -> None:
    """One layer has no half, and an open depth is not known yet."""
    path = configuration(tmp_path)
    overrides = [f"encoder.depth={depth}"]
    variants = variants_of(load_config(path, overrides))

    assert ("half the depth" in variants) == (half is not None)
    if half is not None:
        assert load_config(path, [*overrides, *variants["half the depth"]]).encoder.depth == half


def test_unknown_variant_is_refused_before_anything_runs(tmp_path: Path) -> None:
    """The error names it and lists those that there are."""
    with pytest.raises(ConfigError, match=r"^--variants 'no brain': there are 'llmemb', 'no SCFT', 'no alignment', "):
        ablate(configuration(tmp_path), [], [1], ["no SCFT", "no brain"], tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_figures_are_those_of_the_variants_and_of_the_first_one_s_baselines() -> None:
    """Each variant's own LLMEmb; baselines once; all, tail, head and cold; both protocols."""
    results = {"llmemb": [figures(ONE)], "no SCFT": [figures({**ONE, "llmemb": 0.3, "vanilla": 0.9})]}
    made = ablation_figures(results)

    assert list(dict.fromkeys(figure.row for figure in made)) == [
        "llmemb", "no SCFT", "vanilla", "semantic_knn", "popular"
    ]  # fmt: skip
    assert len(made) == 5 * 2 * len(GROUPS) * len(METRICS)
    values = {(figure.row, figure.protocol, figure.group): figure.mean for figure in made}
    assert values["no SCFT", "full", "tail"] == pytest.approx(0.31)
    assert values["vanilla", "sampled", "all"] == pytest.approx(0.6)


def test_mean_and_deviation_are_over_the_seeds() -> None:
    """The deviation is that of a sample; one seed has none."""
    seeds = [figures(ONE, shift=shift) for shift in (0.0, 0.1, 0.3)]
    first, *_ = ablation_figures({"llmemb": seeds})

    assert first.values == pytest.approx((0.2, 0.3, 0.5))
    assert first.mean == pytest.approx(1 / 3)
    assert first.deviation == pytest.approx(statistics.stdev([0.2, 0.3, 0.5]))
    assert ablation_figures({"llmemb": seeds[:1]})[0].deviation is None


def test_tables_have_a_row_for_each_variant_and_baseline() -> None:
    """The full ranking first, then the sampled one under its warning; a column for each group and metric."""
    results = {"llmemb": [figures(ONE), figures(ONE, shift=0.1)], "no SCFT": [figures(ONE), figures(ONE)]}
    full, sampled = make_ablation_tables(ablation_figures(results)).split("### Ranked among 1 positive")

    assert full.startswith("### Ranked among all items; seeds: 2, mean ± standard deviation\n")
    assert sampled.startswith(" and sampled negatives: not comparable with the full ranking; seeds: 2, ")
    assert rows_of(full)[0] == ["", *(f"{group} {metric.upper()}" for group in GROUPS for metric in METRICS)]
    assert [row[0] for row in rows_of(full)[1:]] == ["llmemb", "no SCFT", "vanilla", "semantic_knn", "popular"]
    assert rows_of(full)[1][1] == f"0.2500 ± {statistics.stdev([0.2, 0.3]):.4f}"
    assert rows_of(full)[2][3] == "0.2100 ± 0.0000"
    assert rows_of(sampled)[1][1].startswith("0.7500 ± ")


def test_baseline_that_did_not_converge_is_marked_by_its_seeds() -> None:
    """One of two seeds of the vanilla model; no other row has a mark."""
    training = Training(
        model="vanilla", epochs=5, best_epoch=1, validation_ndcg=0.1, popular_ndcg=0.2, fault="it learned nothing"
    )
    seeds = [figures(ONE), figures(ONE).model_copy(update={"trainings": (training,)})]
    made = ablation_figures({"llmemb": seeds})

    assert {figure.row: figure.not_converged for figure in made} == {
        "llmemb": 0, "vanilla": 1, "semantic_knn": 0, "popular": 0,
    }  # fmt: skip
    assert [row[0] for row in rows_of(make_ablation_tables(made).split("### Ranked among 1")[0])[1:]] == [
        "llmemb", "vanilla (1 of 2 not converged)", "semantic_knn", "popular",
    ]  # fmt: skip


def test_one_seed_has_no_deviation_in_the_table() -> None:
    """The mean stands alone."""
    made: tuple[AblationFigure, ...] = ablation_figures({"llmemb": [figures(ONE)]})

    assert rows_of(make_ablation_tables(made))[1][1] == "0.2000"
