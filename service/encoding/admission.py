"""Whether an encoder that is not exact may serve: its vectors are held against those that the bundle stores."""

import numpy as np

from llmemb.bundle import Bundle
from llmemb.encoder.engines.admission import LEAST_COSINE, LEAST_OVERLAP, agreement
from llmemb.errors import ConfigError
from llmemb.scoring.item_space import join
from service.encoding.prompt_encoder import PromptEncoder

SAMPLE_ITEMS = 200
PROMPTS_A_REQUEST = 16
"""Few enough for any queue that can be set up for requests of several items."""


async def require_admission(encoder: PromptEncoder, bundle: Bundle, engine: str, max_items: int) -> None:
    """Embed a sample of the catalogue, spread evenly over it, and compare with the stored semantic vectors.

    Args:
        encoder: has started.
        bundle: of the encoder.
        engine: named in the error.
        max_items: that may wait for the encoder.

    Raises:
        ConfigError: a vector is too far from the stored one, or too many neighbours are others.
        RetryLaterError: the encoder cannot answer.
    """
    number = min(SAMPLE_ITEMS, len(bundle.items.ids))
    rows = np.linspace(0, len(bundle.items.ids) - 1, number).astype(np.int64)
    prompts = [bundle.prompt.render(bundle.items.attributes(int(row))) for row in rows]
    size = min(PROMPTS_A_REQUEST, max_items)
    embeddings = [e for i in range(0, number, size) for e in await encoder.encode(prompts[i : i + size])]
    given = bundle.space.semantic_vectors(np.stack([embedding.vector for embedding in embeddings]))
    stored = join(bundle.semantic[rows], None if bundle.profile is None else bundle.profile[rows])
    found = agreement(given, stored)
    if not found.admitted:
        raise ConfigError(
            f"LLMEMB_ENCODER_ENGINE: {engine!r} is not near enough to this bundle's vectors: {found.describe()}; at "
            f"least {LEAST_COSINE} and {LEAST_OVERLAP} are asked for. Set it to 'auto'"
        )
