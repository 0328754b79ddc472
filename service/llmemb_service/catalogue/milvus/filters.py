"""Filter expressions of Milvus. An expression matches every row that passes the filter, and few others.

A collection has the categories that its items had when it was filled, and they may have changed since. So an expression
may match too many rows, which this process filters out, but it must not miss a row that passes now.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.index import NO_ROWS, Rows
from llmemb_service.catalogue.snapshot.base import categories_of
from llmemb_service.catalogue.snapshot.rows import Passing

MAX_CATEGORIES = 4096
"""Maximum length of an array field in Milvus; further categories of an item are not stored."""
MAX_LISTED_ROWS = 1000
"""Maximum number of rows that an expression lists. A thousand double the time of a search in Milvus Lite."""


@dataclass(frozen=True, slots=True)
class Expression:
    """A filter expression and the approximate number of rows that match it; an empty text matches all rows."""

    text: str
    rows: int


@dataclass(frozen=True, slots=True)
class StoredCategories:
    """The categories of a collection, as numbers, because names would need quoting and can have any length."""

    numbers: dict[str, int]
    """Category -> its number."""
    rows: list[NDArray[np.int32]]
    """Ascending rows of each number."""
    num_rows: int

    @classmethod
    def of(cls, attributes_json: Sequence[str], attribute: str | None) -> "StoredCategories":
        """Collect the categories from the attributes of all rows.

        Args:
            attributes_json: of the rows, in order.
            attribute: the bundle's `categories_attribute`.
        """
        numbers: dict[str, int] = {}
        rows: list[list[int]] = []
        for row, text in enumerate(attributes_json):
            for name in categories_of(text, attribute)[:MAX_CATEGORIES]:
                number = numbers.setdefault(name, len(numbers))
                if number == len(rows):
                    rows.append([])
                rows[number].append(row)
        return cls(numbers, [np.array(each, dtype=np.int32) for each in rows], len(attributes_json))

    def by_row(self) -> list[list[int]]:
        """Return the category numbers of each row."""
        numbers: list[list[int]] = [[] for _ in range(self.num_rows)]
        for number, rows in enumerate(self.rows):
            for row in rows.tolist():
                numbers[row].append(number)
        return numbers

    def expression(self, passing: Passing) -> Expression:
        """Return an expression that matches at least every row that passes."""
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
        """Match only the rarest category: matching the others too would cost more than it saves."""
        pairs = zip(passing.filters.categories_all, passing.all_of, strict=True)
        name, rows = min(pairs, key=lambda pair: len(pair[1]), default=("", None))
        return None if rows is None else self._clause([name], [rows])

    def _clause(self, names: Iterable[str], now: Sequence[Rows]) -> Expression | None:
        """Return an expression for rows with one of the categories, or None if too many rows have changed.

        Args:
            names: of the categories.
            now: the current rows of the categories.
        """
        numbers = sorted({self.numbers[name] for name in names if name in self.numbers})
        stored = np.zeros(self.num_rows, dtype=np.bool_)
        for number in numbers:
            stored[self.rows[number]] = True
        missing = np.unique(np.concatenate([NO_ROWS, *_outside(now, stored)]))
        if len(missing) > MAX_LISTED_ROWS:
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
