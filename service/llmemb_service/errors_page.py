"""docs/errors.md, made from the OpenAPI description: `python -m llmemb_service.errors_page > docs/errors.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import JsonValue

from llmemb.api.base import CONTENT_TYPE
from llmemb_service.app import create_app
from llmemb_service.problems import PROBLEMS
from llmemb_service.settings import Settings

Schema = dict[str, JsonValue]

_HEAD = """# Every error

Made by `python -m llmemb_service.errors_page`; do not edit.

Each error is `application/problem+json`. Its code is the member `code` and the end of the member `type`; the link of a
code leads to what to do about it. Where the table says `Retry-After`, that header has the seconds to wait before the
next attempt.

| code | status | title | `Retry-After` | answered by |
|---|---|---|---|---|
"""
_EVERYWHERE = "every endpoint"


def errors_page() -> str:
    """Return the whole page: each problem's code with its status, its title, and the endpoints that answer with it."""
    operations = dict(_operations(create_app(Settings(bundle=Path())).openapi()))
    rows = []
    for code, kind in PROBLEMS.items():
        answering = {name: operation for name, operation in operations.items() if code in _codes(operation)}
        names = _EVERYWHERE if len(answering) == len(operations) else ", ".join(f"`{name}`" for name in answering)
        waits = any("headers" in _schema(_responses(each)[str(kind.status)]) for each in answering.values())
        link = f"[`{code}`](api.md#{code}-{kind.status})"
        rows.append(f"| {link} | {kind.status} | {kind.title} | {'yes' if waits else ''} | {names or 'any path'} |\n")
    return _HEAD + "".join(rows)


def _operations(description: Schema) -> Iterator[tuple[str, Schema]]:
    for path, methods in _schema(description["paths"]).items():
        for method, operation in _schema(methods).items():
            yield f"{method.upper()} {path}", _schema(operation)


def _responses(operation: Schema) -> Schema:
    return _schema(operation["responses"])


def _codes(operation: Schema) -> list[str]:
    contents = (_schema(_schema(response).get("content", {})) for response in _responses(operation).values())
    examples = (_schema(_schema(content.get(CONTENT_TYPE, {})).get("examples", {})) for content in contents)
    return [code for named in examples for code in named]


def _schema(value: JsonValue) -> Schema:
    assert isinstance(value, dict)
    return value


if __name__ == "__main__":
    sys.stdout.write(errors_page())
