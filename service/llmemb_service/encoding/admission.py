"""Admission: whether an inexact encoder may serve. Its vectors are compared with those stored in the bundle."""

import numpy as np

from llmemb.bundle import Bundle
from llmemb.encoder.engines.admission import MIN_COSINE, MIN_OVERLAP, agreement
from llmemb.errors import ConfigError
from llmemb.index import spread_rows
from llmemb.scoring.item_space import join
from llmemb_service.encoding.prompt_encoder import PromptEncoder

SAMPLE_ITEMS = 200
PROMPTS_PER_REQUEST = 16
"""Small enough for any queue that is configured for requests of several items."""


async def require_admission(encoder: PromptEncoder, bundle: Bundle, engine: str, max_items: int) -> None:
    """Embed an evenly spaced sample of the catalogue, and compare it with the stored semantic vectors.

    Args:
        encoder: must have started.
        bundle: of the encoder.
        engine: named in the error.
        max_items: size of the encoder's queue.

    Raises:
        ConfigError: a vector differs too much from the stored one, or too many neighbours differ.
        RetryLaterError: the encoder cannot answer.
    """
    rows = spread_rows(len(bundle.items.ids), SAMPLE_ITEMS)
    prompts = [bundle.prompt.render(bundle.items.attributes(int(row))) for row in rows]
    size = min(PROMPTS_PER_REQUEST, max_items)
    embeddings = [e for i in range(0, len(rows), size) for e in await encoder.encode(prompts[i : i + size])]
    computed = bundle.space.semantic_vectors(np.stack([embedding.vector for embedding in embeddings]))
    stored = join(bundle.semantic[rows], None if bundle.profile is None else bundle.profile[rows])
    found = agreement(computed, stored)
    if not found.admitted:
        raise ConfigError(
            f"LLMEMB_ENCODER_ENGINE: {engine!r} is not close enough to this bundle's vectors: {found.describe()}; at "
            f"least {MIN_COSINE} and {MIN_OVERLAP} are required. Set it to 'auto'"
        )
