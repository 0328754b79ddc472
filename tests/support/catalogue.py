"""A made-up catalogue with taste in it, the offline line run on it, and a way to end a run at a chosen moment."""

import functools
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from llmemb.bundle import Bundle, read_bundle
from training import pipeline
from training.config import Config, load_config

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
epochs = 2
batch_items = 8
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

    @property
    def config(self) -> Config:
        """The configuration."""
        return load_config(self.config_path)

    def bundle(self) -> Bundle:
        """The bundle it wrote."""
        return read_bundle(self.folder / "bundle")


@functools.cache
def trained_run(factory: pytest.TempPathFactory, llm: Path, model: str) -> TrainedRun:
    """Run the whole line on the made-up catalogue, once a session for each sequence model.

    The second model and the third take everything over from the first but what depends on the model.
    """
    folder = factory.mktemp(f"trained-{model}")
    if model == "sasrec":
        source, shared = write_catalogue(folder / "source"), []
    else:
        first = trained_run(factory, llm, "sasrec")
        source, shared = first.config_path.parent / "source", [pipeline.RunFolder(first.folder)]
    run = TrainedRun(write_config(folder / "tiny.toml", source=source, base=llm, model=model), folder / "run")
    pipeline.train(run.config, run.folder, shared=shared)
    return run


def run_llmemb(*arguments: str | Path, ending: str = "") -> subprocess.CompletedProcess[str]:
    """Run `llmemb` in a process of its own; `ending` is code that runs first, such as `end_at` makes."""
    code = f"import sys\n{ending}\nfrom llmemb.cli import main\nmain(sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def end_at(event: str, path: str, nth: int = 1, signal: str = "SIGKILL") -> str:
    """Return code that sends the process a signal at the nth time that it is about to write or rename `path`.

    Args:
        event: an audit event of Python: `open` (for writing) or `os.rename`.
        path: the end of the path that is opened, or that is renamed to.
        nth: counts from 1.
        signal: its name.
    """
    return f"""
import os, signal
seen = 0
def end(event, arguments):
    global seen
    if event != {event!r} or (event == "open" and "w" not in str(arguments[1])):
        return
    if str(arguments[event == "os.rename"]).endswith({path!r}):
        seen += 1
        if seen == {nth}:
            os.kill(os.getpid(), signal.{signal})
sys.addaudithook(end)
"""
