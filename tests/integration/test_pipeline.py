"""The offline line on a made-up catalogue: all steps, what is skipped, and what runs again."""

import os
from pathlib import Path

import polars as pl
import pytest
from pydantic import TypeAdapter

from llmemb.cli import main
from llmemb_training import pipeline
from llmemb_training.comparison.ablation import AblationFigure
from llmemb_training.config import Config
from llmemb_training.data.dataset import read_dataset
from llmemb_training.evaluation.figures import read_figures
from llmemb_training.evaluation.measuring import Resampling, measure
from llmemb_training.rat.recommenders import LLMEMB
from llmemb_training.runs.run_folder import RunFolder
from llmemb_training.steps.evaluate import RECOMMENDED
from tests.support.catalogue import TrainedRun, trained_run

STEPS = list(pipeline.STEPS)
ABLATION = TypeAdapter(tuple[AblationFigure, ...])


@pytest.fixture(scope="module")
def run(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A finished run with SASRec; read it, never write to it."""
    return trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec")


@pytest.fixture
def copy(run: TrainedRun, tmp_path: Path) -> TrainedRun:
    """The same run in a folder of one's own."""
    mine = RunFolder(tmp_path / "run")
    for name, fingerprint in pipeline.step_fingerprints(run.config).items():
        mine.adopt(name, fingerprint, RunFolder(run.folder))
    return TrainedRun(run.config_path, mine.path)


def llmemb(verb: str, run: TrainedRun, *overrides: str) -> None:
    """Run a verb in this process."""
    main([verb, str(run.config_path), "--run", str(run.folder), *(f"--set={override}" for override in overrides)])


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """When each file of the steps was written, and which file it is."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.stat().st_ino)
        for name in (*STEPS, "steps")
        for path in (folder / name).rglob("*")
        if path.is_file()
    }


def up_to_date(output: str) -> list[str]:
    """The steps whose line says that there was nothing to do."""
    return [line.split()[0] for line in output.splitlines() if line.split()[1:4] == ["up", "to", "date:"]]


def test_every_step_writes_its_folder(run: TrainedRun) -> None:
    """A run is a folder a step, a record of each, logs, and the resolved configuration; no work file is left."""
    fingerprints = pipeline.step_fingerprints(run.config)
    files = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}

    assert all(RunFolder(run.folder).is_done(name, fingerprints[name]) for name in STEPS)
    assert (run.folder / "config.json").read_text() == run.config.model_dump_json(indent=2) + "\n"
    assert not [name for name in files if name.endswith(".tmp") or "shard" in name or "checkpoint-" in name]
    assert {name.split("/")[0] for name in files} == {*STEPS, "steps", "logs", "config.json", ".lock"}
    assert [name for name in files if name.startswith("logs/scft/")] != []
    assert [name for name in files if name.startswith("logs/vanilla/")] != []


def test_signal_is_found(run: TrainedRun) -> None:
    """The catalogue has taste and order in it, and the trained model finds them better than what trains nothing."""
    figures = read_figures(run.folder / "evaluate").figures
    values = {(f.model, f.group, f.metric): f.value for f in figures if f.protocol == "full"}

    assert values["llmemb", "all", "ndcg@10"] > values["semantic_knn", "all", "ndcg@10"]
    assert values["semantic_knn", "all", "ndcg@10"] > 2 * values["popular", "all", "ndcg@10"]
    assert values["vanilla", "cold", "hr@20"] == 0.0
    assert values["semantic_knn", "cold", "hr@20"] > 0.0


def test_predictions_hold_every_target_of_every_model(run: TrainedRun) -> None:
    """One row a model and target, with ranks from 1, the documented columns, and the dataset's own counts."""
    dataset = read_dataset(run.folder / "prepare")
    frame = pl.read_parquet(run.folder / "evaluate" / "predictions.parquet")
    counts = dict(zip(dataset.items["item_id"], dataset.items["train_count"], strict=True))

    assert frame.columns == [
        "model", "seed", "split", "user_id", "target_item_id", "target_train_count", "history_length",
        "rank_full", "rank_sampled", "rank_among_cold",
    ]  # fmt: skip
    assert frame["model"].unique(maintain_order=True).to_list() == [
        "llmemb", "vanilla", "vanilla_bce", "llm_init", "ease", "semantic_knn", "popular"
    ]  # fmt: skip
    for (_, split), rows in frame.group_by("model", "split"):
        targets = dataset.test if split == "test" else dataset.cold_targets
        assert tuple(rows["user_id"]) == targets.user_ids
        assert rows["target_item_id"].to_list() == dataset.items["item_id"].gather(targets.rows).to_list()
    assert frame["target_train_count"].to_list() == [counts[item] for item in frame["target_item_id"]]
    assert frame["seed"].unique().to_list() == [run.config.seed]
    assert (frame["rank_full"].min(), frame["rank_sampled"].min()) == (1, 1)
    assert frame["rank_full"].max() <= dataset.num_items
    assert frame["rank_sampled"].max() <= 1 + run.config.evaluate.num_negatives


def test_figures_can_be_made_again_from_the_predictions(run: TrainedRun) -> None:
    """`figures.json` holds nothing that the predictions do not, but for the figures of what is recommended."""
    folder, config = run.folder / "evaluate", run.config
    written = read_figures(folder)
    predictions = pl.read_parquet(folder / "predictions.parquet")
    resampling = Resampling(
        bootstrap_samples=config.evaluate.bootstrap_samples, confidence=config.evaluate.confidence, seed=config.seed
    )
    figures, comparisons = measure(predictions, written.group_bounds, config.evaluate.ks, LLMEMB, resampling)

    assert written.figures[: len(figures)] == figures
    assert written.comparisons == comparisons


def test_recommendations_leave_the_history_out(run: TrainedRun) -> None:
    """Ten items a test user, the best first, none of the history's."""
    frame = pl.read_parquet(run.folder / "evaluate" / "recommendations.parquet").filter(model=LLMEMB)
    assert frame.height > 0
    for row in frame.iter_rows(named=True):
        assert len(set(row["item_ids"])) == RECOMMENDED
        assert not set(row["item_ids"]) & set(row["history"])
        assert row["scores"] == sorted(row["scores"], reverse=True)


def test_bundle_holds_the_run(run: TrainedRun) -> None:
    """Items, popularity, figures and configuration are those of the run."""
    bundle, dataset = run.bundle(), read_dataset(run.folder / "prepare")
    figures = read_figures(run.folder / "evaluate").figures

    assert bundle.items.ids == tuple(dataset.items["item_id"])
    assert bundle.items.popularity.tolist() == dataset.train_counts.tolist()
    assert bundle.manifest.seed == run.config.seed
    assert bundle.manifest.provenance.config == run.config.model_dump(mode="json")
    shown = [f for f in figures if f.protocol == "full" and f.group in ("all", "tail", "head", "cold")]
    assert [m.value for m in bundle.manifest.metrics] == [f.value for f in shown]
    assert bundle.manifest.selection == ()
    assert bundle.residual is not None
    assert not bundle.residual[bundle.items.popularity == 0].any()
    assert bundle.residual[bundle.items.popularity > 0].any(axis=1).all()


def test_second_run_does_nothing(copy: TrainedRun, capsys: pytest.CaptureFixture[str]) -> None:
    """Every step is up to date, and no file is written again."""
    before = stamps(copy.folder)
    llmemb("train", copy)

    assert up_to_date(capsys.readouterr().out) == STEPS
    assert stamps(copy.folder) == before


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("select.depth=[1]", STEPS),
        ("evaluate.num_negatives=11", ["prepare", "select", "scft", "embed", "vanilla", "rat", "baselines"]),
        ("rat.alignment.alpha=0", ["prepare", "select", "scft", "embed", "vanilla", "baselines"]),
        ("rat.max_epochs=1", ["prepare", "select", "scft", "embed"]),
        ("embed.batch_tokens=64", ["prepare", "select", "scft", "vanilla"]),
        ("scft.enabled=false", ["prepare", "select", "vanilla"]),
        ("seed=8", []),
    ],
)
def test_changed_option_runs_its_step_and_those_after_it(
    copy: TrainedRun, override: str, kept: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not depend on the option is kept to the byte; all the rest is written again."""
    before = stamps(copy.folder)
    llmemb("train", copy, override)
    after = stamps(copy.folder)

    assert up_to_date(capsys.readouterr().out) == kept
    for name, stamp in before.items():
        step = Path(name).stem if name.startswith("steps/") else name.split("/")[0]
        assert (after.get(name) == stamp) == (step in kept), name


@pytest.mark.parametrize(
    "changed", [{"gamma": (0.0, 3.0)}, {"gamma_cost": 0.5}, {"new_item_scale": (1.0, 3.0)}, {"new_item_cost": 0.5}]
)
def test_what_rat_chooses_by_is_a_part_of_it(run: TrainedRun, changed: dict[str, object]) -> None:
    """Other candidates, or another price of them, may give another recommender of the same training."""
    select = run.config.select.model_copy(update=changed)
    before = pipeline.step_fingerprints(run.config)
    after = pipeline.step_fingerprints(run.config.model_copy(update={"select": select}))

    assert [name for name in STEPS if before[name] != after[name]] == ["rat", "evaluate", "report", "bundle"]


def test_changed_source_runs_everything_again(run: TrainedRun, tmp_path: Path) -> None:
    """Steps depend on what the files hold, not on when they were written."""
    source = Path(run.config.prepare.path)
    for path in source.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
        os.utime(tmp_path / path.name, (0, 0))
    moved = run.config.model_copy(update={"prepare": run.config.prepare.model_copy(update={"path": str(tmp_path)})})
    first = pipeline.step_fingerprints(moved)
    with (tmp_path / "interactions.csv").open("a") as file:
        file.write("u0,western-1,99\n")
    second = pipeline.step_fingerprints(moved)

    assert [name for name in STEPS if first[name] == second[name]] == []


def test_damaged_file_runs_its_step_again(copy: TrainedRun, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that went missing is made again, and with it what is after it only if that is not up to date."""
    (copy.folder / "evaluate" / "figures.json").unlink()
    llmemb("train", copy)

    assert up_to_date(capsys.readouterr().out) == [name for name in STEPS if name != "evaluate"]


@pytest.mark.parametrize("verb", list(pipeline.VERBS)[1:])
def test_verb_without_the_step_before_it_is_our_error(
    run: TrainedRun, verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A verb names the step that it lacks and the command that makes it."""
    with pytest.raises(SystemExit) as caught:
        llmemb(verb, TrainedRun(run.config_path, tmp_path / "run"))

    assert caught.value.code == 3
    assert capsys.readouterr().err == (
        f"llmemb {verb}: {tmp_path}/run: prepare is not up to date; run its verb or `llmemb train` first\n"
    )


def test_verbs_one_after_another_are_the_whole_line(run: TrainedRun, tmp_path: Path) -> None:
    """Each verb does its step, and the bundle is the one that `llmemb train` wrote."""
    mine = TrainedRun(run.config_path, tmp_path / "run")
    for verb in pipeline.VERBS:
        llmemb(verb, mine)

    assert mine.bundle().manifest.id == run.bundle().manifest.id


def test_verb_after_a_changed_option_is_our_error(copy: TrainedRun, capsys: pytest.CaptureFixture[str]) -> None:
    """A step before it that was made by other options does not count."""
    with pytest.raises(SystemExit) as caught:
        llmemb("evaluate", copy, "rat.max_epochs=1")

    assert caught.value.code == 3
    assert "vanilla is not up to date" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["prepare.path=nowhere"], "nowhere holds no source"),
        (["encoder.base=./no/such/llm"], "cannot load the LLM './no/such/llm'"),
        (["encoder.depth=9"], "depth is 9, but"),
        (["rat.components=500"], "rat.components is 500, but the vectors of"),
        (["prepare.min_interactions=99"], "no interaction is left after the 99-core"),
        (["prepare.attributes={title = 'name'}"], "no interaction is left after the 3-core"),
        (["rat.semantic_term.gamma=1"], "rat.semantic_term.components is 256, but the vectors of"),
        (["rat.model.heads=3"], "rat.model: Value error, dim 16 must be a multiple of heads 3"),
        (["rat.model.name=lstm"], "rat.model.name: the sequence model 'lstm' is not known; there are sasrec, gru4rec,"),
    ],
)
def test_run_that_cannot_be_is_our_error(
    copy: TrainedRun, overrides: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the options, the data or the LLM do not allow is one sentence and exit code 3."""
    with pytest.raises(SystemExit) as caught:
        llmemb("train", copy, *overrides)
    error = capsys.readouterr().err

    assert caught.value.code == 3
    assert error.startswith("llmemb train: ")
    assert message in error


@pytest.mark.parametrize("override", ["prepare.cold_share=0", "evaluate.num_negatives=100", "evaluate.baselines=false"])
def test_line_runs_without_what_is_optional(copy: TrainedRun, override: str) -> None:
    """No cold items, more negatives than there are items, no trained baselines: each is an ordinary run."""
    llmemb("train", copy, override, "rat.max_epochs=1", "scft.enabled=false")

    assert copy.bundle().manifest.num_items == 40


LEFT_OPEN = (
    "encoder.depth=auto",
    "rat.components=auto",
    "rat.residual.mode=auto",
    "rat.semantic_term.gamma=auto",
    "rat.semantic_term.components=8",
    "select.depth=[1, 2]",
    "select.components=[8, 16]",
    "select.residual=['none', 'all']",
    "select.gamma=[0.0, 1.0]",
    "select.max_epochs=2",
    "scft.max_pairs=1",
    "rat.max_epochs=2",
    "evaluate.baselines=false",
)


@pytest.fixture(scope="module")
def chosen(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A run that left everything open that can be; read it, never write to it."""
    return trained_run(tmp_path_factory.getbasetemp(), tiny_llm, "sasrec", LEFT_OPEN)


def test_options_left_open_are_chosen_and_used(chosen: TrainedRun) -> None:
    """Each choice is in the bundle with the figures behind it, and the steps after it were run with it."""
    manifest = chosen.bundle().manifest
    values = {selection.option: selection.chosen for selection in manifest.selection}
    used = Config.model_validate(manifest.provenance.config)

    assert list(values) == ["encoder.depth", "rat.components", "rat.residual.mode", "rat.semantic_term.gamma"]
    for selection in manifest.selection:
        scores = {trial.value: trial.score for trial in selection.trials}
        # The gamma that the training learned is a candidate beside those of the configuration.
        assert len(scores) == (3 if selection.option == "rat.semantic_term.gamma" else 2)
        assert selection.chosen == max(scores, key=scores.__getitem__)
    assert manifest.encoder.depth == used.encoder.depth == values["encoder.depth"]
    assert used.rat.components == values["rat.components"]
    assert used.rat.residual.mode == values["rat.residual.mode"]
    assert manifest.has_residual == (values["rat.residual.mode"] == "all")
    assert (manifest.semantic_term.gamma if manifest.semantic_term else 0) == values["rat.semantic_term.gamma"]
    assert (chosen.folder / "config.json").read_text() == chosen.config.model_dump_json(indent=2) + "\n"


def test_choice_is_made_once(chosen: TrainedRun, capsys: pytest.CaptureFixture[str]) -> None:
    """A second run, of the whole line or of a verb after `select`, finds every step up to date."""
    before = stamps(chosen.folder)
    pipeline.train(chosen.config, chosen.folder)
    pipeline.run_verb("rat", chosen.config, chosen.folder)
    pipeline.run_verb("bundle", chosen.config, chosen.folder)

    assert up_to_date(capsys.readouterr().out) == [*STEPS, "vanilla", "rat", "bundle"]
    assert stamps(chosen.folder) == before


def test_fixing_what_was_chosen_tunes_nothing_again(
    chosen: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Steps depend on what was chosen, not on how; but the bundle no longer says that anything was chosen."""
    manifest = chosen.bundle().manifest
    fixed = [
        f"{selection.option}={selection.chosen}"
        for selection in manifest.selection
        if selection.option != "rat.semantic_term.gamma"
    ]
    run = TrainedRun(chosen.config_path, tmp_path / "run", (*chosen.options, *fixed))
    pipeline.train(run.config, run.folder, shared=[RunFolder(chosen.folder)])
    kept = ["prepare", "scft", "embed", "vanilla", "rat", "baselines", "evaluate"]

    assert up_to_date(capsys.readouterr().out) == kept
    assert [selection.option for selection in run.bundle().manifest.selection] == ["rat.semantic_term.gamma"]


def test_changed_candidates_choose_again(
    chosen: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Other candidates make the choice out of date; a command after `select` says that it must run again."""
    run = RunFolder(tmp_path / "run")
    changed = TrainedRun(chosen.config_path, run.path, (*chosen.options, "select.max_epochs=1"))
    pipeline.train(chosen.config, run.path, last="prepare", shared=[RunFolder(chosen.folder)])

    with pytest.raises(SystemExit) as caught:
        llmemb("scft", changed, *changed.options)

    assert caught.value.code == 3
    assert "run: select is not up to date; run its verb or `llmemb train` first" in capsys.readouterr().err


def test_ablation_shares_what_its_variants_have_in_common(
    run: TrainedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four variants of two seeds: the tables have each, and a step is run once for all variants that share it."""
    changes = [f"--set={change}" for change in ("rat.max_epochs=1", "scft.max_pairs=1", "evaluate.ks=[10]")]
    names = ["no SCFT", "no alignment", "no SCFT, no alignment"]
    arguments = ["ablate", str(run.config_path), "--run", str(tmp_path), "--seeds", "1", "2", *changes]
    arguments += ["--variants", *names]
    main(arguments)
    output = capsys.readouterr().out
    table = (tmp_path / "table.md").read_text()
    figures = ABLATION.validate_json((tmp_path / "figures.json").read_bytes())

    assert output.endswith(table + "\n")
    assert table.startswith("### Ranked among all items; seeds: 2, mean ± standard deviation\n")
    assert table.count("\n| no SCFT, no alignment | ") == 2
    assert list(dict.fromkeys(figure.row for figure in figures))[:5] == ["llmemb", *names, "vanilla"]
    for seed, number in ((1, 0), (2, 1)):
        evaluated = read_figures(tmp_path / f"seed-{seed}" / "no-SCFT" / "evaluate").figures
        values = {(f.protocol, f.group, f.metric): f.value for f in evaluated if f.model == LLMEMB}
        mine = [figure for figure in figures if figure.row == "no SCFT"]
        assert [f.values[number] for f in mine] == [values[f.protocol, f.group, f.metric] for f in mine]
    assert len(up_to_date(output)) == 2 * (0 + 3 + 6 + 6)
    for path in ("prepare/items.parquet", "embed/raw_embeddings.safetensors"):
        assert (tmp_path / "seed-1" / "llmemb" / path).samefile(tmp_path / "seed-1" / "no-alignment" / path)
    assert not (tmp_path / "seed-1" / "llmemb" / "bundle").exists()

    main(arguments)
    assert len(up_to_date(capsys.readouterr().out)) == 2 * 4 * 8
    assert (tmp_path / "table.md").read_text() == table
