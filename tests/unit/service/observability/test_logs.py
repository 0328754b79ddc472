"""Log lines: one a request with its id, and nothing of what the client sent."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from fastapi.testclient import TestClient

from llmemb_service.guard.keys import Role
from llmemb_service.observability.logs import OUR_LOGGERS, configure_logging
from tests.support.key_files import add_key
from tests.support.small_app import small_app

SECRET = "Secret-Title-42"


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Undo what `configure_logging` does to this process."""
    loggers = [logging.getLogger(), *map(logging.getLogger, OUR_LOGGERS)]
    before = [(logger, logger.level, list(logger.handlers)) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def log_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_request_has_one_access_line_with_its_id(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The template of the path, the key's name and the bundle; the path and the key itself are not there."""
    path = tmp_path / "keys.jsonl"
    key = add_key(path, "shop", Role.RECOMMEND, Role.EMBED)
    configure_logging("json", "info")
    with TestClient(small_app(api_keys_file=path), headers={"Authorization": f"Bearer {key}"}) as client:
        answer = client.post("/recommend", json={"text": SECRET})
        client.put(f"/items/{SECRET}?query={SECRET}")
        client.get("/healthz")
    lines = log_lines(capsys)

    assert [(line["method"], line["route"], line["status"]) for line in lines] == [
        ("POST", "/recommend", 200),
        ("PUT", "/items/{item_id}", 200),
    ]
    assert lines[0]["request_id"] == answer.headers["X-Request-Id"]
    assert (lines[0]["key"], lines[0]["bundle_id"], lines[0]["bytes"]) == ("shop", "sha-1", len(answer.content))
    assert lines[0]["level"] == "INFO"
    assert lines[0]["ms"] > 0
    assert lines[0]["time"].endswith("+00:00")


def test_probes_are_logged_at_debug(capsys: pytest.CaptureFixture[str]) -> None:
    """They come every few seconds."""
    configure_logging("json", "debug")
    with TestClient(small_app()) as client:
        client.get("/healthz")

    assert [line["route"] for line in log_lines(capsys) if line["logger"] == "llmemb_service.observability.logs"] == [
        "/healthz"
    ]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_that_a_client_sent_is_in_a_log(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, log_format: Literal["json", "text"]
) -> None:
    """Neither keys nor texts, ids, queries or headers, whether the request is answered, refused or breaks."""
    path = tmp_path / "keys.jsonl"
    key = add_key(path, "shop", Role.ADMIN)
    configure_logging(log_format, "debug")
    with TestClient(small_app(api_keys_file=path, max_body_bytes=200)) as client:
        for sent in ({"text": SECRET}, {"text": [SECRET]}, {SECRET: 1}, {"text": SECRET * 20}):
            for headers in (
                {"Authorization": f"Bearer {key}"},
                {"X-API-Key": f"{SECRET}{key}"},
                {"X-Request-Id": SECRET},
            ):
                for route in ("/recommend", "/embed_items", f"/{SECRET}", f"/recommend?query={SECRET}"):
                    client.post(route, json=sent, headers=headers)
                client.put(f"/items/{SECRET}", headers=headers)
                client.request(SECRET, "/recommend", headers=headers)
        assert client.post("/embed_items", json={"text": SECRET}, headers={"X-API-Key": key}).status_code == 500
    output = "".join(capsys.readouterr())

    assert "KeyError" in output
    assert "small_app.py" in output
    assert SECRET not in output
    assert key not in output


def test_stack_tells_where_but_repeats_no_foreign_message(capsys: pytest.CaptureFixture[str]) -> None:
    """The whole chain: pydantic's error without its input, ours with what it says."""
    configure_logging("json", "info")
    with TestClient(small_app()) as client:
        answer = client.get("/admin/chained")
    error = next(line for line in log_lines(capsys) if line["level"] == "ERROR")

    assert error["request_id"] == answer.headers["X-Request-Id"]
    assert error["stack"].index("ValidationError") < error["stack"].index("ConfigError: the disk is on fire")
    assert "_raise_from_another" in error["stack"]
    assert "input_value" not in error["stack"]
    assert "list_type" not in error["stack"]


def test_line_outside_of_a_request_has_no_id(capsys: pytest.CaptureFixture[str]) -> None:
    """The member is there, and null."""
    configure_logging("json", "info")
    logging.getLogger("llmemb_service.somewhere").warning("the disk is %s", "full")

    assert [(line["message"], line["request_id"]) for line in log_lines(capsys)] == [("the disk is full", None)]


def test_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    """uvicorn's too, in the same form; ours from the level that is set."""
    configure_logging("json", "debug")
    logging.getLogger("uvicorn.error").info("started")
    logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
    logging.getLogger("llmemb_service.x").debug("ours")
    configure_logging("json", "error")
    logging.getLogger("uvicorn.error").warning("again")
    logging.getLogger("llmemb_service.x").warning("again")

    assert [line["message"] for line in log_lines(capsys)] == ["Invalid HTTP request received.", "ours"]


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Time, level, logger, request id, and what happened."""
    configure_logging("text", "info")
    with TestClient(small_app()) as client:
        request_id = client.post("/recommend", json={}).headers["X-Request-Id"]
    line = capsys.readouterr().err

    assert f" INFO llmemb_service.observability.logs [{request_id}] POST /recommend 200 " in line
    assert line.count("\n") == 1
