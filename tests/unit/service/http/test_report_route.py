"""The trainer's report at `/report`."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from llmemb.errors import ConfigError
from llmemb_service.app import create_app
from llmemb_service.http.middleware.headers import POLICY_HEADER, page_policy
from llmemb_service.http.routes import pages
from llmemb_service.settings import Settings

HTML = "<!doctype html><title>Report</title><script>show()</script>é"


def client_of(path: Path | None) -> TestClient:
    """An app whose lifespan is not entered: the report needs no bundle."""
    return TestClient(create_app(Settings(bundle=Path(), report=path)))


def test_report_is_shown_as_it_was_at_the_start(tmp_path: Path) -> None:
    """With the headers of every answer, and leave for its own script alone."""
    path = tmp_path / "index.html"
    path.write_text(HTML, encoding="utf-8")
    client = client_of(path)
    path.unlink()

    answer = client.get("/report")

    assert (answer.status_code, answer.text) == (200, HTML)
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert answer.headers[POLICY_HEADER] == page_policy(HTML)
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert client.head("/report").status_code == 200


def test_without_the_setting_there_is_none() -> None:
    """It is a path like any other that leads nowhere."""
    answer = client_of(None).get("/report")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_report_that_cannot_be_used_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence says which and why."""
    wrong = tmp_path / "wrong.html"
    wrong.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"LLMEMB_REPORT: cannot read .*missing: No such file"):
        client_of(tmp_path / "missing")
    with pytest.raises(ConfigError, match=r"LLMEMB_REPORT: .*wrong.html is not UTF-8"):
        client_of(wrong)
    monkeypatch.setattr(pages, "MAX_REPORT_BYTES", 1)
    with pytest.raises(ConfigError, match=r"LLMEMB_REPORT: .*wrong.html"):
        client_of(wrong)
