"""`llmemb_training.sources.generic`: JSON lines, CSV and Parquet in the place of the plain form."""

from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from llmemb.errors import DataError
from llmemb.item import parse_attributes
from tests.support.sources import read_folder, write_file

HEADER = "user_id,item_id,timestamp\n"
ITEMS = (
    '{"item_id": "a", "title": "Heat", "year": 1995, "genres": ["Action", "Crime"]}\n'
    '{"item_id": "b", "title": "Up", "year": null, "genres": []}\n'
)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_interactions_may_be_json_lines(tmp_path: Path, suffix: str) -> None:
    """Keys in any order, others beside them, blank lines between."""
    rows = '{"timestamp": 1.5, "user_id": "u", "x": {"y": [1]}, "item_id": "a"}\n\n'
    rows += '{"user_id": "v", "item_id": "b", "timestamp": 2}\n'
    write_file(tmp_path / f"interactions.jsonl{suffix}", rows)
    write_file(tmp_path / "items.jsonl", ITEMS)

    assert read_folder(tmp_path).interactions == [("u", "a", 1.5), ("v", "b", 2.0)]


@pytest.mark.parametrize("zipped", ["", ".gz"])
@pytest.mark.parametrize("name", ["interactions.csv", "items.csv", "interactions.jsonl", "items.jsonl"])
@pytest.mark.parametrize("form", ["mark", "cr"])
def test_byte_order_mark_and_old_line_ends_do_not_matter(tmp_path: Path, name: str, form: str, zipped: str) -> None:
    """Programs of Windows begin a file with the mark, and old ones of the Macintosh end a line with CR alone."""
    files = {
        "interactions.csv": HEADER + 'u,a,1\n"v",b,2\n',
        "items.csv": 'item_id,title\na,Heat\nb,"10"" Up"\n',
        "interactions.jsonl": "".join(
            f'{{"user_id": "{user}", "item_id": "{item}", "timestamp": {time}}}\n'
            for user, item, time in ("ua1", "vb2")
        ),
        "items.jsonl": '{"item_id": "a", "title": "Heat"}\n{"item_id": "b", "title": "10\\" Up"}\n',
    }
    other = "items.csv" if name.startswith("interactions") else "interactions.csv"
    write_file(tmp_path / other, files[other])
    text = files[name]
    write_file(tmp_path / (name + zipped), "\ufeff" + text if form == "mark" else text.replace("\n", "\r"))
    source = read_folder(tmp_path)

    assert source.interactions == [("u", "a", 1), ("v", "b", 2)]
    assert source.attributes == {"a": {"title": "Heat"}, "b": {"title": '10" Up'}}


def test_line_is_right_in_a_file_with_old_line_ends(tmp_path: Path) -> None:
    """CR ends a line, so that the line is the one an editor shows."""
    write_file(tmp_path / "interactions.csv", (HEADER + "u,a,1\nu,b,late\n").replace("\n", "\r"))
    write_file(tmp_path / "items.jsonl", ITEMS)

    with pytest.raises(DataError, match=r"interactions\.csv: line 3: timestamp must be .*, not 'late'$"):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "the text is in UTF-16; save it as UTF-8"),
        ("utf-16-be", "there are null bytes, as in UTF-16 or in a file that is no text; save it as UTF-8"),
    ],
)
@pytest.mark.parametrize("name", ["interactions.csv", "items.csv.gz", "interactions.jsonl.gz", "items.jsonl"])
def test_utf_16_is_named(tmp_path: Path, name: str, encoding: str, message: str) -> None:
    """Spreadsheets call it Unicode text."""
    other = "items.csv" if name.startswith("interactions") else "interactions.csv"
    write_file(tmp_path / other, "item_id,title\na,Heat\n" if other == "items.csv" else HEADER + "u,a,1\n")
    write_file(tmp_path / name, (HEADER + "u,a,1\n").encode(encoding))

    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)

    assert str(caught.value) == f"{tmp_path}/{name}: {message}"


@pytest.mark.parametrize(("separator", "name"), [(";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars")])
@pytest.mark.parametrize("file", ["interactions.csv", "items.csv"])
def test_another_separator_is_named(tmp_path: Path, file: str, separator: str, name: str) -> None:
    """Where a comma is the decimal point, spreadsheets separate columns by semicolons."""
    files = {"interactions.csv": HEADER + "u,a,1\n", "items.csv": 'item_id,title,"a, b"\na,Heat,"12,5"\n'}
    files[file] = files[file].replace(",", separator).replace(f"a{separator} b", "a, b")
    for each, text in files.items():
        write_file(tmp_path / each, text)

    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/{file}: the columns are separated by {name}; save the file with commas between them and points in "
        "decimals"
    )


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_times_may_be_dates(tmp_path: Path, suffix: str) -> None:
    """In text files as in Parquet, in seconds since 1970."""
    times = ["2023-11-14T22:13:20Z", "2023-11-14T23:13:21+01:00", "2023-11-14"]
    frame = pl.DataFrame({"user_id": "u", "item_id": "a", "timestamp": times})
    path = tmp_path / f"interactions{suffix}"
    frame.write_csv(path) if suffix == ".csv" else frame.write_ndjson(path)
    write_file(tmp_path / "items.jsonl", ITEMS)

    assert [time for _, _, time in read_folder(tmp_path).interactions] == [1700000000, 1700000001, 1699920000]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("no", "not JSON: Expecting value"),
        ("[1]", "must be a JSON object, not list"),
        (
            '{"user_id": "u", "item_id": "a"}',
            "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not None",
        ),
        (
            '{"user_id": "u", "item_id": "a", "timestamp": true}',
            "timestamp must be a finite number or a date such as 2023-11-14T22:13:20Z, not 'true'",
        ),
        ('{"user_id": "u", "item_id": "a", "timestamp": NaN}', "not JSON: NaN and Infinity are not JSON numbers"),
        ('{"user_id": "", "item_id": "a", "timestamp": 1}', "user_id is empty"),
        ('{"user_id": "u", "timestamp": 1}', "item_id is empty"),
        (b'{"user_id": "Am\xe9lie", "item_id": "a", "timestamp": 1}', "not JSON: 'utf-8' codec can't decode"),
    ],
)
def test_bad_json_interaction_is_named_by_its_line(tmp_path: Path, line: str | bytes, message: str) -> None:
    """Each fault says the line as an editor counts it, blank ones too."""
    good = b'{"user_id": "u", "item_id": "a", "timestamp": 1}\n\n'
    bad = line if isinstance(line, bytes) else line.encode()
    write_file(tmp_path / "interactions.jsonl", good + good + bad + b"\n" + good)
    write_file(tmp_path / "items.jsonl", ITEMS)

    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)

    assert str(caught.value).startswith(f"{tmp_path}/interactions.jsonl: line 5: {message}")


def test_items_may_be_csv(tmp_path: Path) -> None:
    """Cells are text; those of a list hold `|` between the values; an empty cell is a missing attribute."""
    write_file(tmp_path / "interactions.csv", HEADER + "u,a,1\nu,b,1\n")
    write_file(tmp_path / "items.csv", 'item_id,title,genres\na,"Heat,\nuncut",Action | Crime|\nb,Up,\n')
    source = read_folder(tmp_path, lists=["genres"])

    assert source.attributes == {"a": {"title": "Heat,\nuncut", "genres": ("Action", "Crime")}, "b": {"title": "Up"}}


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("num_inches", [1, 2, 3])
def test_quote_inside_a_value_is_a_character(tmp_path: Path, line_end: str, num_inches: int) -> None:
    """A quote opens a quoted value only at the beginning of a field; `10"` is ten inches, on any number of lines."""
    titles = {"a": 'Tablet 10" grey', "b": '10" x 8"', "c": '"Big" 10",\nnew'}
    for item in list(titles)[num_inches:]:
        titles[item] = "Plain"
    rows = ["item_id,title,brand", *(f"{item},{_cell(title)},Ono" for item, title in titles.items()), 'd,12",8"']
    write_file(tmp_path / "interactions.csv", HEADER + "".join(f"u,{item},1\n" for item in "abcd"))
    write_file(tmp_path / "items.csv", line_end.join(rows) + line_end)

    expected = {item: {"title": title, "brand": "Ono"} for item, title in titles.items()}
    assert read_folder(tmp_path).attributes == expected | {"d": {"title": '12"', "brand": '8"'}}


def _cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if text.startswith('"') else text


def test_backslash_does_not_escape_a_quote(tmp_path: Path) -> None:
    """A title is never read as another text: the line is named."""
    write_file(tmp_path / "interactions.csv", HEADER + "u,a,1\n")
    write_file(tmp_path / "items.csv", 'item_id,title,brand\na,Heat,Ono\nb,"Case \\"slim\\" 2",Ono\n')

    with pytest.raises(DataError) as caught:
        read_folder(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path}/items.csv: line 3: text follows the closing quote of a value; "
        'inside quotes, write a quote twice (""), not as \\" or alone'
    )


def test_bad_csv_item_is_named_by_its_line(tmp_path: Path) -> None:
    """An id that stands twice, behind a title of two lines."""
    write_file(tmp_path / "interactions.csv", HEADER + "u,a,1\n")
    write_file(tmp_path / "items.csv", 'item_id,title\na,"Heat\nuncut"\na,Up\n')

    with pytest.raises(DataError, match=r"items\.csv: line 4: item_id 'a' occurs earlier in the file"):
        read_folder(tmp_path)


def test_source_may_be_parquet(tmp_path: Path) -> None:
    """Ids of any type become text, dates seconds; lists stay lists, and a number that is none is missing."""
    pl.DataFrame(
        {"user_id": [7, 8], "item_id": [1, 2], "timestamp": [datetime(1970, 1, 1, 0, 1), datetime(1970, 1, 2)]}
    ).write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame(
        {"item_id": [1, 2], "title": ["Heat", "Up"], "year": [1995.0, float("nan")], "genres": [["Action"], None]}
    ).write_parquet(tmp_path / "items.parquet")
    source = read_folder(tmp_path)

    assert source.interactions == [("7", "1", 60.0), ("8", "2", 86400.0)]
    assert source.attributes == {"1": {"title": "Heat", "year": "1995", "genres": ("Action",)}, "2": {"title": "Up"}}


@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32, pl.Int16, pl.UInt64])
def test_numeric_ids_have_no_decimal_point(tmp_path: Path, dtype: type[pl.DataType]) -> None:
    """Ids are floats where a program once had a missing value; `7.0` is `7` in both files."""
    ids = pl.Series([7, 11], dtype=dtype)
    frame = pl.DataFrame({"user_id": ids * 100, "item_id": ids, "timestamp": [1, 2]})
    frame.write_parquet(tmp_path / "interactions.parquet")
    pl.DataFrame({"item_id": ids, "title": ["Heat", "Up"]}).write_parquet(tmp_path / "items.parquet")
    source = read_folder(tmp_path)

    assert source.interactions == [("700", "7", 1), ("1100", "11", 2)]
    assert source.attributes == {"7": {"title": "Heat"}, "11": {"title": "Up"}}


def test_ids_of_the_items_follow_those_of_the_interactions(tmp_path: Path) -> None:
    """An item `8.0` without interactions is `8` if that has some; other ids stay as they are written."""
    write_file(tmp_path / "interactions.csv", HEADER + "1.0,7.0,1\n2,8,2\n3,9,3\n")
    write_file(tmp_path / "items.csv", "item_id,title\n7,Heat\n8.0,Up\n009,Big\n")
    source = read_folder(tmp_path)

    assert source.interactions == [("1", "7", 1), ("2", "8", 2), ("3", "9", 3)]
    assert source.attributes == {"7": {"title": "Heat"}, "8": {"title": "Up"}}

    write_file(tmp_path / "items.csv", "item_id,title\n8.0,Heat\n8,Up\n")
    with pytest.raises(DataError, match=r"items\.csv: line 3: item_id '8' occurs earlier in the file"):
        read_folder(tmp_path)


HTML = {
    "Tea &amp; Co <b>t1</b>": "Tea & Co t1",
    "Caf&eacute;&nbsp;&#39;&#x4e2d;&#x6587;&#39;": "Café '中文'",
    "&lt;p class=&quot;a&quot;&gt;Mill<BR/>steel": "Mill steel",
    "&amp;lt; 5": "&lt; 5",
    "<br>": None,
    "Black&regular AT&T; R&D": "Black&regular AT&T; R&D",
    "List<String> <3 a<b>c": "List<String> <3 a c",
    "two\n spaces < 3 &": "two\n spaces < 3 &",
}


@pytest.mark.parametrize("form", ["items.csv", "items.jsonl", "items.parquet", "x.item"])
@pytest.mark.parametrize(("title", "read"), HTML.items())
def test_html_becomes_plain_text(tmp_path: Path, form: str, title: str, read: str | None) -> None:
    """Shops export what their pages hold; in a prompt `;` would end the value, and a tag says nothing."""
    if form == "x.item":
        write_file(tmp_path / "x.inter", HEADER.replace(",", "\t") + "u\ta\t1\n")
        title, read = title.replace("\n", ""), read and read.replace("\n", "")
        write_file(tmp_path / form, f"item_id:token\ttitle:token_seq\ttags:token_seq\na\t{title}\tR&amp;B\n")
    else:
        write_file(tmp_path / "interactions.csv", HEADER + "u,a,1\n")
        frame = pl.DataFrame({"item_id": "a", "title": title, "tags": "R&amp;B"})
        path = tmp_path / form
        {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[form[6:]](path)
    attributes = read_folder(tmp_path, lists=["tags"] if form != "items.jsonl" else []).attributes["a"]

    assert attributes == {
        **({"title": read} if read else {}),
        "tags": "R&B" if form == "items.jsonl" else ("R&B",),
    }


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_values_of_a_table_read_like_those_of_a_request(tmp_path: Path, suffix: str) -> None:
    """A whole number beside a missing value is a float in a table, and 1995 in a later request: one text."""
    write_file(tmp_path / "interactions.csv", HEADER + "u,a,1\nu,b,1\n")
    rows = [
        {"item_id": "a", "year": 1995.0, "price": 12.1, "rate": 4.0, "stock": True, "flags": [True, False]},
        {"item_id": "b", "year": None, "price": 0.5, "rate": -1e300, "stock": False, "flags": []},
    ]
    frame = pl.DataFrame(rows)
    if suffix == ".jsonl":
        frame.write_ndjson(tmp_path / "items.jsonl")
    else:
        kinds = {"price": pl.Float32, "rate": pl.Float64, "year": pl.Float64}
        frame.cast(kinds).with_columns(cost=pl.lit("12.50").cast(pl.Decimal(10, 2))).write_parquet(
            tmp_path / "items.parquet"
        )
    attributes = read_folder(tmp_path).attributes
    costs = {"cost": 12.5} if suffix == ".parquet" else {}

    assert attributes["a"] == parse_attributes(
        {"year": 1995, "price": 12.1, "rate": 4, "stock": "true", "flags": ["true", "false"]} | costs
    )
    assert attributes["b"] == parse_attributes({"price": 0.5, "rate": -1e300, "stock": "false"} | costs)


def test_bad_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    """Parquet has no lines."""
    items = pl.DataFrame({"item_id": ["a"], "title": ["Heat"]})
    items.write_parquet(tmp_path / "items.parquet")
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": ["a", None], "timestamp": [1, 2]})
    frame.write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(DataError, match=r"interactions\.parquet: row 2: item_id is empty"):
        read_folder(tmp_path)

    frame.with_columns(user_id=pl.Series([1.0, float("nan")]), item_id=pl.lit("a")).write_parquet(
        tmp_path / "interactions.parquet"
    )
    with pytest.raises(DataError, match=r"interactions\.parquet: row 2: user_id must be an id, not 'NaN'"):
        read_folder(tmp_path)

    frame.drop("timestamp").write_parquet(tmp_path / "interactions.parquet")
    with pytest.raises(DataError, match=r"no column 'timestamp'; .* columns in the file: user_id, item_id$"):
        read_folder(tmp_path)

    (tmp_path / "interactions.parquet").write_bytes(b"no Parquet")
    with pytest.raises(DataError, match=r"interactions\.parquet: "):
        read_folder(tmp_path)

    frame.drop_nulls().write_parquet(tmp_path / "interactions.parquet")
    pl.concat([items, items]).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(DataError, match=r"items\.parquet: row 2: item_id 'a' occurs earlier in the file"):
        read_folder(tmp_path)
