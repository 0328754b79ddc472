"""Items: each checked where it is read; only those that may be kept are held, as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError, InvalidItemError
from llmemb.item import attributes_to_json, parse_item_id, parse_perhaps_no_attributes
from training.sources.source import ITEM, ItemRow

ATTRIBUTES = "attributes"
_PART_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a file.

    Args:
        attributes: columns `item_id` (code) and `attributes` (JSON) of the items that may be kept and have any.
        attribute_names: in the order of the prompt.
        found: names under which at least one item that has interactions has a value.
        with_text: for each code, whether the item has any attribute.
        counts: what became of the file's items, by name.
    """

    attributes: pl.DataFrame
    attribute_names: tuple[str, ...]
    found: frozenset[str]
    with_text: NDArray[np.bool_]
    counts: dict[str, int]


@dataclass(slots=True)
class _Tally:
    """What is known after some items."""

    codes: Mapping[str, int]
    with_text: NDArray[np.bool_]
    names: dict[str, None]
    found: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(
        default_factory=lambda: {
            "items_read": 0,
            "items_repeated": 0,
            "items_without_interactions": 0,
            "items_without_text": 0,
        }
    )


def collect_items(
    path: Path,
    rows: Iterable[ItemRow],
    names: Iterable[str],
    codes: Mapping[str, int],
    keep: NDArray[np.bool_],
    first_counts: bool,
) -> Items:
    """Check items, and leave out those without text, which `prepare` reports and which are no fault of their line.

    Args:
        path: their file.
        rows: the place, the id and the raw attributes of each.
        names: of attributes that are known before.
        codes: item id -> code, of those that have interactions.
        keep: for each code, whether its attributes are held.
        first_counts: whether an item that stands there twice is no fault, and the first line is the one that counts.

    Raises:
        DataError: an id or an attribute cannot be used, or an id stands twice; names the file and the line.
    """
    tally = _Tally(codes, np.zeros(len(keep), dtype=np.bool_), dict.fromkeys(names))
    schema = {ITEM: pl.UInt32, ATTRIBUTES: pl.String}
    parts, part = [pl.DataFrame(schema=schema)], list[tuple[int, str]]()
    for code, text in _texts(path, rows, tally, first_counts):
        tally.with_text[code] = True
        if keep[code]:
            part.append((code, text))
        if len(part) == _PART_ROWS:
            parts.append(pl.DataFrame(part, schema, orient="row"))
            part = []
    parts.append(pl.DataFrame(part, schema, orient="row"))
    return Items(pl.concat(parts), tuple(tally.names), frozenset(tally.found), tally.with_text, tally.counts)


def _texts(path: Path, rows: Iterable[ItemRow], tally: _Tally, first_counts: bool) -> Iterator[tuple[int, str]]:
    """Return the code and the attributes of each item that has interactions and text."""
    for place, raw_id, raw in rows:
        tally.counts["items_read"] += 1
        if raw is None:
            tally.counts["items_without_interactions"] += 1
            continue
        tally.names.update(dict.fromkeys(raw))
        try:
            item_id = parse_item_id(raw_id)
            attributes = parse_perhaps_no_attributes(raw)
        except InvalidItemError as error:
            raise DataError(f"{path}: {place}: {error}") from error
        if item_id in tally.seen:
            if not first_counts:
                raise DataError(f"{path}: {place}: item_id {item_id!r} stands in an earlier line too")
            tally.counts["items_repeated"] += 1
            continue
        tally.seen.add(item_id)
        if item_id not in tally.codes:
            tally.counts["items_without_interactions"] += 1
        elif not attributes:
            tally.counts["items_without_text"] += 1
        else:
            tally.found.update(attributes)
            yield tally.codes[item_id], attributes_to_json(attributes)
