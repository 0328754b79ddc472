"""`llmemb_training.starting_config.columns`: which column holds what."""

import json
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from llmemb.errors import DataError
from llmemb_training.sources import source_files
from llmemb_training.starting_config.columns import Attribute, guess_attributes, guess_roles

ROWS = 30


def write(folder: Path, items: dict[str, list[object]], interactions: dict[str, list[object]] | None = None) -> Path:
    """Write JSON lines; the interactions are by three users unless they are given."""
    events = interactions or {
        "user_id": [f"u{row % 3}" for row in range(ROWS)],
        "item_id": [f"i{row}" for row in range(ROWS)],
        "timestamp": [float(row) for row in range(ROWS)],
    }
    for name, columns in (("interactions", events), ("items", items)):
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def attribute(folder: Path, name: str, values: list[object]) -> Attribute:
    """Guess one column beside an id and a title."""
    items: dict[str, list[object]] = {
        "item_id": [f"i{row}" for row in range(len(values))],
        "title": [f"Title number {row}" for row in range(len(values))],
        name: values,
    }
    guessed = guess_attributes(source_files(write(folder, items), "auto"), "item_id")
    return next(each for each in guessed if each.column == name)


@pytest.mark.parametrize(
    ("name", "values", "why"),
    [
        ("image", [f"https://x.org/{row}.jpg" for row in range(ROWS)], "URLs or names of image files"),
        ("pictures", [[f"{row}.png", f"//x/{row}"] for row in range(ROWS)], "URLs or names of image files"),
        ("warehouse_id", [f"w{row % 4}" for row in range(ROWS)], "ids or codes, by its name"),
        ("batch", [f"B-{row:05d}" for row in range(ROWS)], "ids or codes: another one in nearly every row"),
        ("shop", ["main"] * ROWS, "the same value in every row"),
        ("note", ["sold out", *[None] * 99], "nearly empty: a value in 1 of 100 rows"),
        ("blank", [""] * ROWS, "nearly empty: a value in 0 of 30 rows"),
        ("in_stock", [row % 2 == 0 for row in range(ROWS)], "true or false"),
        (
            "size",
            [{"w": row} for row in range(ROWS)],
            "values of type dict, neither texts nor numbers nor lists of these",
        ),
        ("created_at", [1_700_000_000 + row // 2 for row in range(ROWS)], "times, by its name and values"),
        ("  ", [f"a b {row}" for row in range(ROWS)], "its name is empty or no valid text"),
        ("\ud800", [f"a b {row}" for row in range(ROWS)], "its name is empty or no valid text"),
    ],
)
def test_column_that_describes_nothing_is_left_out(tmp_path: Path, name: str, values: list[object], why: str) -> None:
    """Each is left out with its reason."""
    assert attribute(tmp_path, name, values).why_not == why


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("maker", [f"Maker {row % 4}" for row in range(ROWS)], "text"),
        ("year", [1990 + row % 7 for row in range(ROWS)], "number"),
        ("price", [f"{row}.99" for row in range(ROWS)], "number"),
        ("year", [1990.0, None, float("nan"), *[1991.5] * 27], "number"),
        ("genres", [["Action", "Crime"][: 1 + row % 2] for row in range(ROWS)], "list"),
        ("idea", [f"word{'s' * row}" for row in range(ROWS)], "text"),
    ],
)
def test_column_that_describes_items_is_kept(tmp_path: Path, name: str, values: list[object], kind: str) -> None:
    """Texts, numbers and lists, with up to three different examples."""
    guessed = attribute(tmp_path, name, values)

    assert (guessed.why_not, guessed.kind, guessed.split) == ("", kind, False)
    assert 1 < len(guessed.examples) <= 3


def test_titles_come_first_and_long_texts_last(tmp_path: Path) -> None:
    """The prompt is cut at its end, where the description is."""
    items: dict[str, list[object]] = {
        "item_id": [f"i{row}" for row in range(ROWS)],
        "description": [f"{row} long " * 30 for row in range(ROWS)],
        "maker": [f"Maker {row % 4}" for row in range(ROWS)],
        "product_name": [f"Thing number {row}" for row in range(ROWS)],
    }

    guessed = guess_attributes(source_files(write(tmp_path, items), "auto"), "item_id")

    assert [each.column for each in guessed] == ["product_name", "maker", "description"]


@pytest.mark.parametrize(
    ("cell", "split", "doubt"),
    [
        ("tea|green", True, ""),
        ("tea {row}|green {row}", True, "split at '|', although the parts hardly repeat"),
        ("one two three four five | six seven eight nine ten", False, "cells have '|', but long texts around it"),
        ("plain", False, ""),
    ],
)
def test_bars_in_cells_separate_lists(tmp_path: Path, cell: str, split: bool, doubt: str) -> None:
    """Short parts that repeat are lists; what is uncertain is said."""
    ids = [f"i{row}" for row in range(ROWS)]
    cells = [cell.format(row=row) for row in range(ROWS - 1)] + ["other"]
    write(tmp_path, {"item_id": list(ids)})
    (tmp_path / "items.jsonl").unlink()
    pl.DataFrame({"item_id": ids, "tags": cells}).write_csv(tmp_path / "items.csv")

    guessed = guess_attributes(source_files(tmp_path, "auto"), "item_id")[0]

    assert guessed.split is split
    assert guessed.doubt.startswith(doubt)
    assert bool(guessed.doubt) is bool(doubt)


def test_items_without_a_description_are_refused(tmp_path: Path) -> None:
    """The sentence names each column and why it does not count."""
    write(tmp_path, {"item_id": ["i1", "i2"], "image": ["http://a", "http://b"], "shop": ["x", "x"]})

    with pytest.raises(DataError) as caught:
        guess_attributes(source_files(tmp_path, "auto"), "item_id")

    assert str(caught.value) == (
        f"{tmp_path}/items.jsonl: no column describes the items, beside their ids; 'image': URLs or names of image "
        "files; 'shop': the same value in every row"
    )


def roles(folder: Path, **columns: list[object]) -> tuple[str, str, str, str | None]:
    guessed = guess_roles(source_files(write(folder, {"article": [f"i{r}" for r in range(ROWS)]}, columns), "auto"))
    rating = None if guessed.rating is None else guessed.rating.column
    return guessed.user.column, guessed.item.column, guessed.time.column, rating


ARTICLES: list[object] = [f"i{row}" for row in range(ROWS)]
PEOPLE: list[object] = [f"p{row % 5}" for row in range(ROWS)]
SECONDS: list[object] = [1_700_000_000 + row for row in range(ROWS)]


def test_roles_are_found_by_name(tmp_path: Path) -> None:
    """Words of a name count, in snake case and in camel case, wherever the columns stand."""
    found = roles(
        tmp_path,
        starRating=[1 + r % 5 for r in range(ROWS)],
        boughtAt=list(range(ROWS)),
        customerId=PEOPLE,
        article=ARTICLES,
    )

    assert found == ("customerId", "article", "boughtAt", "starRating")


def test_rating_is_a_number(tmp_path: Path) -> None:
    """A text whose name says rating is none."""
    found = roles(tmp_path, user=PEOPLE, article=ARTICLES, ts=SECONDS, rating=["good"] * ROWS)

    assert found == ("user", "article", "ts", None)


@pytest.mark.parametrize("times", [SECONDS, [str(date(2024, 1, 1 + row)) for row in range(ROWS)]])
def test_roles_are_found_by_values_and_doubted(tmp_path: Path, times: list[object]) -> None:
    """Names that say nothing: the user repeats, the time could be a date, the item's ids are in both files."""
    columns = {"b": PEOPLE, "c": times, "article": ARTICLES, "d": [0.5 + row for row in range(ROWS)]}
    guessed = guess_roles(source_files(write(tmp_path, {"article": ARTICLES}, columns), "auto"))

    assert (guessed.user.column, guessed.time.column, guessed.item.column) == ("b", "c", "article")
    assert guessed.user.doubt == "chosen by its values, which repeat; no name says so"
    assert guessed.time.doubt == "chosen by its values, which could be dates"
    assert guessed.item.doubt == ""


def test_item_is_the_column_whose_values_meet(tmp_path: Path) -> None:
    """Of two columns in both files, the one whose values are the items' ids counts, not the one with the name."""
    items = {"id": [f"x{row}" for row in range(ROWS)], "code": list(ARTICLES)}
    columns = {"id": [f"y{row}" for row in range(ROWS)], "code": ARTICLES, "user": PEOPLE, "time": SECONDS}

    guessed = guess_roles(source_files(write(tmp_path, items, columns), "auto"))

    assert (guessed.item.column, guessed.item.doubt) == ("code", "")


def test_ids_that_hardly_meet_are_doubted(tmp_path: Path) -> None:
    """The column is still the only one, and the doubt has the share."""
    items = {"item": [f"x{row}" for row in range(ROWS - 3)] + ["i0", "i1", "i2"]}

    guessed = guess_roles(
        source_files(write(tmp_path, items, {"item": ARTICLES, "user": PEOPLE, "time": SECONDS}), "auto")
    )

    assert guessed.item.doubt == "only 10% of 30 sampled ids of the interactions are in the sampled items"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user": PEOPLE, "article": ARTICLES, "colour": ["red"] * ROWS},
            "interactions.jsonl: no column looks like the time of an interaction, a number that grows with time or a "
            "date; it has 'user', 'article', 'colour'",
        ),
        (
            {"article": ARTICLES, "time": SECONDS, "price": [row + 0.5 for row in range(ROWS)]},
            "interactions.jsonl: no column looks like a user's id, which repeats in the user's interactions; it has "
            "'article', 'time', 'price'",
        ),
        (
            {"user": PEOPLE, "thing": ARTICLES, "time": SECONDS},
            ": the ids of 'article' in items.jsonl are those of 'thing' in interactions.jsonl: give the column one "
            "name in both files; the interactions have 'user', 'thing', 'time', the items 'article'",
        ),
        (
            {"user": PEOPLE, "thing": PEOPLE, "time": SECONDS},
            ": no column is in both files and has another value in each row of items.jsonl, as the item's id must; "
            "the interactions have 'user', 'thing', 'time', the items 'article'",
        ),
    ],
)
def test_missing_role_is_named_with_the_columns(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    """One sentence names what is missing, and the columns that are there."""
    with pytest.raises(DataError) as caught:
        roles(tmp_path, **columns)

    assert str(caught.value).removeprefix(str(tmp_path)).removeprefix("/") == message


def test_file_without_rows_is_refused(tmp_path: Path) -> None:
    """A header alone says nothing."""
    write(tmp_path, {"article": ARTICLES})
    (tmp_path / "interactions.jsonl").unlink()
    (tmp_path / "interactions.csv").write_text("user,article,time\n")

    with pytest.raises(DataError, match=r"interactions\.csv: the file has no rows"):
        guess_roles(source_files(tmp_path, "auto"))
