"""Guess what the columns of a generic or RecBole source hold, from the first rows of its two files."""

import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import polars as pl

from llmemb.errors import DataError
from llmemb_training.sources import SourceFiles
from llmemb_training.sources.json_lines import read_json_objects
from llmemb_training.sources.source import ITEM
from llmemb_training.sources.table import LINE, read_table

SAMPLE_ROWS = 20_000
NEARLY_EMPTY = 0.02
"""A column with values in a smaller share of the rows is left out."""
LONG_TEXT = 100
"""Characters; attributes whose values are longer on average come last in the prompt."""
_MOST = 0.9
_LISTED = 0.1
_LIST_WORDS = 4.0

_USER_WORDS = (
    *("user", "userid", "uid", "customer", "customerid", "buyer", "shopper", "member", "client", "account"),
    *("reviewer", "reader", "viewer", "listener", "visitor", "person", "profile", "household", "session", "sessionid"),
)
_ITEM_WORDS = (
    *("item", "itemid", "product", "productid", "sku", "asin", "article", "isbn", "movie", "book", "song", "track"),
    *("business", "listing", "offer", "video", "id"),
)
_TIME_WORDS = ("timestamp", "time", "datetime", "ts", "date", "when", "at", "day")
_RATING_WORDS = ("rating", "stars", "score", "overall", "grade")
_ID_WORDS = frozenset({"id", "ids", "uuid", "guid", "sku", "ean", "gtin", "upc", "barcode", "asin", "isbn", "hash"})
_TITLE_WORDS = ("title", "name", "headline", "label")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_]+")
_URL = re.compile(
    r"(?:https?:|ftp:|data:)?//\S+|www\.\S+|data:\S+|\S+\.(?:jpe?g|png|gif|webp|svg|avif|bmp)", re.IGNORECASE
)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}.*)?")
_UNIX_SECONDS, _UNIX_NANOSECONDS = 1e8, 1e19

Kind = Literal["text", "number", "list"]
Sample = Mapping[str, Sequence[object]]
"""Column name -> its values in the first rows, None where a value is missing."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A column, or a key, of the items.

    Args:
        column: its name in the source.
        kind: what its values are; a `list` has several per item.
        split: whether the values of a list share a text cell, so that it must be one of `list_attributes`.
        why_not: why it should be left out; empty if it describes items.
        doubt: what is uncertain about the guess, or empty.
        examples: up to three different values.
        long: whether the values are long texts.
    """

    column: str
    kind: Kind
    split: bool
    why_not: str
    doubt: str
    examples: tuple[str, ...]
    long: bool = False


@dataclass(frozen=True, slots=True)
class Role:
    """The column of the interactions that holds users, items, times or ratings; `doubt` says what is uncertain."""

    column: str
    examples: tuple[str, ...]
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class Roles:
    """The columns of a generic source with ids, times and ratings; `rating` is None if there is none."""

    user: Role
    item: Role
    time: Role
    rating: Role | None


def guess_roles(files: SourceFiles) -> Roles:
    """Guess the columns of a generic source.

    Raises:
        DataError: a file cannot be read, or no column holds the users, items or times; names the columns.
    """
    interactions, items = read_sample(files.interactions[0]), read_sample(files.items)
    item = _guess_item(files, interactions, items)
    free = [name for name in interactions if name != item.column]
    time = _guess_time(files.interactions[0], interactions, free)
    free = [name for name in free if name != time.column]
    rated = [name for name in free if _are(_is_number, _values(interactions[name]))]
    rating_name = _named(rated, _RATING_WORDS)
    rating = None if rating_name is None else Role(rating_name, examples_of(interactions[rating_name]))
    free = [name for name in free if name != rating_name]
    return Roles(_guess_user(files.interactions[0], interactions, free), item, time, rating)


def guess_attributes(files: SourceFiles, item_column: str) -> list[Attribute]:
    """Guess what each column of the items holds, except the id, in the order of the prompt.

    Titles come first and long texts last; otherwise the order is that of the file.

    Raises:
        DataError: the file cannot be read, or no column describes an item; names the columns.
    """
    if files.format == "recbole":
        typed = read_sample(files.items, separator="\t")
        sample = {name.split(":")[0]: values for name, values in typed.items()}
        # RecBole writes titles as sequences of words too.
        lists = {name.split(":")[0] for name in typed if name.endswith("_seq") and not _has_word(name, _TITLE_WORDS)}
        guessed = [_guess_attribute(name, sample[name], name in lists, "") for name in sample if name != ITEM]
    else:
        between = "" if ".jsonl" in files.items.suffixes else "|"
        sample = read_sample(files.items)
        guessed = [_guess_attribute(name, sample[name], False, between) for name in sample if name != item_column]
    if all(attribute.why_not for attribute in guessed):
        seen = "; ".join(f"{attribute.column!r}: {attribute.why_not}" for attribute in guessed)
        raise DataError(f"{files.items}: no column describes the items, beside their ids; {seen or 'it has no other'}")
    return sorted(guessed, key=lambda attribute: (attribute.long, _rank(attribute.column, _TITLE_WORDS)))


def profile_attributes(rows: Iterable[Mapping[str, object]], names: Sequence[str]) -> list[Attribute]:
    """Describe the attributes of items that were read already, in the order of `names`.

    Args:
        rows: attributes of each item.
        names: names of the attributes.
    """
    kept = list(itertools.islice(rows, SAMPLE_ROWS))
    return [_guess_attribute(name, [row.get(name) for row in kept], False, "") for name in names]


def read_sample(path: Path, separator: str = ",") -> dict[str, list[object]]:
    """Read the first `SAMPLE_ROWS` rows of a file of CSV, JSON lines or Parquet.

    Raises:
        DataError: the file cannot be read, or it has no rows.
    """
    if path.suffix == ".parquet":
        try:
            frame = pl.scan_parquet(path).head(SAMPLE_ROWS).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DataError(f"{path}: {error}") from error
        sample: dict[str, list[object]] = frame.to_dict(as_series=False)
    elif ".jsonl" in path.suffixes:
        rows = [row for _, row in itertools.islice(read_json_objects(path), SAMPLE_ROWS)]
        names = dict.fromkeys(name for row in rows for name in row)
        sample = {name: [row.get(name) for row in rows] for name in names}
    else:
        first = next(frame for frame in read_table(path, separator))
        sample = first.drop(LINE).head(SAMPLE_ROWS).to_dict(as_series=False)
    if not any(len(values) for values in sample.values()):
        raise DataError(f"{path}: the file has no rows")
    return sample


def examples_of(values: Iterable[object]) -> tuple[str, ...]:
    """Return up to three different values as text."""
    texts = dict.fromkeys(
        ", ".join(map(str, value)) if isinstance(value, list | tuple) else _as_text(value)
        for value in values
        if not _is_missing(value)
    )
    return tuple(itertools.islice(texts, 3))


def _guess_item(files: SourceFiles, interactions: Sample, items: Sample) -> Role:
    ids = {name: {_as_text(value) for value in _values(values)} for name, values in items.items()}
    # The id of an item occurs once in the items.
    unique = [name for name in items if len(ids[name]) == len(items[name])]
    shared = {name: _meeting(interactions[name], ids[name]) for name in unique if name in interactions}
    if not shared:
        seen = f"the interactions have {_listed(interactions)}, the items {_listed(items)}"
        meeting = {(one, other): _meeting(interactions[one], ids[other]) for one in interactions for other in unique}
        one, other = max(meeting, key=lambda pair: meeting[pair], default=("", ""))
        if meeting and meeting[one, other] > 0.5:
            raise DataError(
                f"{files.items.parent}: the ids of {other!r} in {files.items.name} are those of {one!r} in "
                f"{files.interactions_names}: give the column one name in both files; {seen}"
            )
        raise DataError(
            f"{files.items.parent}: no column is in both files and has another value in each row of "
            f"{files.items.name}, as the item's id must; {seen}"
        )
    name = max(shared, key=lambda name: (shared[name], -_rank(name, _ITEM_WORDS)))
    doubt = ""
    if shared[name] < 0.5:
        distinct = len({_as_text(value) for value in _values(interactions[name])})
        doubt = f"only {shared[name]:.0%} of {distinct:,} sampled ids of the interactions are in the sampled items"
    return Role(name, examples_of(interactions[name]), doubt)


def _guess_time(path: Path, interactions: Sample, free: Sequence[str]) -> Role:
    timely = [name for name in free if _are(_is_time, _values(interactions[name]))]
    if (named := _named(timely, _TIME_WORDS)) is not None:
        return Role(named, examples_of(interactions[named]))
    dated = [name for name in timely if _are(_is_dated, _values(interactions[name]))]
    if not dated:
        raise DataError(
            f"{path}: no column looks like the time of an interaction, a number that grows with time or a date; "
            f"it has {_listed(interactions)}"
        )
    name = max(dated, key=lambda name: len(set(map(_as_text, interactions[name]))))
    return Role(name, examples_of(interactions[name]), "chosen by its values, which could be dates")


def _guess_user(path: Path, interactions: Sample, free: Sequence[str]) -> Role:
    named = _named(free, _USER_WORDS)
    if named is not None:
        return Role(named, examples_of(interactions[named]))
    repeated = {}
    for name in free:
        values = [_as_text(value) for value in _values(interactions[name])]
        distinct = len(set(values))
        if 1 < distinct < _MOST * len(values) and not any("." in text and _is_number(text) for text in values):
            repeated[name] = distinct
    if not repeated:
        raise DataError(
            f"{path}: no column looks like a user's id, which repeats in the user's interactions; "
            f"it has {_listed(interactions)}"
        )
    name = max(repeated, key=lambda name: repeated[name])
    return Role(name, examples_of(interactions[name]), "chosen by its values, which repeat; no name says so")


def _guess_attribute(name: str, column: Sequence[object], is_list: bool, between: str) -> Attribute:
    values = _values(column)
    flat = [part for value in values for part in (value if isinstance(value, list | tuple) else [value])]
    flat = [part for part in flat if not _is_missing(part)]
    in_lists = any(isinstance(value, list | tuple) for value in values)
    split, doubt = is_list, ""
    if between and not in_lists:
        split, doubt = _is_split(values, between)
    kind: Kind = "list" if split or in_lists else "number" if _are(_is_number, flat) else "text"
    characters = sum(len(_as_text(value)) for value in values) / max(len(values), 1)
    return Attribute(
        column=name,
        kind=kind,
        split=split,
        why_not=_why_not(name, column, values, flat, kind),
        doubt=doubt,
        examples=examples_of(values),
        long=characters > LONG_TEXT,
    )


def _why_not(name: str, column: Sequence[object], values: list[object], flat: list[object], kind: Kind) -> str:
    """Say why a column does not describe items; empty if it does."""
    if not name.strip() or not is_unicode(name):
        return "its name is empty or no valid text"
    if len(values) < max(1, NEARLY_EMPTY * len(column)):
        return f"nearly empty: a value in {len(values):,} of {len(column):,} rows"
    if any(isinstance(value, bool) for value in flat):
        return "true or false"
    if any(not isinstance(value, str | int | float) for value in flat):
        kinds = Counter(type(value).__name__ for value in flat if not isinstance(value, str | int | float))
        return f"values of type {kinds.most_common(1)[0][0]}, neither texts nor numbers nor lists of these"
    texts = [_as_text(value) for value in values]
    if len(set(texts)) == 1 and len(column) > 1:
        return "the same value in every row" if len(texts) == len(column) else "one value only"
    if _are(lambda value: bool(_URL.fullmatch(_as_text(value).strip())), flat, _MOST):
        return "URLs or names of image files"
    if kind == "list":
        return ""
    return _why_id(name, values, texts)


def _why_id(name: str, values: list[object], texts: list[str]) -> str:
    words, distinct = set(_words(name)), len(set(texts))
    one_word = _are(lambda value: len(_as_text(value).split()) == 1, values, _MOST)
    if words & _ID_WORDS and one_word:
        return "ids or codes, by its name"
    if words & set(_TIME_WORDS) and _are(_is_number, values) and _are(_is_dated, values):
        return "times, by its name and values"
    coded = _are(lambda value: bool(re.search(r"\d", _as_text(value))), values, _MOST)
    whole = not any("." in text for text in texts)
    if len(texts) >= 20 and one_word and coded and whole and distinct >= 0.98 * len(texts):
        return "ids or codes: another one in nearly every row"
    return ""


def _is_split(values: Sequence[object], between: str) -> tuple[bool, str]:
    """Return whether text cells hold lists, and a doubt about it."""
    cells = [value for value in values if isinstance(value, str) and between in value]
    if len(cells) < max(1, _LISTED * len(values)):
        return False, f"{len(cells):,} cells have {between!r}, too few for a list" if cells else ""
    parts = [part.strip() for value in values if isinstance(value, str) for part in value.split(between)]
    if sum(len(part.split()) for part in parts) > _LIST_WORDS * len(parts):
        return False, f"cells have {between!r}, but long texts around it: list_attributes would split them"
    repeated = len(set(parts)) < _MOST * len(parts)
    return True, "" if repeated else f"split at {between!r}, although the parts hardly repeat"


def _meeting(values: Sequence[object], ids: Collection[str]) -> float:
    """Return the share of the distinct values that are ids."""
    distinct = {_as_text(value) for value in _values(values)}
    return len(distinct & set(ids)) / max(len(distinct), 1)


def _named(names: Iterable[str], words: Sequence[str]) -> str | None:
    """Return the name with the first of the words, or None."""
    fitting = [name for name in names if _has_word(name, words)]
    return min(fitting, key=lambda name: _rank(name, words), default=None)


def _has_word(name: str, words: Sequence[str]) -> bool:
    return _rank(name, words) < len(words)


def _rank(name: str, words: Sequence[str]) -> int:
    found = [words.index(word) for word in _words(name) if word in words]
    return min(found, default=len(words))


def _words(name: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(name)]


def _values(column: Iterable[object]) -> list[object]:
    return [value for value in column if not _is_missing(value)]


def _is_missing(value: object) -> bool:
    if isinstance(value, str):
        return not value.strip()
    return value is None or value in ([], (), {}) or (isinstance(value, float) and math.isnan(value))


def _are(test: Callable[[object], bool], values: Sequence[object], share: float = 0.99) -> bool:
    """Whether a test holds for nearly all values, and there are any."""
    return bool(values) and sum(map(test, values)) >= share * len(values)


def _is_number(value: object) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or (isinstance(value, str) and bool(_NUMBER.fullmatch(value.strip())))


def _is_time(value: object) -> bool:
    return _is_number(value) or _is_date(value)


def _is_dated(value: object) -> bool:
    """Whether a value is a date, or a number that would be one as Unix time."""
    return _is_date(value) or (_is_number(value) and _UNIX_SECONDS <= float(str(value)) < _UNIX_NANOSECONDS)


def _is_date(value: object) -> bool:
    return isinstance(value, date | datetime) or (isinstance(value, str) and bool(_DATE.fullmatch(value.strip())))


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _as_text(value: object) -> str:
    if isinstance(value, list | tuple | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
