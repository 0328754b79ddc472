"""What a page says is printed, beside what is printed."""

import json
import re
from typing import Any

ANY = "..."
_BARE_ANY = re.compile(r'(?<!["\w.])\.\.\.(?!["\w.])')


def assert_text(expected: str, printed: str, place: str) -> None:
    """Hold a text to what was printed: `...` stands for anything in a line, alone in a line for any lines."""
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == ANY else _line_pattern(line) for line in expected.rstrip("\n").split("\n")
    )
    assert re.fullmatch(pattern, printed.rstrip("\n") + "\n"), (
        f"{place}: the page says\n{expected}\nand it is\n{printed}"
    )


def _line_pattern(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.rstrip().split(ANY)) + r"[ \t]*\n"


def parse_expected(text: str) -> Any:
    """Read JSON in which `...` stands for a value, for further entries of a list or for further members."""
    text = re.sub(r",\s*\.\.\.\s*}", ', "...": "..."}', text)
    return json.loads(_BARE_ANY.sub('"..."', text))


def assert_json(expected: str, printed: str, place: str, *, values: bool) -> None:
    """Hold JSON to what was printed.

    Args:
        expected: of the page.
        printed: one JSON document.
        place: of the block.
        values: whether the values are the same too, or names and types alone.
    """
    fault = _differs(parse_expected(expected), json.loads(printed), "$", values)
    assert fault is None, f"{place}: {fault}; the page says\n{expected}\nand it is\n{printed}"


def _differs(expected: Any, actual: Any, path: str, values: bool) -> str | None:
    if expected == ANY:
        return None
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _members_differ(expected, actual, path, values)
    if isinstance(expected, list) and isinstance(actual, list):
        return _entries_differ(expected, actual, path, values)
    if _kind(expected) != _kind(actual):
        return f"{path} is {actual!r}"
    return f"{path} is {actual!r}" if values and expected != actual else None


def _members_differ(expected: dict[str, Any], actual: dict[str, Any], path: str, values: bool) -> str | None:
    named = expected.keys() - {ANY}
    if not (named <= actual.keys() if ANY in expected else named == actual.keys()):
        return f"{path} has {sorted(actual)}"
    return next(
        (fault for name in named if (fault := _differs(expected[name], actual[name], f"{path}.{name}", values))), None
    )


def _entries_differ(expected: list[Any], actual: list[Any], path: str, values: bool) -> str | None:
    is_open = bool(expected) and expected[-1] == ANY
    named = expected[:-1] if is_open else expected
    if values and (len(actual) < len(named) if is_open else len(actual) != len(named)):
        return f"{path} has {len(actual)} entries"
    pairs = enumerate(zip(named, actual, strict=False))
    return next((fault for n, (one, other) in pairs if (fault := _differs(one, other, f"{path}[{n}]", values))), None)


def _kind(value: Any) -> str:
    return "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
