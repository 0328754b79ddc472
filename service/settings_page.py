"""`docs/settings.md`, made from the settings themselves: `python -m service.settings_page > docs/settings.md`."""

import sys
from pathlib import Path
from types import UnionType
from typing import Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.settings import Settings, variable

_HEAD = """# Settings of the service

Made by `python -m service.settings_page` from `service/settings.py`; do not edit.

`llmemb serve` reads these environment variables once, when it starts; `--bundle`, `--report`, `--host` and `--port`
win over theirs. A variable that starts with `LLMEMB_` and is not in this table stops the start.

| variable | type | default | meaning |
|---|---|---|---|
"""


def settings_page() -> str:
    """Return the whole page."""
    return _HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    if field.is_required():
        default = "none, must be set"
    elif field.default is None:
        default = "unset"
    else:
        default = f"`{field.default}`"
    meaning = " ".join((field.description or "").split())
    return f"| `{variable(name)}` | {_type_name(field)} | {default} | {meaning} |\n"


def _type_name(field: FieldInfo) -> str:
    kind = field.annotation
    if isinstance(kind, UnionType):
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(kind))
    names: dict[object, str] = {
        Path: "path",
        str: "text",
        int: "integer",
        float: "number",
        SecretStr: "secret text",
        tuple[str, ...]: "JSON list of texts",
    }
    return names[kind]


if __name__ == "__main__":
    sys.stdout.write(settings_page())
