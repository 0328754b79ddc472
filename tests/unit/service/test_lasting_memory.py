"""`service.lasting_memory`: what stays is left out of collections, and garbage is freed by the next call."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from service.lasting_memory import settle


class Knot:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_stays_is_left_out_of_collections() -> None:
    """It is no longer among the objects that a collection looks through."""
    stays = Knot()
    settle()

    assert gc.get_freeze_count() > 0
    assert all(each is not stays for each in gc.get_objects())


def test_garbage_from_before_and_after_is_freed() -> None:
    """Settling again frees what was kept before and has become garbage."""
    early = Knot()
    freed = weakref.ref(early)
    settle()
    del early
    gc.collect()
    assert freed() is not None

    settle()
    assert freed() is None
