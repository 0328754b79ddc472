"""Filter expressions of Milvus: what they say is true of every row that passes, and of few others.

A collection's categories are those that its items had when it was filled. An expression is therefore never the last
word: it must not lose a row that passes now, and what it lets through besides is sifted out in this process.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.index import NO_ROWS, Rows
from service.catalogue.snapshot.base import categories_of
from service.catalogue.snapshot.rows import Passing

MOST_CATEGORIES = 4096
"""Categories that Milvus takes for one item; more are not stored."""
MOST_LISTED = 1000
"""Rows that an expression lists, at most. A thousand cost Milvus Lite as much again as the search."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter of Milvus, and about how many rows it lets through; the text is empty where it lets all through."""

    text: str
    rows: int


@dataclass(frozen=True, slots=True)
class StoredCategories:
    """The categories that a collection has, as numbers: names need no quoting, and may be of any length."""

    numbers: dict[str, int]
    """Category -> its number."""
    rows: list[NDArray[np.int32]]
    """Rows of each number, ascending."""
    num_rows: int

    @classmethod
    def of(cls, attributes_json: Sequence[str], attribute: str | None) -> "StoredCategories":
        """Read them from the attributes of all rows.

        Args:
            attributes_json: of the rows, in order.
            attribute: the bundle's `categories_attribute`.
        """
        numbers: dict[str, int] = {}
        rows: list[list[int]] = []
        for row, text in enumerate(attributes_json):
            for name in categories_of(text, attribute)[:MOST_CATEGORIES]:
                number = numbers.setdefault(name, len(numbers))
                if number == len(rows):
                    rows.append([])
                rows[number].append(row)
        return cls(numbers, [np.array(each, dtype=np.int32) for each in rows], len(attributes_json))

    def by_row(self) -> list[list[int]]:
        """Return the numbers of each row."""
        numbers: list[list[int]] = [[] for _ in range(self.num_rows)]
        for number, rows in enumerate(self.rows):
            for row in rows.tolist():
                numbers[row].append(number)
        return numbers

    def expression(self, passing: Passing) -> Expression:
        """Return an expression that lets every row through that passes."""
        clauses = [self._all_of(passing), self._any_of(passing)]
        known = [clause for clause in clauses if clause is not None]
        if not known:
            return Expression("", self.num_rows)
        return Expression(" and ".join(clause.text for clause in known), min(clause.rows for clause in known))

    def _any_of(self, passing: Passing) -> Expression | None:
        if not passing.filters.categories_any:
            return None
        return self._clause(passing.filters.categories_any, passing.any_of)

    def _all_of(self, passing: Passing) -> Expression | None:
        """Only the rarest category is asked for: the others would narrow what is fetched by less than they cost."""
        pairs = zip(passing.filters.categories_all, passing.all_of, strict=True)
        name, rows = min(pairs, key=lambda pair: len(pair[1]), default=("", None))
        return None if rows is None else self._clause([name], [rows])

    def _clause(self, names: Iterable[str], now: Sequence[Rows]) -> Expression | None:
        """Say that a row has one of the categories, whose rows are `now`; None where too many were not stored so."""
        numbers = sorted({self.numbers[name] for name in names if name in self.numbers})
        stored = np.zeros(self.num_rows, dtype=np.bool_)
        for number in numbers:
            stored[self.rows[number]] = True
        missing = np.unique(np.concatenate([NO_ROWS, *_outside(now, stored)]))
        if len(missing) > MOST_LISTED:
            return None
        parts = []
        if numbers:
            parts.append(f"array_contains_any(categories, {numbers})")
        if len(missing) or not numbers:
            parts.append(f"row in {missing.tolist()}" if len(missing) else "row < 0")
        return Expression(f"({' or '.join(parts)})", int(np.count_nonzero(stored)) + len(missing))


def _outside(now: Sequence[Rows], stored: NDArray[np.bool_]) -> Iterator[Rows]:
    for rows in now:
        within = rows[: np.searchsorted(rows, len(stored))]
        yield within[~stored[within]]
