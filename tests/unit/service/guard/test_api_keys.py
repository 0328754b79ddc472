"""The file of API keys: accepted forms, and errors that name the line."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmemb.errors import ConfigError
from llmemb_service.guard.keys import MAX_KEYS, Role, digest, key_line, make_key, parse_keys

PATH = Path("keys.jsonl")
GOOD: dict[str, Any] = {"name": "shop", "roles": ["recommend"], "sha256": digest("a key")}


def test_line_of_a_new_key_is_read_back() -> None:
    """Name, roles and limit; of the key only its hash."""
    key, entry = make_key("shop", (Role.RECOMMEND, Role.EMBED), 600)
    line = key_line(entry)

    assert parse_keys(f"\n{line}\n\n".encode(), PATH) == {digest(key): entry}
    assert json.loads(line) == {
        "name": "shop",
        "roles": ["recommend", "embed"],
        "sha256": digest(key),
        "rate_limit_per_minute": 600,
    }
    assert key not in line


def test_byte_order_mark_is_passed_over() -> None:
    """Editors of Windows begin a file with it."""
    assert list(parse_keys(f"\ufeff{json.dumps(GOOD)}\n".encode(), PATH)) == [GOOD["sha256"]]


def test_new_keys_differ_and_hold_256_bits() -> None:
    """43 characters of base64 after the prefix."""
    keys = {make_key("shop", (Role.ADMIN,), None)[0] for _ in range(50)}

    assert len(keys) == 50
    assert all(len(key.removeprefix("llmemb_")) == 43 for key in keys)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "JSON"),
        ("[]", "object"),
        (json.dumps(GOOD | {"name": "two words"}), "name"),
        (json.dumps(GOOD | {"roles": []}), "roles"),
        (json.dumps(GOOD | {"roles": ["king"]}), "roles.0"),
        (json.dumps(GOOD | {"sha256": "a key in plain text"}), "sha256"),
        (json.dumps(GOOD | {"rate_limit_per_minute": 0}), "rate_limit_per_minute"),
        (json.dumps(GOOD | {"key": "a key in plain text"}), "key"),
        (json.dumps(GOOD), "same sha256"),
    ],
)
def test_bad_line_is_named_and_not_repeated(line: str, reason: str) -> None:
    """The message says which line and why; it holds nothing that may be a key."""
    with pytest.raises(ConfigError, match=r"keys\.jsonl, line 3: ") as caught:
        parse_keys(f"{json.dumps(GOOD)}\n\n{line}\n".encode(), PATH)

    assert reason in str(caught.value)
    assert "plain text" not in str(caught.value)


@pytest.mark.parametrize("number", [0, MAX_KEYS + 1])
def test_no_key_and_too_many_are_refused(number: int) -> None:
    """A file that was just emptied must not shut everybody out."""
    lines = (json.dumps(GOOD | {"sha256": digest(str(i))}) for i in range(number))

    with pytest.raises(ConfigError, match=f"has {number} keys"):
        parse_keys("\n".join(lines).encode(), PATH)


def test_bad_name_makes_no_key() -> None:
    """The message names the field."""
    with pytest.raises(ConfigError, match="name"):
        make_key("two words", (Role.ADMIN,), None)
