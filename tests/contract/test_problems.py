"""Every error of the service is a problem: from every source, in one shape, and documented."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

import llmemb_service.errors
from llmemb.errors import LlmembError, UnknownItemError
from llmemb_service.problems import CONTENT_TYPE, PROBLEMS
from tests.support.service import HEAT, make_settings, running

API_PAGE = Path(__file__).parents[2] / "docs" / "api.md"
ITEM = {"id": "x", "attributes": HEAT}


@pytest.fixture(scope="module")
def client(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    settings = make_settings(
        tiny_bundle, tmp_path_factory.mktemp("problems") / "state", max_body_bytes=4_000_000, max_added_items=0
    )
    with running(settings) as client:
        yield client


def items(*bodies: Any) -> dict[str, Any]:
    return {"json": {"items": list(bodies)}}


def item_with(**attributes: Any) -> dict[str, Any]:
    return items({"id": "x", "attributes": attributes})


def raw(text: str | bytes, media_type: str = "application/json") -> dict[str, Any]:
    return {"content": text, "headers": {"Content-Type": media_type}}


def title(json_text: str) -> dict[str, Any]:
    return raw('{"items":[{"id":"x","attributes":{"title":' + json_text + "}}]}")


def history(*entries: Any, **more: Any) -> dict[str, Any]:
    return {"json": {"history": list(entries), **more}}


EMBED, RECOMMEND = ("POST", "/embed_items"), ("POST", "/recommend")
BAD_REQUESTS: dict[str, tuple[tuple[str, str], dict[str, Any], str]] = {
    # what is wrong, with its route, its request and the code it gets
    "no such path": (("GET", "/nowhere"), {}, "not_found"),
    "no such file of the docs": (("GET", "/docs/assets/nothing.js"), {}, "not_found"),
    "a way out of the docs": (("GET", "/docs/assets/..%2f..%2f..%2fetc/passwd"), {}, "not_found"),
    "no such method": (("GET", "/recommend"), {}, "method_not_allowed"),
    "no body": (EMBED, {}, "invalid_request"),
    "no JSON": (EMBED, raw("{items: 1}"), "invalid_json"),
    "half a JSON": (EMBED, raw('{"items": ['), "invalid_json"),
    "not UTF-8": (EMBED, raw(b'{"items": "\xff\xfe"}'), "invalid_json"),
    "nested without end": (EMBED, raw("[" * 200_000), "invalid_json"),
    "attributes nested without end": (EMBED, title("[" * 100_000 + "]" * 100_000), "invalid_json"),
    "attributes nested deep": (EMBED, title("[" * 500 + "]" * 500), "invalid_request"),
    "a number of 5,000 digits": (RECOMMEND, raw('{"history": [], "k": ' + "9" * 5000 + "}"), "invalid_json"),
    "another media type": (EMBED, raw("{}", "text/plain"), "unsupported_media_type"),
    "a form": (EMBED, raw("{}", "application/x-www-form-urlencoded"), "unsupported_media_type"),
    "a brotli body": (
        EMBED, {"content": b"x", "headers": {"Content-Encoding": "br"}}, "unsupported_encoding"
    ),
    "a body that is not its gzip": (EMBED, {"content": b"x", "headers": {"Content-Encoding": "gzip"}}, "invalid_json"),
    "a body too large": (EMBED, {"json": {"items": "x" * 4_000_000}}, "body_too_large"),
    "a list": (EMBED, {"json": []}, "invalid_request"),
    "null": (EMBED, raw("null"), "invalid_request"),
    "an unknown member": (EMBED, {"json": {"items": [ITEM], "indx": True}}, "invalid_request"),
    "a text for a truth value": (EMBED, {"json": {"items": [ITEM], "index": "yes"}}, "invalid_request"),
    "no items": (EMBED, items(), "invalid_request"),
    "10,000 items": (EMBED, items(*({**ITEM, "id": str(i)} for i in range(10_000))), "invalid_request"),
    "10,000 bad items": (EMBED, items(*({"id": i} for i in range(10_000))), "invalid_request"),
    "an item twice": (EMBED, items(ITEM, ITEM), "invalid_request"),
    "a number as id": (EMBED, items({**ITEM, "id": 7}), "invalid_request"),
    "an empty id": (EMBED, items({**ITEM, "id": ""}), "invalid_request"),
    "a long id": (EMBED, items({**ITEM, "id": "x" * 257}), "invalid_request"),
    "half a character in an id": (EMBED, raw(r'{"items":[{"id":"\ud800","attributes":{}}]}'), "invalid_request"),
    "no attributes": (EMBED, items({"id": "x"}), "invalid_request"),
    "empty attributes": (EMBED, item_with(), "invalid_request"),
    "attributes all missing": (EMBED, item_with(title=None, genres=[]), "invalid_request"),
    "an unknown attribute": (EMBED, item_with(director="Mann"), "invalid_request"),
    "a truth value": (EMBED, item_with(title=True), "invalid_request"),
    "an object": (EMBED, item_with(title={"en": "Heat"}), "invalid_request"),
    "NaN": (EMBED, title("NaN"), "invalid_request"),
    "infinity": (EMBED, title("1e999"), "invalid_request"),
    "half a character": (EMBED, title(r'"\ud800"'), "invalid_request"),
    "half a character in a name": (EMBED, raw(r'{"items":[{"id":"x","attributes":{"\ud800":1}}]}'), "invalid_request"),
    "a title of 1 MB": (EMBED, item_with(title="x" * 1_000_000), "invalid_request"),
    "an attribute name of 1 MB": (EMBED, item_with(**{"x" * 1_000_000: "x"}), "invalid_request"),
    "no room": (EMBED, {"json": {"items": [ITEM], "index": True}}, "catalogue_full"),
    "no history": (RECOMMEND, {"json": {"k": 1}}, "invalid_request"),
    "a text as history": (RECOMMEND, {"json": {"history": "50"}}, "invalid_request"),
    "a number in the history": (RECOMMEND, history(50), "invalid_request"),
    "null in the history": (RECOMMEND, history(None), "invalid_request"),
    "an item with an id in the history": (RECOMMEND, history(ITEM), "invalid_request"),
    "a bad item in the history": (RECOMMEND, history({"attributes": {"x": 1}}), "invalid_request"),
    "a long history": (RECOMMEND, history(*["1"] * 1001), "invalid_request"),
    "unknown ids": (RECOMMEND, history("1", "nowhere"), "unknown_item"),
    "half a character as id in the history": (RECOMMEND, raw(r'{"history":["\ud800"]}'), "invalid_request"),
    "an id of 1 MB in the history": (RECOMMEND, history("x" * 1_000_000), "invalid_request"),
    "k 0": (RECOMMEND, history("1", k=0), "invalid_request"),
    "k below 0": (RECOMMEND, history("1", k=-5), "invalid_request"),
    "k too great": (RECOMMEND, history("1", k=1001), "invalid_request"),
    "k a fraction": (RECOMMEND, history("1", k=1.5), "invalid_request"),
    "k NaN": (RECOMMEND, raw('{"history":["1"],"k":NaN}'), "invalid_request"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD_REQUESTS)
def test_bad_request_is_answered_by_a_problem(client: TestClient, what: str) -> None:
    """The right code, the one shape, and nothing of the body beyond names and places."""
    (method, path), request, code = BAD_REQUESTS[what]
    response = client.request(method, path, **request)
    problem = response.json()

    assert problem["code"] == code
    assert response.status_code == PROBLEMS[code].status
    assert_is_problem(response.headers["content-type"], problem)
    assert ("errors" in problem) == (problem["status"] == 422)
    assert len(response.content) < 30_000
    assert "Traceback" not in response.text


def assert_is_problem(content_type: str, problem: dict[str, Any]) -> None:
    """One shape for all."""
    kind = PROBLEMS[problem["code"]]
    assert content_type == CONTENT_TYPE
    assert problem["type"] == f"/problems/{problem['code']}"
    assert (problem["title"], problem["status"]) == (kind.title, kind.status)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", problem["instance"])
    assert problem["detail"]
    for fault in problem.get("errors", []):
        assert set(fault) == {"loc", "msg", "type"}
        assert fault["loc"][0] == "body"


def test_problem_of_a_method_says_which_are_allowed(client: TestClient) -> None:
    """RFC 9110 asks for it."""
    assert client.get("/recommend").headers["Allow"] == "OPTIONS, POST"


def test_problem_names_what_was_expected(client: TestClient) -> None:
    """The known attributes, the limit of k, the other item of the same id."""

    def messages(path: str, request: dict[str, Any]) -> list[str]:
        return [fault["msg"] for fault in client.post(path, **request).json()["errors"]]

    assert "title, release_year, genres" in messages("/embed_items", item_with(director="Mann"))[0]
    assert messages("/recommend", history("1", k=1001)) == ["must be at most 1000"]
    assert "items.0" in messages("/embed_items", items(ITEM, ITEM))[0]


def test_problem_lists_at_most_100_faults(client: TestClient) -> None:
    """And says how many there are."""
    problem = client.post("/embed_items", **items(*({"id": "", "attributes": {}} for _ in range(512)))).json()

    assert len(problem["errors"]) == 100
    assert problem["detail"] == "the body has 512 faults; see errors"


def test_every_error_that_reaches_a_client_has_a_kind() -> None:
    """Our own errors are all in the table; those of the core that are not are errors of the start."""
    reach_a_client = {UnknownItemError} | {
        kind
        for kind in vars(llmemb_service.errors).values()
        if isinstance(kind, type) and issubclass(kind, LlmembError)
    }
    codes = {kind.code for kind in reach_a_client - {LlmembError, llmemb_service.errors.RetryLaterError}}  # bases

    assert codes <= set(PROBLEMS)
    assert LlmembError.code not in PROBLEMS


def test_every_problem_is_documented() -> None:
    """docs/api.md has a heading for each code, with its status."""
    page = API_PAGE.read_text(encoding="utf-8")
    documented = re.findall(r"^### `(\w+)` \((\d+)\)$", page, flags=re.MULTILINE)

    assert {code: int(status) for code, status in documented} == {c: kind.status for c, kind in PROBLEMS.items()}
