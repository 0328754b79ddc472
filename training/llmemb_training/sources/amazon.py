"""Amazon reviews of 2014, 2018 and 2023: reviews as JSON lines, metadata as JSON lines or Python literals."""

import ast
import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from llmemb_training.sources.chunks import open_source
from llmemb_training.sources.interactions import check_interactions
from llmemb_training.sources.json_lines import read_json_columns, read_json_objects
from llmemb_training.sources.source import InteractionColumns, ItemColumns, ItemRow

ATTRIBUTES_2014 = {"title": "title", "brand": "brand", "categories": "categories", "description": "description"}
ATTRIBUTES_2018 = ATTRIBUTES_2014 | {"categories": "category"}
ATTRIBUTES_2023 = {
    "title": "title",
    "brand": "store",
    "categories": "categories",
    "features": "features",
    "description": "description",
}
_REVIEWS = InteractionColumns("reviewerID", "asin", "unixReviewTime", "overall")
_REVIEWS_2023 = InteractionColumns("user_id", "parent_asin", "timestamp", "rating")
_ASIN_FIRST = re.compile(rb"\{'asin': '([^'\\]*)'")
_TAG = re.compile(r"</?[A-Za-z][^<>]*>")


def read_reviews(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read checked interactions of 2014 or 2018; times are in seconds.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    return _reviews(path, _REVIEWS if columns.rating else replace(_REVIEWS, rating=None))


def read_reviews_2023(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read checked interactions of 2023; times are in milliseconds.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    return _reviews(path, _REVIEWS_2023 if columns.rating else replace(_REVIEWS_2023, rating=None))


def read_metadata_2014(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read metadata of 2014: one Python literal per line, parsed without evaluation.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    return _items(_literals(path, columns), "asin", columns)


def read_metadata_2018(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read metadata of 2018.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    return _items(read_json_objects(path), "asin", columns)


def read_metadata_2023(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read metadata of 2023; an item is a `parent_asin`.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    return _items(read_json_objects(path), "parent_asin", columns)


def clean(column: str, value: object) -> object:
    """Convert a raw value to plain text: without HTML entities, tags and repeated spaces.

    A list of lists is flattened to a list of unique values; the paragraphs of a description are joined.
    """
    if isinstance(value, str):
        # Some titles of 2018 contain a script of the page because of a scraping error.
        return "" if "getTime" in value else " ".join(_TAG.sub(" ", html.unescape(value)).split())
    if not isinstance(value, list):
        return value
    cleaned = [clean(column, entry) for entry in _flat(value)]
    if not all(isinstance(entry, str) for entry in cleaned):
        return cleaned
    texts = list(dict.fromkeys(str(entry) for entry in cleaned))
    return " ".join(texts).strip() if column == "description" else texts


def _reviews(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    return check_interactions(read_json_columns(path, columns.names), path, columns)


def _items(rows: Iterator[tuple[int, Mapping[str, object]]], key: str, columns: ItemColumns) -> Iterator[ItemRow]:
    for line, row in rows:
        item_id = row.get(key)
        if isinstance(item_id, str) and item_id and item_id not in columns.wanted:
            yield f"line {line}", item_id, None
        else:
            raw = {name: clean(column, row.get(column)) for name, column in columns.attributes.items()}
            yield f"line {line}", item_id, raw


def _literals(path: Path, columns: ItemColumns) -> Iterator[tuple[int, Mapping[str, object]]]:
    with open_source(path) as file:
        for line, text in enumerate(file, start=1):
            # Parsing a literal is slow, and most metadata lines are of items without interactions in this source.
            if (first := _ASIN_FIRST.match(text)) and (asin := first[1].decode("latin-1")) not in columns.wanted:
                yield line, {"asin": asin}
            elif text.strip():
                yield line, _literal(path, line, text)


def _literal(path: Path, line: int, text: bytes) -> dict[str, object]:
    try:
        row = ast.literal_eval(text.decode().strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise DataError(f"{path}: line {line}: not a Python literal: {error}") from error
    if not isinstance(row, dict):
        raise DataError(f"{path}: line {line}: must be a Python dict, not {type(row).__name__}")
    return row


def _flat(values: list[object]) -> Iterator[object]:
    for value in values:
        if isinstance(value, list):
            yield from _flat(value)
        else:
            yield value
