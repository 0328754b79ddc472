"""The generic form: `interactions.csv[.gz]` (user_id, item_id, timestamp) and `items.jsonl[.gz]` (item_id, ...)."""

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmemb.errors import DataError, InvalidItemError
from llmemb.item import AttributeValue, parse_attributes, parse_item_id
from training.sources.source import ITEM, Source
from training.sources.table import check_interactions, read_table


def read_generic(interactions: Path, items: Path, columns: Mapping[str, str]) -> Source:
    """Read both files.

    Args:
        interactions: the CSV file.
        items: the JSON lines file.
        columns: attribute name -> key of the JSON objects; empty: every key but `item_id`.

    Raises:
        DataError: a line cannot be used; names the file and the line.
    """
    attributes: dict[str, dict[str, AttributeValue]] = {}
    names: dict[str, None] = dict.fromkeys(columns)
    for line, row in _json_lines(items):
        try:
            item_id = parse_item_id(row.get(ITEM))
            raw = (
                {name: row.get(key) for name, key in columns.items()}
                if columns
                else {key: value for key, value in row.items() if key != ITEM}
            )
            if item_id in attributes:
                raise DataError(f"{items}: line {line}: item_id {item_id!r} stands in an earlier line too")
            names |= dict.fromkeys(raw)
            # An item without any text is a fact of the data, reported by `prepare`, and no fault of its line.
            if any(value not in (None, "", []) for value in raw.values()):
                attributes[item_id] = parse_attributes(raw)
        except InvalidItemError as error:
            raise DataError(f"{items}: line {line}: {error}") from error
    return Source(check_interactions(read_table(interactions, ","), interactions), attributes, tuple(names))


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise DataError(f"{path}: line {line}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}: line {line}: must be a JSON object, not {type(row).__name__}")
            yield line, row
