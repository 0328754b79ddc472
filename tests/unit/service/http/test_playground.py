"""`GET /` and its files: whole, and without anything from elsewhere."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from llmemb_service.http.middleware.headers import POLICY_HEADER
from llmemb_service.http.routes.pages import router
from tests.support.small_app import small_app

ROOT = Path(__file__).parents[4]
FOLDER = ROOT / "service" / "llmemb_service" / "playground"
FILES = sorted(path for path in FOLDER.rglob("*") if path.is_file())
SCRIPTS = [path for path in FILES if path.suffix == ".js"]


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient]:
    app = small_app(max_body_bytes=10)
    app.include_router(router)
    with TestClient(app) as client:
        yield client


def test_page_may_load_its_own_files_and_nothing_else(client: TestClient) -> None:
    """By its policy; it has no script and no style of its own."""
    page = client.get("/")
    policy = dict(part.split(" ", 1) for part in page.headers[POLICY_HEADER].split("; "))

    assert policy.pop("default-src") == "'none'"
    assert {name for name, value in policy.items() if value == "'self'"} == {
        "script-src", "style-src", "img-src", "connect-src",
    }  # fmt: skip
    assert not re.search(r"<script[^>]*>[^<]|<style|\sstyle=|\son\w+=", page.text)
    assert not re.search(r"(?:src|href)=\"(?:\w+:|//)", page.text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_file_is_there_and_may_be_kept(client: TestClient, file: Path) -> None:
    """It is revalidated by its ETag, and sent only if it changed."""
    path = f"/playground/{file.relative_to(FOLDER).as_posix()}"
    first = client.get(path)
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})

    assert first.content == file.read_bytes()
    assert first.headers["Cache-Control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert client.head(path).status_code == 200


@pytest.mark.parametrize("path", ["nowhere.js", "", "map", "../app.py", "..%2Fapp.py", "%2e%2e/%2e%2e/pyproject.toml"])
def test_nothing_else_is_given(client: TestClient, path: str) -> None:
    """Neither folders nor files outside this one."""
    assert client.get(f"/playground/{path}").status_code == 404


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_scripts_import_what_there_is(script: Path) -> None:
    """Files and names; and ask nothing by a whole address."""
    text = script.read_text(encoding="utf-8")
    for names, source in re.findall(r"import (?:\{([^}]*)\}|\* as \w+) from \"([^\"]+)\"", text):
        imported = (script.parent / source).resolve()
        assert imported in SCRIPTS, source
        exported = set(re.findall(r"export (?:async )?(?:function|const|class|let) (\w+)", imported.read_text()))
        assert {name.strip() for name in names.split(",") if name.strip()} <= exported, source
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    assert len(text.splitlines()) <= 300


def test_metrics_view_reads_documented_metrics() -> None:
    """Every metric name in the scripts is in `docs/metrics.md`."""
    documented = set(
        re.findall(r"^\| `(\w+)`", (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8"), re.MULTILINE)
    )
    scripts = "".join(script.read_text(encoding="utf-8") for script in SCRIPTS)
    read = set(re.findall(r"\"((?:llmemb|http_server)_\w+)\"", scripts))

    assert "http_server_request_duration_seconds" in read
    assert read - documented == set()


def test_package_brings_the_files() -> None:
    """A wheel has every file of the package's folder."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert "service/llmemb_service" in wheel["packages"]
    assert set(wheel) == {"packages"}, "nothing is left out"
    assert (FOLDER / "index.html") in FILES
