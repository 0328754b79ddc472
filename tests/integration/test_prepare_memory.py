"""`prepare` on a catalogue of a million made-up items: what it counts, and the memory it takes."""

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from llmemb_training.data.dataset import read_dataset

ITEMS = 1_000_000
USERS = 300_000
REPEATED = 10_000
LONELY = 5_000
LIMIT_GIB = 1.5
"""Measured: 1.02 GiB; the margin is for allocators and versions that differ."""

CHILD = """
import sys
from pathlib import Path
from llmemb_training.config import PrepareConfig
from llmemb_training.steps import prepare

prepare.run(PrepareConfig(path=sys.argv[1], domain="thing", min_interactions=3), 1, Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def write_catalogue(folder: Path) -> None:
    """Write 300,000 users with 10 interactions each, in which every item stands 3 times, and what must be dropped."""
    number = pl.int_range(10 * USERS, eager=True)
    interactions = pl.DataFrame(
        {
            "user_id": "user " + (number // 10).cast(pl.String),
            # 7919 and a million have no common factor: the items of ten interactions are far apart.
            "item_id": "item " + (number * 7919 % ITEMS).cast(pl.String),
            "timestamp": number,
        }
    )
    lonely = interactions.head(LONELY).with_columns(pl.format("lonely {}", "timestamp").alias("user_id"))
    pl.concat([interactions, interactions.head(REPEATED), lonely]).write_csv(folder / "interactions.csv")
    items = pl.int_range(ITEMS, eager=True).cast(pl.String)
    pl.DataFrame(
        {"item_id": "item " + items, "title": "A made-up thing with a title of usual length, number " + items}
    ).write_parquet(folder / "items.parquet")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of the memory from /proc")
def test_a_million_items_fit(tmp_path: Path) -> None:
    """The peak of a process that does nothing else stays under the limit, and nothing is lost or invented."""
    source, output = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    output.mkdir()
    write_catalogue(source)
    # Of its own, for the peak is the whole process's, and this one has seen other tests.
    child = subprocess.run(
        [sys.executable, "-c", CHILD, source, output], check=True, capture_output=True, text=True, encoding="utf-8"
    )
    counts = json.loads((output / "dataset.json").read_text(encoding="utf-8"))["counts"]
    dataset = read_dataset(output)

    assert counts == {
        "interactions_read": 10 * USERS + REPEATED + LONELY,
        "interactions_rated_low": 0,
        "interactions_repeated": REPEATED,
        "interactions_without_item_text": 0,
        "interactions_outside_core": LONELY,
        "interactions_kept": 10 * USERS,
        "interactions_cold": 3 * ITEMS // 20,
        "items_read": ITEMS,
        "items_repeated": 0,
        "items_without_interactions": 0,
        "items_without_text": 0,
        "items_outside_core": 0,
        "items_kept": ITEMS,
        "items_cold": ITEMS // 20,
        "users_kept": USERS,
        "users_with_targets": USERS,
        "cold_targets": counts["cold_targets"],
    }
    assert 2 * ITEMS // 20 < counts["cold_targets"] < 3 * ITEMS // 20
    assert (dataset.num_items, len(dataset.train)) == (ITEMS, USERS)
    assert dataset.items["item_id"].n_unique() == ITEMS
    assert int(child.stdout) / 2**20 < LIMIT_GIB, f"prepare took {int(child.stdout) / 2**20:.2f} GiB"
