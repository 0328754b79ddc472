"""`llmemb_training.steps.prepare`: a source whose every interaction is accounted for."""

import json
from pathlib import Path

import polars as pl
import pytest

from llmemb.errors import DataError
from llmemb_training.config import PrepareConfig
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.steps import prepare

USERS = [f"u{number}" for number in range(6)]
ITEMS = [f"i{number}" for number in range(5)]


def write_source(folder: Path, extra: str = "", items: list[dict[str, object]] | None = None) -> Path:
    """Six users who met five items, each in another order, one a second, and the lines `extra`."""
    folder.mkdir()
    lines = [
        f"{user},{ITEMS[(position + turn) % 5]},{position}" for turn, user in enumerate(USERS) for position in range(5)
    ]
    (folder / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *lines]) + "\n" + extra)
    described = [{"item_id": item, "title": f"Title {item}", "genres": ["Drama"]} for item in ITEMS]
    rows = described if items is None else items
    (folder / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def run(folder: Path, output: Path, *, seed: int = 0, **values: object) -> tuple[Dataset, str]:
    """Run the step; no item is cold unless `values` say so."""
    output.mkdir()
    config = PrepareConfig.model_validate(
        {"path": str(folder), "domain": "movie", "min_interactions": 2, "cold_share": 0.0} | values
    )
    summary = prepare.run(config, seed, output)
    return read_dataset(output), summary


def test_prompts_are_the_configuration_s(tmp_path: Path) -> None:
    """Domain and instruction go with the dataset, so that every later step renders the same prompts."""
    dataset, _ = run(write_source(tmp_path / "source"), tmp_path / "out", domain="film", instruction="a {domain}: ")

    assert dataset.prompt(100).render({"title": "Heat"}) == "a film: title is Heat"


def test_every_interaction_is_accounted_for(tmp_path: Path) -> None:
    """What was read is repeated, without text, outside the core, or kept; and the summary says so."""
    extra = (
        "u0,i0,0\n"  # the first line once more
        "u0,i0,9\n"  # the same at another time: not repeated
        "u1,mute,8\nu2,mute,8\n"  # two with an item that has no text
        "u1,unknown,8\n"  # an item that stands nowhere
        "lonely,i0,1\n"  # a user of one interaction
        "u3,rare,8\n"  # an item of one interaction
    )
    items = [{"item_id": item, "title": f"Title {item}"} for item in ITEMS]
    items += [
        {"item_id": "mute", "title": ""},
        {"item_id": "rare", "title": "Rare"},
        {"item_id": "new", "title": "New"},
    ]
    dataset, summary = run(write_source(tmp_path / "source", extra, items), tmp_path / "out")
    counts = dataset.info.counts

    assert counts == {
        "interactions_read": 37,
        "interactions_rated_low": 0,
        "interactions_repeated": 1,
        "interactions_without_item_text": 3,
        "interactions_outside_core": 2,
        "interactions_kept": 31,
        "interactions_cold": 0,
        "items_read": 8,
        "items_repeated": 0,
        "items_without_interactions": 1,
        "items_without_text": 1,
        "items_outside_core": 1,
        "items_kept": 5,
        "items_cold": 0,
        "users_kept": 6,
        "users_with_targets": 6,
        "cold_targets": 0,
    }
    assert dataset.sequences["item_rows"].list.len().sum() == counts["interactions_kept"]
    assert summary == (
        "6 users, 5 items (0 held out as cold), 31 of 37 interactions; "
        "dropped 1 repeated, 3 without item text, 2 outside the core"
    )


def test_low_ratings_are_dropped_before_the_core(tmp_path: Path) -> None:
    """An item that is only rated low has no interaction, and the summary counts what went."""
    source = write_source(tmp_path / "source")
    frame = pl.read_csv(source / "interactions.csv").with_columns(stars=pl.col("item_id").str.tail(1).cast(pl.Int64))
    frame.write_csv(source / "interactions.csv")
    dataset, summary = run(source, tmp_path / "out", min_rating=1, columns={"rating": "stars"})

    assert sorted(dataset.items["item_id"]) == ITEMS[1:]
    assert dataset.info.counts["interactions_rated_low"] == 6
    assert dataset.info.counts["items_without_interactions"] == 1
    assert summary == "6 users, 4 items (0 held out as cold), 24 of 30 interactions; dropped 6 rated low"


def test_popularity_leaves_validation_and_test_out(tmp_path: Path) -> None:
    """Of each history the last two count for no item."""
    dataset, _ = run(write_source(tmp_path / "source"), tmp_path / "out")
    ids = dataset.items["item_id"].to_list()
    expected = dict.fromkeys(ITEMS, 0)
    for turn in range(len(USERS)):
        for position in range(3):
            expected[ITEMS[(position + turn) % 5]] += 1

    assert dict(zip(ids, dataset.items["train_count"].to_list(), strict=True)) == expected


def test_cold_items_are_out_of_all_training(tmp_path: Path) -> None:
    """Their rows come last, no history holds them, their popularity is 0, and their first users are the targets."""
    dataset, _ = run(write_source(tmp_path / "source"), tmp_path / "out", cold_share=0.4, cold_interactions=3)

    assert (dataset.num_items, dataset.num_warm) == (5, 3)
    assert dataset.sequences["item_rows"].explode().max() < 3
    assert dataset.train_counts[3:].tolist() == [0, 0]
    assert dataset.cold_targets.rows.tolist() == [3, 3, 3, 4, 4, 4]
    assert dataset.info.counts["cold_targets"] == 6
    assert dataset.info.counts["interactions_cold"] == 12
    assert all(sorted(rows.tolist()) == [0, 1, 2, 3, 4] for rows in dataset.interacted.values())


def test_attributes_and_their_order_are_the_source_s(tmp_path: Path) -> None:
    """The prompt's names are known to all later steps."""
    names = {"kind": "genres", "name": "title"}
    dataset, _ = run(write_source(tmp_path / "source"), tmp_path / "out", attributes=names)

    assert dataset.info.attribute_names == ("kind", "name")
    assert dataset.attributes()[0]["kind"] == ("Drama",)
    assert dataset.info.domain == "movie"


def test_seed_decides_rows_and_ties(tmp_path: Path) -> None:
    """The same seed writes the same files, another one other rows."""
    source = write_source(tmp_path / "source")
    one, same, other = (run(source, tmp_path / name, seed=seed)[0] for name, seed in (("a", 1), ("b", 1), ("c", 2)))

    assert one.items.equals(same.items)
    assert one.sequences.equals(same.sequences)
    assert not one.items["item_id"].equals(other.items["item_id"])


def test_equal_times_are_shuffled(tmp_path: Path) -> None:
    """Where a whole day has one time, the order of the file is not the order of the history."""
    folder = write_source(tmp_path / "source")
    frame = pl.read_csv(folder / "interactions.csv").with_columns(timestamp=0)
    frame.write_csv(folder / "interactions.csv")
    orders = set()
    for seed in range(5):
        dataset, _ = run(folder, tmp_path / f"out{seed}", seed=seed)
        ids = dataset.items["item_id"].to_list()
        orders.add(tuple(ids[row] for row in dataset.interacted["u0"]))

    assert len(orders) == 5


def test_source_with_nothing_left_is_refused(tmp_path: Path) -> None:
    """A core that nothing is in cannot be trained on."""
    source = write_source(tmp_path / "source")

    with pytest.raises(DataError, match=f"^{source}: no interaction is left after the 7-core$"):
        run(source, tmp_path / "out", min_interactions=7)


@pytest.mark.parametrize(
    ("items", "report"),
    [
        ([], "0; not in the other file are, for example, 'i0', 'i1', 'i2' of interactions.csv"),
        (
            [{"item_id": f"I{number}", "title": "Up"} for number in range(4)],
            "4; not in the other file are, for example, 'i0', 'i1', 'i2' of interactions.csv and 'I0', 'I1', 'I2' of "
            "items.jsonl",
        ),
    ],
    ids=["no items", "other items"],
)
def test_files_without_a_common_item_are_refused(tmp_path: Path, items: list[dict[str, object]], report: str) -> None:
    """The error says how many ids of each file there are, and shows the form of each."""
    source = write_source(tmp_path / "source", items=items)
    report = report.replace(";", " in items.jsonl;", 1)

    with pytest.raises(DataError) as caught:
        run(source, tmp_path / "out", min_interactions=1)

    assert str(caught.value) == (
        f"{source}: 0 of the 5 item ids in interactions.csv are among the {report}: write each id alike in both files"
    )


@pytest.mark.parametrize(("num_items", "warned"), [(2, True), (3, False)])
def test_few_common_items_are_warned_of(tmp_path: Path, num_items: int, warned: bool) -> None:
    """Under half of the items with interactions, the summary says how many there are."""
    items: list[dict[str, object]] = [{"item_id": item, "title": f"Title {item}"} for item in ITEMS[:num_items]]
    source = write_source(tmp_path / "source", items=[*items, {"item_id": "005", "title": "Up"}])
    _, summary = run(source, tmp_path / "out")

    warning = (
        "; warning: 2 of the 5 item ids in interactions.csv are among the 3 in items.jsonl; not in the other file are, "
        "for example, 'i2', 'i3', 'i4' of interactions.csv and '005' of items.jsonl"
    )
    assert summary[summary.index("without item text") + len("without item text") :] == (warning if warned else "")


def test_times_in_several_units_are_warned_of(tmp_path: Path) -> None:
    """They are kept as they are: which of them is wrong cannot be known."""
    source = write_source(tmp_path / "source", "u0,i0,1700000000\nu0,i1,1700000000001\n")
    dataset, summary = run(source, tmp_path / "out")

    assert dataset.sequences["times"][0].to_list() == [0, 1, 2, 3, 4, 1700000000, 1700000000001]
    assert summary.endswith(
        "; warning: the times seem to be in several units: 1 in seconds such as 1700000000, 1 in milliseconds such as "
        "1700000000001"
    )


def test_split_recbole_source_is_joined(tmp_path: Path) -> None:
    """Its parts may differ in the order of their columns; the summary says that the split is ignored."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.item").write_text("item_id:token\ttitle:token_seq\nt1\tA\nt2\tB\n")
    (source / "a.train.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\nu1\tt1\t1\n")
    (source / "a.test.inter").write_text("timestamp:float\tuser_id:token\titem_id:token\n2\tu1\tt2\n")
    dataset, summary = run(source, tmp_path / "out", min_interactions=1)

    ids = dataset.items["item_id"].to_list()
    assert [[ids[row] for row in rows] for rows in dataset.histories] == [["t1", "t2"]]
    assert summary == (
        "1 users, 2 items (0 held out as cold), 2 of 2 interactions; dropped none; joined a.test.inter, a.train.inter, "
        "whose split is ignored"
    )


def test_items_that_all_read_the_same_are_refused(tmp_path: Path) -> None:
    """Before anything is embedded or trained, with the text and what to set."""
    source = write_source(tmp_path / "source", items=[{"item_id": item, "title": "Tea"} for item in ITEMS])

    with pytest.raises(DataError, match=rf'^{source}: all 5 items have the same attributes, {{"title":"Tea"}}: '):
        run(source, tmp_path / "out")
