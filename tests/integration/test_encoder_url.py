"""The LLM's work sent to another of our services."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llmemb.bundle import read_bundle
from llmemb.errors import ConfigError
from llmemb.scoring.item_space import join
from llmemb_service.encoding.cache import MemoryCache
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.encoding.open import open_prompt_encoder
from llmemb_service.encoding.remote import RemoteEncoder
from llmemb_service.errors import EncoderUnavailableError
from llmemb_service.observability.metrics import Metrics
from llmemb_service.settings import Settings
from tests.support.embedding_app import EmbeddingServer, serving_embeddings
from tests.support.foreign_server import foreign_server


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[EmbeddingServer]:
    with serving_embeddings(tiny_bundle) as server:
        yield server


def make_settings(server: EmbeddingServer, bundle: Path, **overrides: Any) -> Settings:
    return Settings(bundle=bundle, **({"encoder_url": server.url} | overrides))


def test_another_service_gives_the_stored_semantic_vectors(server: EmbeddingServer, full_bundle: Path) -> None:
    """The check passes, and items come out as the trainer made them."""
    bundle = read_bundle(full_bundle)
    stored = join(bundle.semantic, bundle.profile)[:12]

    async def check() -> np.ndarray:
        encoder = await open_prompt_encoder(make_settings(server, full_bundle), bundle, Metrics())
        assert isinstance(encoder, RemoteEncoder)
        embedder = ItemEmbedder(
            bundle=bundle, cache=MemoryCache(100), encoder=encoder, timeout_seconds=60, metrics=Metrics()
        )
        found = await embedder.embed([bundle.items.attributes(row) for row in range(12)])
        assert await encoder.fault() is None
        await encoder.close()
        return np.stack([each.vector for each in found])

    vectors = asyncio.run(check())
    cosines = (vectors * stored).sum(1) / np.linalg.norm(vectors, axis=1) / np.linalg.norm(stored, axis=1)
    assert cosines.min() >= 0.9999


def test_a_server_of_another_width_is_refused(server: EmbeddingServer, tiny_bundle: Path) -> None:
    """The start says which width is wrong."""
    settings = make_settings(server, tiny_bundle, encoder_model="llmemb-adapted")

    with pytest.raises(ConfigError, match=r"LLMEMB_ENCODER_URL.* width 16, .* gives 32"):
        asyncio.run(open_prompt_encoder(settings, read_bundle(tiny_bundle), Metrics()))


def test_a_server_of_another_model_is_refused(server: EmbeddingServer, tiny_bundle: Path) -> None:
    """The width is right, the vectors are not: the start says how far they are apart."""
    bundle = read_bundle(tiny_bundle)
    other = replace(bundle, semantic=np.ascontiguousarray(bundle.semantic[::-1]))

    with pytest.raises(ConfigError, match=r"LLMEMB_ENCODER_URL.*cosine -?0\.\d+"):
        asyncio.run(open_prompt_encoder(make_settings(server, tiny_bundle), other, Metrics()))


@pytest.mark.parametrize("scale", [None, 1.1, 0.5])
def test_a_server_that_scales_its_vectors_is_refused(tiny_bundle: Path, scale: float | None) -> None:
    """To unit length (None), or by a factor that the cosine alone would let pass; the start names the scaling."""
    bundle = read_bundle(tiny_bundle)
    raw = bundle.load_encoder().encode([bundle.prompt.render(bundle.items.attributes(row)) for row in range(8)])
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    sent = raw / lengths if scale is None else raw * scale
    with foreign_server() as foreign:
        data = [{"index": i, "embedding": vector} for i, vector in enumerate(sent.tolist())]
        foreign.content = json.dumps({"data": data}).encode()
        settings = Settings(bundle=tiny_bundle, encoder_url=foreign.url)
        with pytest.raises(ConfigError) as refused:
            asyncio.run(open_prompt_encoder(settings, bundle, Metrics()))

    length = f"length {np.linalg.norm(sent[0]):.4g} instead of {lengths[0, 0]:.4g}"
    assert "LLMEMB_ENCODER_URL: the server's 'llmemb-raw' scales its vectors: item '1' gets one of" in str(
        refused.value
    )
    assert length in str(refused.value)


def test_a_server_that_is_not_there_is_told(server: EmbeddingServer, tiny_bundle: Path) -> None:
    """The start fails with what is missing."""
    settings = make_settings(server, tiny_bundle, encoder_url="http://127.0.0.1:9/v1")

    with pytest.raises(EncoderUnavailableError, match="does not answer"):
        asyncio.run(open_prompt_encoder(settings, read_bundle(tiny_bundle), Metrics()))
