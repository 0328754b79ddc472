"""`llmemb key`: shown once, known by its hash."""

import re
from pathlib import Path

import pytest

from llmemb.errors import ConfigError
from llmemb_service.guard.key_cli import key
from llmemb_service.guard.keys import KeyRing, Role, parse_keys
from tests.support.key_files import add_key


def shown_key(output: str) -> str:
    return re.findall(r"llmemb_\S+", output)[0]


def test_key_is_shown_with_its_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The line, put into a file, lets the key in."""
    key(["--name", "shop", "--role", "recommend", "--role", "embed", "--rate-limit", "60"])
    output = capsys.readouterr().out
    path = tmp_path / "keys.jsonl"
    path.write_text(output.splitlines()[1].partition("file:")[2].strip())
    found = KeyRing(path).find(shown_key(output))

    assert found is not None
    assert (found.name, found.roles, found.rate_limit_per_minute) == ("shop", (Role.RECOMMEND, Role.EMBED), 60)


@pytest.mark.parametrize("ends_with_newline", [True, False])
def test_line_is_appended_to_the_file(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, ends_with_newline: bool
) -> None:
    """What was there stays, also when an editor left out the last newline; the key itself is not in the file."""
    path = tmp_path / "keys.jsonl"
    first = add_key(path, "first", Role.ADMIN)
    if not ends_with_newline:
        path.write_text(path.read_text().rstrip("\n"))
    key(["--name", "shop", "--role", "recommend", "--file", str(path)])
    second = shown_key(capsys.readouterr().out)

    assert [entry.name for entry in parse_keys(path.read_bytes(), path).values()] == ["first", "shop"]
    assert KeyRing(path).find(first)
    assert KeyRing(path).find(second)
    assert second not in path.read_text()


def test_bad_file_is_left_alone(tmp_path: Path) -> None:
    """Nothing is appended to what the service would refuse."""
    path = tmp_path / "keys.jsonl"
    path.write_text("nonsense\n")

    with pytest.raises(ConfigError, match="line 1"):
        key(["--name", "shop", "--role", "recommend", "--file", str(path)])
    assert path.read_text() == "nonsense\n"


def test_file_that_cannot_be_written_is_our_error(tmp_path: Path) -> None:
    """Its folder is missing."""
    with pytest.raises(ConfigError, match="cannot be written"):
        key(["--name", "shop", "--role", "recommend", "--file", str(tmp_path / "nowhere" / "keys.jsonl")])
