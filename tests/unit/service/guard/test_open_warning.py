"""A service without keys that other machines can reach logs a warning."""

from pathlib import Path
from typing import Any

import pytest

from llmemb_service.guard.access import warn_if_open
from llmemb_service.settings import Settings


@pytest.mark.parametrize(
    ("settings", "warns"),
    [
        ({}, False),
        ({"host": "::1"}, False),
        ({"host": "localhost"}, False),
        ({"host": "0.0.0.0"}, True),
        ({"host": "::"}, True),
        ({"host": "inside.example"}, True),
        ({"host": "0.0.0.0", "api_keys_file": Path("keys.jsonl")}, False),
    ],
)
def test_open_service_warns_once(caplog: pytest.LogCaptureFixture, settings: dict[str, Any], warns: bool) -> None:
    """On every address but those of this machine."""
    warn_if_open(Settings(bundle=Path(), **settings))

    assert [record.levelname for record in caplog.records] == ["WARNING"] * warns
