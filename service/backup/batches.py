"""A stream taken some at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(stream: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size`, the last one perhaps shorter; none is empty."""
    iterator = iter(stream)
    while some := list(islice(iterator, size)):
        yield some
