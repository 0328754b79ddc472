"""An encoder that is not exact is held against the bundle before it serves."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from llmemb.bundle import read_bundle
from llmemb.errors import ConfigError
from llmemb_service.encoding.admission import require_admission
from llmemb_service.encoding.prompt_encoder import RawEmbedding
from tests.support.recommending import EncoderHere


class Blurred(EncoderHere):
    """The bundle's encoder, off by a share of each vector."""

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        noise = np.random.default_rng(0)
        return [
            RawEmbedding(raw.vector * (1 + 0.3 * noise.normal(size=len(raw.vector)).astype(np.float32)), raw.tokens)
            for raw in await super().encode(prompts)
        ]


def test_the_exact_encoder_is_admitted(full_bundle: Path) -> None:
    """Also where the queue takes one prompt at a time."""
    bundle = read_bundle(full_bundle)

    asyncio.run(require_admission(EncoderHere(bundle), bundle, "packed", max_items=64))
    asyncio.run(require_admission(EncoderHere(bundle), bundle, "packed", max_items=1))


def test_an_encoder_that_is_far_off_is_refused(full_bundle: Path) -> None:
    """The message names the setting, the engine, what was found and what to set."""
    bundle = read_bundle(full_bundle)

    with pytest.raises(ConfigError, match=r"LLMEMB_ENCODER_ENGINE: 'blurred' is not close .*cosine .* 'auto'$"):
        asyncio.run(require_admission(Blurred(bundle), bundle, "blurred", max_items=64))
