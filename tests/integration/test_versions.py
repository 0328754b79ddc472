"""Bundles that take over while the service runs: swap, rollback, experiment, and what a restart remembers."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi.testclient import TestClient

from llmemb.bundle import read_bundle
from tests.support.service import DEADLINE_SECONDS, HEAT, make_settings, running, serving, wait_until
from tests.support.tiny import write_tiny_bundle


@pytest.fixture(scope="module")
def bundles(tiny_bundle: Path, tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundles `one` and `two` of the same items, and `broken`, one of whose files was changed."""
    folder = tmp_path_factory.mktemp("bundles")
    shutil.copytree(tiny_bundle, folder / "one")
    write_tiny_bundle(folder / "two", tiny_llm, gamma=1.5, seed=1)
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
    response = client.post("/admin/bundles", json={"bundle": "three"})

    assert (response.status_code, response.json()["code"]) == (404, "bundle_not_found")
    assert "broken, one, two" in response.json()["detail"]
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
        "found": ["broken", "one", "two"],
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


def test_item_added_during_an_experiment_reaches_both_bundles(client: TestClient) -> None:
    """The bundle that did not embed it does so by itself."""
    client.put("/admin/experiment", json={"bundle": "two", "share": 0.999})
    client.put("/items/heat", json={"attributes": HEAT})

    wait_until(
        lambda: (
            "heat" in [item["id"] for item in recommended(client, history=None, session_id="s")["items"]]
            or "heat" in [item["id"] for item in recommended(client, history=[], k=100)["items"]]
        ),
        "the experiment's bundle has the item",
    )


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
