"""A served app whose bundle is searched in Milvus, by Milvus Lite."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from milvus_lite.server_manager import server_manager_instance

from tests.support.milvus import milvus_server
from tests.support.ports import free_port
from tests.support.service import HEAT, make_settings, running
from tests.support.waiting import wait_until

REQUESTS: list[dict[str, Any]] = [
    {"history": ["1", "5", "9"], "k": 40},
    {"history": ["3"], "k": 7, "filters": {"categories_any": ["Drama", "Horror"]}},
    {"history": ["3", {"attributes": HEAT}], "k": 7, "filters": {"categories_all": ["Comedy"], "deny": ["6", "7"]}},
    {"history": ["2", "8"], "k": 5, "exclude_history": False, "filters": {"allow": ["2", "8", "11", "12", "new"]}},
    {"history": ["2", "new"], "k": 10, "filters": {"available": None}},
    {"history": ["2", "8"], "k": 10, "filters": {"available": False}},
    {"history": [], "k": 4},
]


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """Where Milvus Lite keeps its data; its server is stopped in the end."""
    yield tmp_path / "milvus.db"
    server_manager_instance.release_server(str(tmp_path / "milvus.db"))


def answers(client: TestClient) -> list[Any]:
    """Change the catalogue, and recommend before and after."""
    before = [client.post("/recommend", json=each) for each in REQUESTS if "new" not in str(each)]
    assert client.put("/items/new", json={"attributes": HEAT, "categories": ["Drama"]}).status_code in (200, 201)
    assert client.patch("/items/7", json={"categories": ["Horror", "Comedy"]}).status_code == 200
    assert client.patch("/items/11", json={"available": False}).status_code == 200
    assert client.delete("/items/12").status_code == 204
    after = [client.post("/recommend", json=each) for each in REQUESTS]
    assert {each.status_code for each in before + after} == {200}
    return [each.json() for each in before + after]


def test_answers_are_those_of_faiss(tiny_bundle: Path, tmp_path: Path, file: Path) -> None:
    """The same items, scores and order, before and after changes; after a restart too."""
    with running(make_settings(tiny_bundle, tmp_path / "faiss")) as client:
        expected = answers(client)
    settings = make_settings(tiny_bundle, tmp_path / "state", vector_store="milvus", milvus_uri=str(file), fold_items=1)
    with running(settings) as client:
        assert answers(client) == expected
    assert file.exists()
    with running(settings) as client:
        assert [client.post("/recommend", json=each).json() for each in REQUESTS] == expected[-len(REQUESTS) :]


def test_milvus_away_is_503_and_passes(tiny_bundle: Path, tmp_path: Path) -> None:
    """What needs Milvus says when to come again; what does not, popularity, is answered."""
    port, milvus = free_port(), ExitStack()
    uri = milvus.enter_context(milvus_server(tmp_path / "data", port))
    with running(make_settings(tiny_bundle, tmp_path / "state", vector_store="milvus", milvus_uri=uri)) as client:
        assert client.post("/recommend", json=REQUESTS[0]).status_code == 200
        milvus.close()
        away = client.post("/recommend", json=REQUESTS[0])
        assert away.status_code == 503
        assert away.json()["code"] == "storage"
        assert away.headers["Retry-After"] == "2"
        assert client.post("/recommend", json={"history": [], "k": 4}).status_code == 200
        with milvus_server(tmp_path / "data", port):
            wait_until(lambda: client.post("/recommend", json=REQUESTS[0]).status_code == 200, "Milvus is found again")
