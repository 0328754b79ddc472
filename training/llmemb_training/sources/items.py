"""Check items as they are read; only items that may be kept are stored, as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError, InvalidItemError
from llmemb.item import attributes_to_json, parse_item_id, parse_perhaps_no_attributes
from llmemb_training.sources.source import ITEM, ItemRow

ATTRIBUTES = "attributes"
_PART_ROWS = 1 << 14


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a file.

    Args:
        attributes: columns `item_id` (code) and `attributes` (JSON) of the items that may be kept and have attributes.
        attribute_names: in the order of the prompt.
        found: names under which at least one item that has interactions has a value.
        with_text: for each code, whether the item has any attribute.
        counts: numbers of items read and dropped, by name.
    """

    attributes: pl.DataFrame
    attribute_names: tuple[str, ...]
    found: frozenset[str]
    with_text: NDArray[np.bool_]
    counts: dict[str, int]


@dataclass(slots=True)
class _Tally:
    """Running state while items are read."""

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
    """Check items, and drop those without text, which `prepare` counts and which are not an error.

    Args:
        path: the file.
        rows: place, id and raw attributes of each item.
        names: attribute names that are already known.
        codes: item id -> code, for items with interactions.
        keep: for each code, whether its attributes are stored.
        first_counts: whether repeated items are allowed; the first one is then used.

    Raises:
        DataError: an id or an attribute is invalid, or an id is repeated; names the file and the line.
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
                raise DataError(f"{path}: {place}: item_id {item_id!r} occurs earlier in the file")
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
