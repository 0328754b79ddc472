"""Check items as they are read; only items that may be kept are stored, as JSON."""

import html
import re
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError, InvalidItemError
from llmemb.item import attributes_to_json, parse_item_id, parse_perhaps_no_attributes
from llmemb_training.sources.source import ITEM, ItemRow

ATTRIBUTES = "attributes"
NUM_EXAMPLES = 3
_PART_ROWS = 1 << 14
# With its semicolon, and by name: `Salt&regular` has no entity, and `List<String>` no tag.
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_TAG = re.compile(
    r"</?(?:a|b|br|center|div|em|font|h[1-6]|hr|i|img|li|ol|p|s|small|span|strong|sub|sup|table|tbody|td|th|tr|u|ul)"
    r"(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
_WHOLE_NUMBER = re.compile(r"(?:0|-?[1-9][0-9]*)\.0")


@dataclass(frozen=True, slots=True)
class Items:
    """The items of a file.

    Args:
        attributes: columns `item_id` (code) and `attributes` (JSON) of the items that may be kept and have attributes.
        attribute_names: in the order of the prompt.
        found: names under which at least one item that has interactions has a value.
        listed: for each code, whether the item is in the file.
        with_text: for each code, whether the item has any attribute.
        without_interactions: the first `NUM_EXAMPLES` ids without interactions.
        counts: numbers of items read and dropped, by name.
    """

    attributes: pl.DataFrame
    attribute_names: tuple[str, ...]
    found: frozenset[str]
    listed: NDArray[np.bool_]
    with_text: NDArray[np.bool_]
    without_interactions: tuple[str, ...]
    counts: dict[str, int]


@dataclass(slots=True)
class _Tally:
    """Running state while items are read."""

    codes: Mapping[str, int]
    listed: NDArray[np.bool_]
    with_text: NDArray[np.bool_]
    names: dict[str, None]
    without_interactions: list[str] = field(default_factory=list)
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

    def pass_over(self, item_id: str) -> None:
        """Count an item without interactions."""
        self.counts["items_without_interactions"] += 1
        if len(self.without_interactions) < NUM_EXAMPLES:
            self.without_interactions.append(item_id)


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
    listed, with_text = np.zeros((2, len(keep)), dtype=np.bool_)
    tally = _Tally(codes, listed, with_text, dict.fromkeys(names))
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
    return Items(
        attributes=pl.concat(parts),
        attribute_names=tuple(tally.names),
        found=frozenset(tally.found),
        listed=listed,
        with_text=with_text,
        without_interactions=tuple(tally.without_interactions),
        counts=tally.counts,
    )


def to_plain_text(rows: Iterable[ItemRow]) -> Iterator[ItemRow]:
    """Return the rows with plain text in the attributes: without HTML, and `true` and `false` as texts."""
    for place, item_id, raw in rows:
        yield place, item_id, raw and {name: _plain(value) for name, value in raw.items()}


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(entry) for entry in value]
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str) or not ("&" in value or "<" in value):
        return value
    text = _TAG.sub(" ", _ENTITY.sub(lambda entity: html.unescape(entity[0]), value))
    return value if text == value else " ".join(text.split())


def _texts(path: Path, rows: Iterable[ItemRow], tally: _Tally, first_counts: bool) -> Iterator[tuple[int, str]]:
    """Return the code and the attributes of each item that has interactions and text."""
    codes = tally.codes
    for place, raw_id, raw in rows:
        tally.counts["items_read"] += 1
        if raw is None:
            tally.pass_over(str(raw_id))
            continue
        tally.names.update(dict.fromkeys(raw))
        try:
            item_id = _read_id(raw_id, codes)
            attributes = parse_perhaps_no_attributes(raw)
        except InvalidItemError as error:
            raise DataError(f"{path}: {place}: {error}") from error
        if item_id in tally.seen:
            if not first_counts:
                raise DataError(f"{path}: {place}: item_id {item_id!r} occurs earlier in the file")
            tally.counts["items_repeated"] += 1
            continue
        tally.seen.add(item_id)
        code = codes.get(item_id)
        if code is None:
            tally.pass_over(item_id)
            continue
        tally.listed[code] = True
        if not attributes:
            tally.counts["items_without_text"] += 1
        else:
            tally.found.update(attributes)
            yield code, attributes_to_json(attributes)


def _read_id(raw_id: object, codes: Container[str]) -> str:
    """Return an item's id; `7.0` is `7` if only that is among the items with interactions."""
    item_id = parse_item_id(raw_id)
    if item_id not in codes and _WHOLE_NUMBER.fullmatch(item_id):
        number = item_id.removesuffix(".0")
        return number if number in codes else item_id
    return item_id
