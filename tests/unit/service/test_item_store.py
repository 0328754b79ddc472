import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from llmemb.errors import ConfigError
from service.errors import StorageError
from service.item_store import FORMAT, ItemStore, StoredItem


def item(item_id: str, *vector: float) -> StoredItem:
    return StoredItem(item_id, '{"title":"x"}', np.array(vector, dtype=np.float32), "bundle")


def contents(store: ItemStore) -> list[tuple[str, list[float]]]:
    return [(each.id, each.semantic.tolist()) for each in store.read_all()]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ItemStore]:
    store = ItemStore(tmp_path / "items.sqlite3")
    yield store
    store.close()


def test_store_gives_back_what_was_put(tmp_path: Path) -> None:
    """All fields, after the file was closed and opened."""
    stored = StoredItem("é", '{"title":"Être"}', np.array([0.1, -2.5], dtype=np.float32), "b1")
    with closing(ItemStore(tmp_path / "s")) as store:
        store.put([stored])
    with closing(ItemStore(tmp_path / "s")) as store:
        found = store.read_all()[0]

    assert (found.id, found.attributes_json, found.bundle_id) == ("é", '{"title":"Être"}', "b1")
    np.testing.assert_array_equal(found.semantic, stored.semantic)


def test_store_replaces_an_item_in_its_place(store: ItemStore) -> None:
    """The order is that of the first addition."""
    store.put([item("a", 1), item("b", 2)])
    store.put([item("c", 3), item("a", 4)])

    assert contents(store) == [("a", [4]), ("b", [2]), ("c", [3])]


def test_store_is_safe_against_a_crash_of_the_machine(store: ItemStore) -> None:
    """A write-ahead log, and each commit on disk before it returns."""
    assert store._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert store._connection.execute("PRAGMA synchronous").fetchone() == (2,)


def test_store_puts_all_or_nothing(store: ItemStore) -> None:
    """One row that the table refuses takes the others with it, and the store goes on."""
    refused = StoredItem("b", None, np.zeros(1, dtype=np.float32), "bundle")  # type: ignore[arg-type]
    with pytest.raises(StorageError):
        store.put([item("a", 1), refused])
    store.put([item("c", 3)])

    assert contents(store) == [("c", [3])]


def test_store_that_cannot_write_says_so(tmp_path: Path) -> None:
    """Another program holds the file's write lock: the items were not added."""
    path = tmp_path / "s"
    with closing(ItemStore(path)) as store, closing(sqlite3.connect(path)) as other:
        store._connection.execute("PRAGMA busy_timeout = 0")
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StorageError):
            store.put([item("a", 1)])


def test_store_refuses_a_file_that_is_no_database(tmp_path: Path) -> None:
    """The message names the file."""
    path = tmp_path / "s"
    path.write_bytes(b"x" * 5000)

    with pytest.raises(ConfigError, match=str(path)):
        ItemStore(path)


def test_store_refuses_another_format(tmp_path: Path) -> None:
    """One of a later program is not touched."""
    path = tmp_path / "s"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA user_version = {FORMAT + 1}")

    with pytest.raises(ConfigError, match=f"format {FORMAT + 1}"):
        ItemStore(path)
