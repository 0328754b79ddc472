"""`/v1/embeddings` and `/v1/models` by OpenAI's own client with its default settings, and by hand."""

import asyncio
import base64
import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest

from llmemb.bundle import read_bundle
from tests.support.embedding_app import EmbeddingServer, serving_embeddings
from tests.support.tiny import TINY_DIM, TINY_PROMPT, tiny_prompts
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def server(full_bundle: Path) -> Iterator[EmbeddingServer]:
    with serving_embeddings(full_bundle) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: EmbeddingServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url, api_key="not required", max_retries=0) as client:
        yield client


def post(server: EmbeddingServer, **body: Any) -> httpx2.Response:
    return httpx2.post(f"{server.url}/embeddings", json={"model": "llmemb-raw", "input": "a film"} | body, timeout=60)


def test_openai_client_gets_raw_embeddings(client: openai.OpenAI, full_bundle: Path) -> None:
    """In order, with the tokens counted; base64, for which the client asks by itself, and numbers alike."""
    texts = ["a film", "another film about a harbour", "a film"]
    encoder = read_bundle(full_bundle).load_encoder()

    answer = client.embeddings.create(model="llmemb-raw", input=texts)
    numbers = client.embeddings.create(model="llmemb-raw", input=texts, encoding_format="float")

    found = np.array([entry.embedding for entry in answer.data])
    np.testing.assert_allclose(found, encoder.encode(texts), rtol=0, atol=1e-4)
    np.testing.assert_allclose(np.array([entry.embedding for entry in numbers.data]), found, rtol=0, atol=1e-6)
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == sum(len(ids) for ids in encoder.tokenize(texts))
    assert answer.model == "llmemb-raw"


def test_openai_client_gets_adapted_embeddings(client: openai.OpenAI, full_bundle: Path) -> None:
    """An item's prompt gives the embedding of a new item: projected, and of unit length where scoring is by cosine."""
    bundle = read_bundle(full_bundle)
    expected = bundle.space.item_vectors(bundle.semantic[:3], None)

    answer = client.embeddings.create(model="llmemb-adapted", input=tiny_prompts()[:3], dimensions=TINY_DIM)

    found = np.array([entry.embedding for entry in answer.data])
    assert found.shape == (3, TINY_DIM)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def test_openai_client_sends_one_text(client: openai.OpenAI) -> None:
    """A text alone is a list of one."""
    answer = client.embeddings.create(model="llmemb-raw", input="a film")

    assert len(answer.data) == 1
    assert len(answer.data[0].embedding) == 32


def test_openai_client_lists_the_models(client: openai.OpenAI) -> None:
    """Both are there, and each is taken."""
    names = [model.id for model in client.models.list()]

    assert names == ["llmemb-raw", "llmemb-adapted"]
    for name in names:
        assert client.embeddings.create(model=name, input="a film").data


def test_openai_client_reads_one_model(client: openai.OpenAI) -> None:
    """As it stands in the list; another name is not found."""
    for model in client.models.list():
        assert client.models.retrieve(model.id) == model

    with pytest.raises(openai.NotFoundError) as refused:
        client.models.retrieve("gpt-4")
    assert refused.value.response.json()["code"] == "model_not_found"


def test_a_text_has_one_embedding(client: openai.OpenAI) -> None:
    """Alone, from the cache, among 64 others, and twice at once."""

    def embed(*texts: str) -> np.ndarray:
        answer = client.embeddings.create(model="llmemb-raw", input=list(texts))
        return np.array([entry.embedding for entry in answer.data])

    text = "one embedding for each text"
    others = [f"{'another text ' * (i % 9)}{i}" for i in range(64)]
    among = embed(*others, text)[-1:]
    cached, twice = embed(text), embed(text, text)
    with ThreadPoolExecutor(2) as callers:
        at_once = list(callers.map(lambda _: embed(f"{text} at once"), range(2)))

    np.testing.assert_array_equal(cached, among)
    np.testing.assert_array_equal(twice, np.repeat(among, 2, axis=0))
    np.testing.assert_allclose(at_once[0], at_once[1], rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 64])
def test_an_embedding_does_not_depend_on_its_batch(client: openai.OpenAI, full_bundle: Path, batch: int) -> None:
    """Up to 1e-4 it is that of the encoder alone; no text here was embedded before."""
    texts = [f"{'batch ' * (i % 9)}of {batch}, {i}" for i in range(batch)]
    encoder = read_bundle(full_bundle).load_encoder()
    expected = np.concatenate([encoder.encode([text]) for text in texts])

    answer = client.embeddings.create(model="llmemb-raw", input=texts)

    np.testing.assert_allclose([entry.embedding for entry in answer.data], expected, rtol=0, atol=1e-4)


def test_async_openai_client_gets_the_same(server: EmbeddingServer, client: openai.OpenAI) -> None:
    """With its own default settings, several requests at once."""
    texts = [f"asynchronous {i}" for i in range(4)]

    async def embed() -> list[list[float]]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0) as own:
            answers = await asyncio.gather(*[own.embeddings.create(model="llmemb-raw", input=text) for text in texts])
            return [answer.data[0].embedding for answer in answers]

    found = asyncio.run(embed())

    expected = client.embeddings.create(model="llmemb-raw", input=texts)
    np.testing.assert_allclose(found, [entry.embedding for entry in expected.data], rtol=0, atol=1e-4)


NODE = """
const [url, body] = process.argv.slice(1);
const headers = {"Content-Type": "application/json"};
const answer = await fetch(url, {method: "POST", headers, body});
console.log(await answer.text());
"""
FOREIGN_CLIENTS = {
    "curl": ["curl", "-sS", "--compressed", "-H", "Content-Type: application/json", "{url}", "-d", "{body}"],
    "node": ["node", "--input-type=module", "-e", NODE, "{url}", "{body}"],
}


@pytest.mark.parametrize("name", FOREIGN_CLIENTS)
def test_clients_of_other_languages_are_answered(server: EmbeddingServer, name: str) -> None:
    """By `curl --compressed` and by JavaScript's `fetch`, with every optional member as null."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    body = {"model": "llmemb-raw", "input": ["a film"], "encoding_format": None, "dimensions": None, "user": None}
    values = {"{url}": f"{server.url}/embeddings", "{body}": json.dumps(body)}
    command = [values.get(part, part) for part in FOREIGN_CLIENTS[name]]

    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert json.loads(done.stdout)["data"] == post(server).json()["data"]


def test_base64_is_little_endian_float32(server: EmbeddingServer) -> None:
    """As the client decodes it; members that OpenAI has and we do not are passed over; the bundle is named."""
    answer = post(server, encoding_format="base64", user="somebody").json()

    decoded = np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), dtype="<f4")
    np.testing.assert_allclose(decoded, post(server).json()["data"][0]["embedding"], rtol=0, atol=1e-6)
    assert answer["object"] == "list"
    assert answer["bundle_id"]


@pytest.mark.parametrize("number", [17, 600, 2048])
def test_openai_client_sends_a_whole_batch(client: openai.OpenAI, number: int) -> None:
    """As many texts as OpenAI takes, though the encoder's queue has room for 64 of them."""
    texts = [f"film {i % 40}" for i in range(number)]

    answer = client.embeddings.create(model="llmemb-raw", input=texts)

    found = np.array([entry.embedding for entry in answer.data])
    assert found.shape == (number, 32)
    np.testing.assert_array_equal(found, found[np.arange(number) % 40])


@pytest.mark.parametrize(
    ("body", "places"),
    [
        ({"input": ""}, [["body", "input"]]),
        ({"input": []}, [["body", "input"]]),
        ({"input": ["a", "", "b", ""]}, [["body", "input", 1], ["body", "input", 3]]),
        ({"input": "a" * 201}, [["body", "input"]]),
        ({"input": ["a"] * 2049}, [["body", "input"]]),
        ({"dimensions": 31}, [["body", "dimensions"]]),
        ({"model": "llmemb-adapted", "dimensions": 32}, [["body", "dimensions"]]),
        ({"model": "text-embedding-3-small"}, [["body", "model"]]),
        ({"encoding_format": "hex"}, [["body", "encoding_format"]]),
    ],
)
def test_what_cannot_be_embedded_is_refused_by_its_place(
    server: EmbeddingServer, body: dict[str, Any], places: list[list[str | int]]
) -> None:
    """Every fault once."""
    response = post(server, **body)

    assert response.status_code == 422
    assert response.json()["code"] == "invalid_request"
    assert [fault["loc"] for fault in response.json()["errors"]] == places


def test_other_dimensions_are_refused_with_the_reason(server: EmbeddingServer) -> None:
    """Neither model's dimensions are ordered by variance; the width itself is taken."""
    refused = post(server, dimensions=8).json()

    assert refused["errors"][0]["msg"] == (
        "embeddings of llmemb-raw have 32 dimensions, which are not ordered by variance, so they cannot be cut; "
        "send 32 or leave `dimensions` out"
    )
    assert post(server, dimensions=32).status_code == 200


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]], ["text", 7]])
def test_token_ids_are_refused_in_words(server: EmbeddingServer, tokens: Any) -> None:
    """One fault that says what to send, not one for each token."""
    response = post(server, input=tokens)

    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert fault["loc"] == ["body", "input"]
    assert "token ids are not taken" in fault["msg"]


def test_half_a_surrogate_pair_is_refused(server: EmbeddingServer) -> None:
    """JSON can hold what UTF-8 cannot."""
    response = httpx2.post(
        f"{server.url}/embeddings",
        content=b'{"model": "llmemb-raw", "input": "\\ud800"}',
        headers={"content-type": "application/json"},
    )

    assert response.status_code == 422


def test_a_client_that_goes_away_frees_its_places(server: EmbeddingServer) -> None:
    """Its texts wait no more, and the next client finds room."""
    assert server.process is not None
    assert server.process.pid is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.post(
                f"{server.url}/embeddings",
                json={"model": "llmemb-raw", "input": [f"leaves {i}" for i in range(16)]},
                timeout=0.5,
            )
        wait_until(lambda: b"llmemb_queued_items 0.0" in server.metrics.exposition(), "the places are free")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)

    assert post(server, input="comes next").status_code == 200


def test_a_full_encoder_is_told_with_retry_after(server: EmbeddingServer) -> None:
    """429 past the bound; who was there first is answered."""
    assert server.process is not None
    assert server.process.pid is not None
    codes: list[int] = []

    def ask(number: int) -> None:
        codes.append(post(server, input=[f"caller {number} text {i}" for i in range(16)]).status_code)

    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        callers = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for caller in callers:
            caller.start()
        wait_until(lambda: b"llmemb_queued_items 64.0" in server.metrics.exposition(), "the encoder is full")
        refused = post(server, input="one more")
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    for caller in callers:
        caller.join()

    assert refused.status_code == 429
    assert refused.json()["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1
    assert codes == [200] * 4


def test_a_killed_encoder_is_told_and_openai_client_tries_again(server: EmbeddingServer) -> None:
    """503 with Retry-After, which the client honours by its default settings."""
    assert server.process is not None
    assert server.process.pid is not None
    os.kill(server.process.pid, signal.SIGKILL)
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=10) as patient:
        answer = patient.embeddings.create(model="llmemb-raw", input=TINY_PROMPT.render({"title": "Back again"}))

    assert len(answer.data) == 1
