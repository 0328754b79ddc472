"""A long backup says how far it is, a short one nothing."""

import pytest

from llmemb_service.backup import progress
from llmemb_service.backup.progress import Progress


def test_progress_is_told_every_two_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On standard error, with the whole where it is known."""
    now = 100.0
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    told = Progress()
    for seconds in (0.5, 1.9, 2.1, 3.9, 4.2):
        now = 100 + seconds
        told.tell("items", int(seconds * 10), 99)
    now = 200
    told.tell("sessions", 7)

    assert capsys.readouterr().err == "items: 21 of 99\nitems: 42 of 99\nsessions: 7\n"
