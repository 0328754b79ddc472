"""`lasting_memory`: collections skip frozen objects, and the next call frees those that are garbage by then."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from llmemb_service.lasting_memory import freeze


class Knot:
    """Refers to itself, so that only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_collections_skip_frozen_objects() -> None:
    """A frozen object is no longer among the objects that a collection scans."""
    stays = Knot()
    freeze()

    assert gc.get_freeze_count() > 0
    assert all(each is not stays for each in gc.get_objects())


def test_garbage_from_before_and_after_is_freed() -> None:
    """A second freeze frees frozen objects that have become garbage."""
    early = Knot()
    freed = weakref.ref(early)
    freeze()
    del early
    gc.collect()
    assert freed() is not None

    freeze()
    assert freed() is None
