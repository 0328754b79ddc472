"""The generic form: `interactions.csv[.gz]` (user_id, item_id, timestamp) and `items.jsonl[.gz]` (item_id, ...)."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from llmemb.errors import DataError
from training.sources.source import ITEM, Source, collect_items
from training.sources.table import check_interactions, open_source, read_table


def read_generic(interactions: Path, items: Path, columns: Mapping[str, str]) -> Source:
    """Read both files.

    Args:
        interactions: the CSV file.
        items: the JSON lines file.
        columns: attribute name -> key of the JSON objects; empty: every key but `item_id`.

    Raises:
        DataError: a line cannot be used; names the file and the line.
    """
    names: dict[str, None] = dict.fromkeys(columns)

    def rows() -> Iterator[tuple[int, object, dict[str, object]]]:
        for line, row in _json_lines(items):
            item_id = row.pop(ITEM, None)
            raw = {name: row.get(key) for name, key in columns.items()} if columns else row
            names.update(dict.fromkeys(raw))
            yield line, item_id, raw

    attributes = collect_items(items, rows())
    return Source(check_interactions(read_table(interactions, ","), interactions), attributes, tuple(names))


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    with open_source(path) as file:
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
