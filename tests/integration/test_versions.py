"""Bundles that take over while the service runs: swap, rollback, experiment, and what a restart remembers."""

import shutil
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import SecretStr

from llmemb.bundle import read_bundle
from llmemb_service.bundles.engine import Engine
from llmemb_service.bundles.versions import Versions
from tests.support.redis_server import RedisServer
from tests.support.service import DEADLINE_SECONDS, HEAT, make_settings, running, serving, wait_until
from tests.support.tiny import write_tiny_bundle


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with bundles `one`, `two`, `three` of the same items, and `broken`, one of whose files was changed."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(tiny_bundle, folder / "one")
    write_tiny_bundle(folder / "two", tiny_llm, gamma=1.5, seed=1)
    write_tiny_bundle(folder / "three", tiny_llm, seed=2)
    shutil.copytree(folder / "two", folder / "broken")
    items = folder / "broken" / "items.parquet"
    items.write_bytes(items.read_bytes()[:-1] + b"!")
    return folder


@pytest.fixture
def client(bundles: Path, tmp_path: Path) -> Iterator[TestClient]:
    with running(make_settings(bundles / "one", tmp_path / "state")) as client:
        yield client


def bundle_id(bundles: Path, name: str) -> str:
    return read_bundle(bundles / name).manifest.id


def recommended(client: TestClient | httpx2.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/recommend", json={"history": ["1", "2"], "k": 40} | body)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_new_bundle_takes_over_with_what_was_added(client: TestClient, bundles: Path) -> None:
    """It embeds the added item itself, answers recent requests first, and names itself from then on."""
    client.put("/items/heat", json={"attributes": HEAT})
    before = recommended(client)
    swap = client.post("/admin/bundles", json={"bundle": "two"})
    after = recommended(client)

    assert swap.status_code == 200, swap.text
    assert swap.json() == {
        "bundle_id": bundle_id(bundles, "two"),
        "previous_bundle_id": bundle_id(bundles, "one"),
        "embedded_items": 1,
        "replay": {"requests": 1, "overlap_at_10": pytest.approx(overlap(before, after, 10))},
    }
    assert after["bundle_id"] == bundle_id(bundles, "two") != before["bundle_id"]
    assert "heat" in [item["id"] for item in after["items"]]
    assert before["items"] != after["items"]


def overlap(one: dict[str, Any], other: dict[str, Any], k: int) -> float:
    tops = [{item["id"] for item in answer["items"][:k]} for answer in (one, other)]
    return len(tops[0] & tops[1]) / k


def test_rollback_brings_the_same_answers_back(client: TestClient, bundles: Path) -> None:
    """Items added after the swap are there too."""
    before = recommended(client)
    client.post("/admin/bundles", json={"bundle": "two"})
    client.put("/items/heat", json={"attributes": HEAT})
    back = client.post("/admin/rollback")
    after = recommended(client)

    assert back.json()["bundle_id"] == bundle_id(bundles, "one")
    assert back.json()["embedded_items"] == 1
    assert [item for item in after["items"] if item["id"] != "heat"] == before["items"]
    assert "heat" in [item["id"] for item in after["items"]]


def test_nothing_to_roll_back_to_is_404(client: TestClient) -> None:
    """Before any swap there is no previous bundle."""
    response = client.post("/admin/rollback")

    assert (response.status_code, response.json()["code"]) == (404, "bundle_not_found")


def test_unknown_bundle_is_404_and_says_which_there_are(client: TestClient) -> None:
    """The names that could be loaded are listed, a name that leads elsewhere is refused."""
    response = client.post("/admin/bundles", json={"bundle": "four"})

    assert (response.status_code, response.json()["code"]) == (404, "bundle_not_found")
    assert "broken, one, three, two" in response.json()["detail"]
    assert client.post("/admin/bundles", json={"bundle": "../one"}).status_code == 422


def test_broken_bundle_is_refused_and_the_running_one_goes_on(client: TestClient) -> None:
    """409 says what is wrong with it."""
    before = recommended(client)
    response = client.post("/admin/bundles", json={"bundle": "broken"})

    assert (response.status_code, response.json()["code"]) == (409, "swap_refused")
    assert "items.parquet" in response.json()["detail"]
    assert recommended(client) == before


def test_same_bundle_is_refused(client: TestClient) -> None:
    """It answers already."""
    assert client.post("/admin/bundles", json={"bundle": "one"}).status_code == 409


def test_bundles_are_listed_with_their_roles(client: TestClient, bundles: Path) -> None:
    """In memory and on disk."""
    client.post("/admin/bundles", json={"bundle": "two"})
    listed = client.get("/admin/bundles").json()

    assert listed == {
        "loaded": [
            {"bundle_id": bundle_id(bundles, "two"), "name": "two", "role": "current"},
            {"bundle_id": bundle_id(bundles, "one"), "name": "one", "role": "previous"},
        ],
        "experiment": None,
        "loading": None,
        "found": ["broken", "one", "three", "two"],
    }


def test_chosen_bundle_outlives_a_restart(bundles: Path, tmp_path: Path) -> None:
    """Until the settings name another one."""
    settings = make_settings(bundles / "one", tmp_path / "state")
    with running(settings) as client:
        client.post("/admin/bundles", json={"bundle": "two"})
    with running(settings) as client:
        assert recommended(client)["bundle_id"] == bundle_id(bundles, "two")
    shutil.copytree(bundles / "one", tmp_path / "again")
    with running(make_settings(tmp_path / "again", tmp_path / "state")) as client:
        assert recommended(client)["bundle_id"] == bundle_id(bundles, "one")


def test_experiment_answers_its_share_of_the_sessions(client: TestClient, bundles: Path) -> None:
    """A session stays on its side; requests without one stay with the first bundle."""
    started = client.put("/admin/experiment", json={"bundle": "two", "share": 0.3})
    ids = [recommended(client, history=None, session_id=f"s{number}")["bundle_id"] for number in range(200)]
    again = [recommended(client, history=None, session_id=f"s{number}")["bundle_id"] for number in range(200)]

    assert started.json()["experiment"] == {"bundle_id": bundle_id(bundles, "two"), "share": 0.3}
    assert 30 <= ids.count(bundle_id(bundles, "two")) <= 90
    assert again == ids
    assert recommended(client)["bundle_id"] == bundle_id(bundles, "one")

    assert client.delete("/admin/experiment").status_code == 204
    assert recommended(client, history=None, session_id="s1")["bundle_id"] == bundle_id(bundles, "one")


def test_item_added_during_an_experiment_reaches_both_bundles(client: TestClient, bundles: Path) -> None:
    """The bundle that did not embed it does so by itself."""
    client.put("/admin/experiment", json={"bundle": "two", "share": 0.5})
    client.put("/items/heat", json={"attributes": HEAT})

    assert holds_heat(client, bundle_id(bundles, "one"))
    wait_until(lambda: holds_heat(client, bundle_id(bundles, "two")), "the experiment's bundle has the item")


def holds_heat(client: TestClient, bundle_id: str) -> bool:
    """Whether a loaded bundle recommends the item."""
    answer = recommended(client, bundle_id=bundle_id, k=100)
    assert answer["bundle_id"] == bundle_id
    return "heat" in [item["id"] for item in answer["items"]]


@pytest.mark.parametrize("other", ["one", "three"])
def test_promoted_experiment_embeds_what_other_replicas_put(bundles: Path, tmp_path: Path, other: str) -> None:
    """Another replica runs the old bundle or a third one; its items are recommended here too."""
    with RedisServer() as server:
        shared = {"redis_url": SecretStr(server.url), "redis_timeout_seconds": DEADLINE_SECONDS}
        with (
            running(make_settings(bundles / "one", tmp_path / "here", **shared)) as here,
            running(make_settings(bundles / other, tmp_path / "there", **shared)) as there,
        ):
            here.put("/admin/experiment", json={"bundle": "two", "share": 0.5})
            promoted = here.post("/admin/bundles", json={"bundle": "two"})
            put = there.put("/items/heat", json={"attributes": HEAT})

            assert put.status_code == 201, put.text
            assert promoted.json()["bundle_id"] == bundle_id(bundles, "two")
            wait_until(lambda: holds_heat(here, bundle_id(bundles, "two")), "the promoted bundle has the item")
            assert here.get("/admin/bundles").json()["experiment"] is None


def test_loaded_bundle_is_not_loaded_again(client: TestClient, bundles: Path) -> None:
    """Another share, an experiment that is ended and begun again, its promotion, the previous bundle as experiment."""
    versions = versions_of(client)
    client.put("/admin/experiment", json={"bundle": "two", "share": 0.2})
    one, two = versions.current, engine_of(versions, bundles, "two")

    shared = client.put("/admin/experiment", json={"bundle": "two", "share": 0.7}).json()
    assert shared["experiment"] == {"bundle_id": bundle_id(bundles, "two"), "share": 0.7}
    assert engine_of(versions, bundles, "two") is two

    client.delete("/admin/experiment")
    assert versions.find(bundle_id(bundles, "two")) is None
    client.put("/admin/experiment", json={"bundle": "two", "share": 0.2})
    assert engine_of(versions, bundles, "two") is two

    client.post("/admin/bundles", json={"bundle": "two"})
    assert versions.current is two
    client.put("/admin/experiment", json={"bundle": "one", "share": 0.2})
    assert versions.experiment is not None
    assert versions.experiment.engine is versions.previous is one

    client.post("/admin/bundles", json={"bundle": "one"})
    assert versions.loaded() == {"current": one, "previous": two}


def versions_of(client: TestClient) -> Versions:
    app = client.app
    assert isinstance(app, FastAPI)
    versions: Versions = app.state.runtime.versions
    return versions


def engine_of(versions: Versions, bundles: Path, name: str) -> Engine:
    engine = versions.find(bundle_id(bundles, name))
    assert engine is not None
    return engine


def test_memory_and_metrics_of_a_bundle_go_with_it_and_no_sooner(bundles: Path, tmp_path: Path) -> None:
    """A retired bundle leaves nothing behind, and takes nothing of one that was retired, promoted and serves."""
    settings = make_settings(bundles / "one", tmp_path / "state", embed_timeout_seconds=2, rank_timeout_seconds=2)
    with running(settings) as client:
        ids = {name: bundle_id(bundles, name) for name in ("one", "two", "three")}
        client.put("/admin/experiment", json={"bundle": "two", "share": 0.2})
        client.delete("/admin/experiment")
        client.put("/admin/experiment", json={"bundle": "two", "share": 0.2})
        client.post("/admin/bundles", json={"bundle": "two"})
        client.put("/admin/experiment", json={"bundle": "three", "share": 0.2})
        for each in ids.values():
            recommended(client, bundle_id=each)
        whole = {name: series_of(client, each) for name, each in ids.items()}
        retired = weakref.ref(engine_of(versions_of(client), bundles, "three").catalogue)
        client.delete("/admin/experiment")
        wait_until(lambda: not series_of(client, ids["three"]), "the retired bundle's series go")
        wait_until(lambda: retired() is None, "the retired bundle's memory is freed")

        without_role = {name for name in whole["three"] if not name.startswith("llmemb_loaded_bundles")}
        assert without_role > {"llmemb_coverage", "llmemb_pending_items", "llmemb_bundle_requests_total"}
        assert series_of(client, ids["one"]) == whole["one"] > without_role
        assert series_of(client, ids["two"]) == whole["two"] > without_role
        # Its encoder and its catalogue are open, too.
        client.put("/items/heat", json={"attributes": HEAT})
        assert holds_heat(client, ids["two"])


def series_of(client: TestClient, bundle_id: str) -> set[str]:
    """The names of the series, and their other labels, that name a bundle."""
    label = f'bundle="{bundle_id}"'
    lines = client.get("/metrics").text.splitlines()
    names = (
        line.rsplit(" ", 1)[0].replace(label, "").replace("{,", "{").replace("{}", "")
        for line in lines
        if label in line
    )
    return {name for name in names if "_created" not in name}


def test_swaps_under_load_fail_no_request_and_mix_no_bundles(bundles: Path, tmp_path: Path) -> None:
    """Each answer is wholly that of the bundle that it names."""
    with (
        serving(make_settings(bundles / "one", tmp_path / "state")) as (_, url),
        httpx2.Client(base_url=url, timeout=DEADLINE_SECONDS) as client,
    ):
        expected = {}
        for swap in ({"bundle": "two"}, None):
            answer = recommended(client)
            expected[answer["bundle_id"]] = answer
            path, body = ("/admin/bundles", swap) if swap else ("/admin/rollback", None)
            assert client.post(path, json=body).status_code == 200
        done = threading.Event()
        answers: list[dict[str, Any]] = []

        def ask() -> None:
            while not done.is_set():
                answers.append(recommended(client))

        with ThreadPoolExecutor(4) as threads:
            asking = [threads.submit(ask) for _ in range(4)]
            for _ in range(6):
                assert client.post("/admin/rollback").status_code == 200
            done.set()
            for each in asking:
                each.result()

    assert {answer["bundle_id"] for answer in answers} == expected.keys()
    for answer in answers:
        of_that_bundle = expected[answer["bundle_id"]]["items"]
        assert {item["id"] for item in answer["items"]} == {item["id"] for item in of_that_bundle}
        # Batches of other sizes sum in another order.
        np.testing.assert_allclose(
            [item["score"] for item in answer["items"]], [item["score"] for item in of_that_bundle], atol=1e-4
        )
