"""The Yelp open dataset: `yelp_academic_dataset_review.json` and `yelp_academic_dataset_business.json`."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmemb_training.sources.interactions import check_interactions
from llmemb_training.sources.json_lines import read_json_columns, read_json_objects
from llmemb_training.sources.source import InteractionColumns, ItemColumns, ItemRow

DEFAULT_ATTRIBUTES = {"name": "name", "categories": "categories", "city": "city", "state": "state"}
_COLUMNS = InteractionColumns("user_id", "business_id", "date", "stars")


def read_yelp_interactions(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read checked interactions; dates are converted to Unix seconds as UTC.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    chosen = _COLUMNS if columns.rating else replace(_COLUMNS, rating=None)
    return check_interactions(read_json_columns(path, chosen.names), path, chosen)


def read_yelp_items(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read the businesses; the comma-separated `categories` become a list.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    for line, row in read_json_objects(path):
        item_id, categories = row.get("business_id"), row.get("categories")
        if isinstance(item_id, str) and item_id and item_id not in columns.wanted:
            yield f"line {line}", item_id, None
            continue
        if isinstance(categories, str):
            row["categories"] = [category.strip() for category in categories.split(",")]
        yield f"line {line}", item_id, {name: row.get(column) for name, column in columns.attributes.items()}
