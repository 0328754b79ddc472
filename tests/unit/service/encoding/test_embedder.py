import asyncio
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from llmemb.bundle import Bundle, read_bundle
from llmemb_service.encoding.cache import MemoryCache
from llmemb_service.encoding.embedder import ItemEmbedder
from llmemb_service.observability.metrics import Metrics
from tests.support.recommending import EncoderHere
from tests.support.waiting import DEADLINE_SECONDS

Array = NDArray[np.float32]


class SlowSpace:
    """A bundle's space whose product takes until the event loop has had a turn."""

    def __init__(self, bundle: Bundle) -> None:
        self._space = bundle.space
        self.entered, self.loop_ran = threading.Event(), threading.Event()

    def semantic_vectors(self, raw: Array) -> Array:
        self.entered.set()
        assert self.loop_ran.wait(DEADLINE_SECONDS), "the event loop waits for the product"
        return self._space.semantic_vectors(raw)


def test_the_event_loop_goes_on_while_vectors_are_projected(tiny_bundle: Path) -> None:
    """numpy's threads may wait for a core that the encoder has: recommendations must not wait with them."""
    bundle = read_bundle(tiny_bundle)
    space = SlowSpace(bundle)
    embedder = ItemEmbedder(
        bundle=SimpleNamespace(manifest=bundle.manifest, prompt=bundle.prompt, space=space),
        cache=MemoryCache(10),
        encoder=EncoderHere(bundle),
        timeout_seconds=DEADLINE_SECONDS,
        metrics=Metrics(),
    )

    async def check() -> Array:
        embedding = asyncio.create_task(embedder.embed([bundle.items.attributes(0)]))
        while not embedding.done():
            await asyncio.sleep(0.01)
            if space.entered.is_set():
                space.loop_ran.set()
        return embedding.result()[0].vector

    np.testing.assert_allclose(asyncio.run(check()), bundle.semantic[0], rtol=0, atol=1e-3)
