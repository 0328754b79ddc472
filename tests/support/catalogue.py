"""A made-up catalogue with taste in it, the offline line run on it, and a way to end a run at a chosen moment."""

import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llmemb.bundle import Bundle, read_bundle
from llmemb.cli import main
from llmemb_training import pipeline
from llmemb_training.config import Config, load_config

REPOSITORY = Path(__file__).parents[2]
NUM_USERS = 60
GENRES = {
    "Western": ("Dusty Saddle", "Canyon Duel", "Prairie Outlaw", "Silver Spurs", "Frontier Ride"),
    "Horror": ("Midnight Crypt", "Whispering Bones", "Cursed Cellar", "Pale Phantom", "Screaming Walls"),
    "Romance": ("Summer Letters", "Paris Kisses", "Wedding Waltz", "Tender Hearts", "Moonlit Promise"),
    "Space": ("Orbit Station", "Galaxy Rangers", "Martian Signal", "Comet Riders", "Nebula Drift"),
}
ITEMS_OF_A_GENRE = 10

CONFIG = """\
seed = 7

[prepare]
path = {path}
domain = "movie"
min_interactions = 3

[encoder]
base = {base}
max_tokens = 64

[scft]
positives = "both"
epochs = 1
batch_histories = 8
checkpoint_steps = 2

[embed]
batch_tokens = 256
shard_items = 10

[rat]
components = 16
batch_size = 16
learning_rate = 1e-2
max_epochs = 30
patience = 10

[rat.residual]
dropout = 0.5

[rat.model]
name = "{model}"
dim = 16
max_length = 8
dropout = 0.1

[evaluate]
num_negatives = 10
"""


def catalogue_items() -> dict[str, dict[str, object]]:
    """Make 40 movies, 10 of each genre: item id -> attributes. The genre can be read from the title too."""
    items: dict[str, dict[str, object]] = {}
    for genre, titles in GENRES.items():
        for number in range(ITEMS_OF_A_GENRE):
            title = titles[number % len(titles)] + (" Returns" if number >= len(titles) else "")
            items[f"{genre.lower()}-{number}"] = {"title": title, "release_year": 1960 + 6 * number, "genres": [genre]}
    return items


def write_catalogue(folder: Path, seed: int = 0) -> Path:
    """Write the movies and what 60 users watched, in the generic form.

    Each user likes one genre and watches it in the order of its items, from anywhere and round again; one movie in
    ten is of any genre. Each watches 8 to 12.
    """
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    items = catalogue_items()
    ids = list(items)
    lines = ["user_id,item_id,timestamp"]
    for user in range(NUM_USERS):
        genre = list(GENRES)[user % len(GENRES)].lower()
        start = int(random.integers(ITEMS_OF_A_GENRE))
        for time in range(int(random.integers(8, 13))):
            liked = f"{genre}-{(start + time) % ITEMS_OF_A_GENRE}"
            item = liked if random.random() < 0.9 else ids[random.integers(len(ids))]
            lines.append(f"u{user},{item},{time}")
    (folder / "interactions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    rows = [json.dumps({"item_id": item_id} | attributes) for item_id, attributes in items.items()]
    (folder / "items.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def write_config(path: Path, *, source: Path, base: Path, model: str = "sasrec") -> Path:
    """Write a configuration that trains on a catalogue in seconds."""
    text = CONFIG.format(path=json.dumps(str(source)), base=json.dumps(str(base)), model=model)
    path.write_text(text, encoding="utf-8")
    return path


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: its configuration file and its folder. Read it, never write to it."""

    config_path: Path
    folder: Path
    options: tuple[str, ...] = ()
    """What it was trained with beside the file, as `--set` takes them."""

    @property
    def config(self) -> Config:
        """The configuration."""
        return load_config(self.config_path, self.options)

    def bundle(self) -> Bundle:
        """The bundle it wrote."""
        return read_bundle(self.folder / "bundle")


def trained_run(base: Path, llm: Path, model: str, options: tuple[str, ...] = ()) -> TrainedRun:
    """Run the whole line on the made-up catalogue, once a session for each sequence model and options.

    All but the first, SASRec without options, take over from it what does not depend on these.

    Args:
        base: the session's temporary folder.
        llm: as `write_tiny_llm` wrote it.
        model: the sequence model.
        options: of the configuration, as `--set` takes them.
    """
    return _train_once(base, llm, model, options)


@functools.cache
def _train_once(base: Path, llm: Path, model: str, options: tuple[str, ...]) -> TrainedRun:
    folder = base / f"trained-{model}-{hashlib.sha256(repr(options).encode()).hexdigest()[:12]}"
    if (model, options) == ("sasrec", ()):
        source, shared = write_catalogue(folder / "source"), []
    else:
        first = trained_run(base, llm, "sasrec")
        source, shared = first.config_path.parent / "source", [pipeline.RunFolder(first.folder)]
    folder.mkdir(exist_ok=True)
    config_path = write_config(folder / "tiny.toml", source=source, base=llm, model=model)
    run = TrainedRun(config_path, folder / "run", options)
    pipeline.train(run.config, run.folder, shared=shared)
    return run


@dataclass(frozen=True)
class Ending:
    """The moment at which a process gets a signal: the nth time that it is about to write a file.

    Args:
        event: an audit event of Python, `open` for writing or `os.rename`.
        path: the end of the path that is opened, or that is renamed to.
        nth: counts from 1.
        number: of the signal.
    """

    event: str
    path: str
    nth: int = 1
    number: signal.Signals = signal.SIGKILL

    def arm(self) -> None:
        """Watch this process from now on."""
        seen = itertools.count(1)

        def watch(event: str, arguments: tuple[object, ...]) -> None:
            if event != self.event or (event == "open" and "w" not in str(arguments[1])):
                return
            path = arguments[1] if event == "os.rename" else arguments[0]
            if str(path).endswith(self.path) and next(seen) == self.nth:
                os.kill(os.getpid(), self.number)

        sys.addaudithook(watch)


def run_llmemb(arguments: Sequence[str | Path], folder: Path, ending: Ending) -> tuple[int, str, str]:
    """Run `llmemb` in a process of its own until it ends; return its exit code, stdout and stderr.

    The processes are forked from one that has imported the trainer, which takes longer than the run.

    Args:
        arguments: as on the command line.
        folder: takes the output.
        ending: when to end it.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "llmemb_training.scft.contrastive"])
    process = context.Process(target=_run, args=([str(argument) for argument in arguments], folder, ending))
    process.start()
    process.join(300)
    assert process.exitcode is not None, (folder / "stdout").read_text()
    return process.exitcode, (folder / "stdout").read_text(), (folder / "stderr").read_text()


def _run(arguments: list[str], folder: Path, ending: Ending) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    torch.set_num_threads(1)
    ending.arm()
    main(arguments)
