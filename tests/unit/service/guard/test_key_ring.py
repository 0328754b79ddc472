"""The keys in force follow the file; a bad file changes nothing."""

import logging
import sys
from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb_service.guard.keys import CHECK_INTERVAL_SECONDS, MAX_FILE_BYTES, MAX_KEYS, KeyRing, Role
from tests.support.key_files import add_key


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.jsonl"


def test_key_is_found_by_itself_alone(path: Path) -> None:
    """Not by a part of it, its hash or nothing."""
    shop, admin = add_key(path, "shop", Role.RECOMMEND), add_key(path, "root", Role.ADMIN)
    ring = KeyRing(path)
    found = [ring.find(key) for key in (shop, admin)]

    assert [key and key.name for key in found] == ["shop", "root"]
    assert found[0] is not None
    assert all(ring.find(other) is None for other in ("", shop[:-1], f"{shop} ", found[0].sha256, "\udcff"))


def test_finding_one_key_of_a_thousand_takes_as_many_calls_as_one_of_one(path: Path) -> None:
    """Wherever it stands in the file, and where it is in none."""
    first = add_key(path, "first", Role.RECOMMEND)
    alone = KeyRing(path, Clock())
    for number in range(MAX_KEYS - 2):
        add_key(path, f"shop-{number}", Role.RECOMMEND)
    last = add_key(path, "last", Role.RECOMMEND)
    ring = KeyRing(path, Clock())

    expected = calls_of(alone, first)
    assert expected > 0
    assert [calls_of(ring, key) for key in (first, last, "unknown")] == [expected] * 3


def calls_of(ring: KeyRing, key: str) -> int:
    """How many functions, Python's and C's, a search for a key calls."""
    events: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, argument: events.append(event))
    try:
        ring.find(key)
    finally:
        sys.setprofile(before)
    return sum(event in ("call", "c_call") for event in events)


def test_changed_file_is_read_again_without_a_restart(path: Path) -> None:
    """A key that was added works, one that was taken out does not, but not before the file is looked at."""
    clock = Clock()
    old = add_key(path, "shop", Role.RECOMMEND)
    ring = KeyRing(path, clock)
    path.unlink()
    new = add_key(path, "shop", Role.RECOMMEND)

    clock.now = CHECK_INTERVAL_SECONDS / 2
    assert ring.find(old)
    assert not ring.find(new)
    clock.now = CHECK_INTERVAL_SECONDS
    assert ring.find(new)
    assert not ring.find(old)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"x" * (MAX_FILE_BYTES + 1), None],
    ids=["emptied", "half written", "no text", "too long", "gone"],
)
def test_bad_file_leaves_the_keys_in_force_and_is_logged_once(
    path: Path, caplog: pytest.LogCaptureFixture, content: bytes | None
) -> None:
    """And a good one is taken again."""
    clock = Clock()
    key = add_key(path, "shop", Role.RECOMMEND)
    ring = KeyRing(path, clock)
    path.unlink()
    if content is not None:
        path.write_bytes(content)

    for _ in range(3):
        clock.now += CHECK_INTERVAL_SECONDS
        assert ring.find(key)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]

    path.unlink(missing_ok=True)
    new = add_key(path, "shop", Role.RECOMMEND)
    clock.now += CHECK_INTERVAL_SECONDS
    assert ring.find(new)
    assert not ring.find(key)


def test_bad_file_stops_the_start(path: Path) -> None:
    """The message names file and line, or says that there is no such file."""
    with pytest.raises(ConfigError, match=r"keys\.jsonl cannot be read: No such file"):
        KeyRing(path)
    path.write_text("nonsense\n")
    with pytest.raises(ConfigError, match=r"keys\.jsonl, line 1: "):
        KeyRing(path)
