"""Time of a RAT epoch against SASRec in RecBole and RecTools: same data, sizes, loss, targets and threads.

    python -m benchmarks.rat_epoch [--data FOLDER ...] [--rounds 3] [--threads 2]

The sides alternate. Writes `results/rat_epoch.json` and `results/rat_epoch.md`.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from benchmarks.peer_environment import recbole_python, rectools_python
from benchmarks.peer_files import write_peer_files, write_windows
from benchmarks.recbole_options import recbole_options
from benchmarks.rectools_options import rectools_options
from benchmarks.results import REPOSITORY, WORK, Row, compare, make_results, write_results
from benchmarks.worker import Answer, Worker
from llmemb_training.config import PrepareConfig, RatConfig
from llmemb_training.data.dataset import read_dataset
from llmemb_training.rat.batches import cut_windows
from llmemb_training.rat.recommenders import LLMEMB, VANILLA
from llmemb_training.steps import prepare

SEED = 42
SAME_STEPS, OWN_BATCH = "RecBole SASRec, as many steps", "RecBole SASRec, its own batch size"
RECBOLE_BATCH = 2048
RECTOOLS = "RecTools SASRec"
AIM = 0.7
NOTES = (
    "An epoch predicts each item of each training history but the first, once, over all items (full softmax): the same "
    "targets on both sides. Ours predicts all targets of a window in one pass; RecBole makes a sample of each target, "
    "with all items before it, padded to the longest history. Targets a second are these targets by the time.",
    f"`{SAME_STEPS}`: its batch has as many targets as ours on average, so both make as many optimiser steps. "
    f"`{OWN_BATCH}`: {RECBOLE_BATCH}, RecBole's default.",
    f"`{RECTOOLS}` gets our windows, each as a user of its own, and as many in a batch; timed is Lightning's epoch.",
    "`vanilla` is SASRec on ids; `llmemb` is RAT: the adapted table with residual, and alignment. Timed are "
    "`llmemb_training.rat.fitting.train_epoch` and RecBole's `Trainer.fit` of one epoch; neither validates nor saves. "
    "`processor`: the time of all threads, which says more than the clock on a machine that others use too.",
)


@dataclass(frozen=True, slots=True)
class Timing:
    """A worker's facts and its answers in each round."""

    facts: Answer
    rounds: list[Answer]

    def each(self, key: str) -> list[float]:
        """Return a figure of every round."""
        return [float(answer[key]) for answer in self.rounds]


def time_epochs(data: Path, config: RatConfig, rounds: int, threads: int) -> dict[str, Timing]:
    """Time an epoch of every model on one source, round by round in alternation."""
    folder = WORK / "rat_epoch" / data.name
    dataset_folder = folder / "prepare"
    dataset_folder.mkdir(parents=True, exist_ok=True)
    prepare.run(PrepareConfig(path=str(data), domain="product"), SEED, dataset_folder)
    section = folder / "rat.json"
    section.write_text(config.model_dump_json(), encoding="utf-8")
    workers: dict[str, Worker] = {}
    with ExitStack() as stack:

        def start(name: str, python: Path, module: str, *arguments: str) -> Answer:
            worker = Worker(python, module, arguments, threads=threads, folder=folder, name=name)
            workers[name] = stack.enter_context(worker)
            return worker.facts

        for model in (VANILLA, LLMEMB):
            facts = start(
                model, Path(sys.executable), "benchmarks.rat_worker", model, str(dataset_folder), str(section)
            )
        files = folder / f"recbole-{config.model.max_length}"
        write_peer_files(read_dataset(dataset_folder), files, config.model.max_length)
        same_steps = round(float(facts["targets"]) / float(facts["steps"]))
        for name, batch in ((SAME_STEPS, same_steps), (OWN_BATCH, RECBOLE_BATCH)):
            options = folder / f"recbole-{batch}.json"
            given = {"data": str(files), "config": recbole_options(config, batch)}
            options.write_text(json.dumps(given), encoding="utf-8")
            start(name, recbole_python(), "benchmarks.recbole_worker", "epochs", str(options))
        options = folder / "rectools.json"
        windows = cut_windows(read_dataset(dataset_folder).train, config.model.max_length, "next_item")
        write_windows(windows, folder / "windows.npz")
        given = {"data": str(folder), "name": "SASRecModel", "model": rectools_options(config)}
        options.write_text(json.dumps(given), encoding="utf-8")
        start(RECTOOLS, rectools_python(), "benchmarks.rectools_worker", "epochs", str(options))
        timings = {name: Timing(worker.facts, []) for name, worker in workers.items()}
        for round_number in range(1, rounds + 1):
            for name, worker in workers.items():
                answer = worker.round()
                timings[name].rounds.append(answer)
                print(f"{data.name}, round {round_number}: {name}: {answer}", flush=True)
        return timings


def make_rows(data: str, timings: Mapping[str, Timing]) -> list[Row]:
    """Compare our models with the peers': wall time, processor time and targets per second."""

    def speed(timing: Timing) -> list[float]:
        return [float(timing.facts["targets"]) / seconds for seconds in timing.each("seconds")]

    rows = []
    for peer, model in product((SAME_STEPS, OWN_BATCH, RECTOOLS), (LLMEMB, VANILLA)):
        ours, theirs = timings[model], timings[peer]
        assert ours.facts["targets"] == theirs.facts["targets"], f"{data}: not the same targets"
        name = f"{data}: epoch of {model}; {peer}"
        rows.append(compare(name, "s", ours.each("seconds"), theirs.each("seconds"), ("<=", AIM)))
        rows.append(compare(f"{name}, processor", "s", ours.each("cpu_seconds"), theirs.each("cpu_seconds")))
        rows.append(compare(f"{name}, speed", "targets/s", speed(ours), speed(theirs)))
    return rows


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", help="folder of a source; default MovieLens 100K")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="threads of each side")
    parser.add_argument("--batch-size", type=int, default=RatConfig().batch_size, help="our batch size, in windows")
    parser.add_argument("--max-length", type=int, default=RatConfig().model.max_length)
    given = parser.parse_args()
    base = RatConfig(batch_size=given.batch_size)
    config = base.model_copy(update={"model": base.model.model_copy(update={"max_length": given.max_length})})
    rows, settings, versions = [], {"rounds": str(given.rounds), "threads": str(given.threads)}, {}
    for data in given.data or [REPOSITORY / ".cache" / "data" / "ml-100k"]:
        timings = time_epochs(data, config, given.rounds, given.threads)
        rows += make_rows(data.name, timings)
        settings |= {f"{data.name} {key}": str(timings[LLMEMB].facts[key]) for key in ("targets", "items", "steps")}
        for peer in (SAME_STEPS, RECTOOLS):
            facts = timings[peer].facts
            versions |= {name.split()[1]: str(value) for name, value in facts.items() if name.startswith("version")}
    settings |= {key: str(value) for key, value in config.model.model_dump().items()}
    settings |= {"loss": config.loss, "batch size of ours": f"{config.batch_size} windows"}
    title = "A RAT epoch beside the epochs of other libraries' SASRec"
    write_results(make_results("rat_epoch", title, rows, settings=settings, peer_versions=versions, notes=NOTES))


if __name__ == "__main__":
    main()
