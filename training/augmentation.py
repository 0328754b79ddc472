"""Two attribute-level views of an item."""

import math
from collections.abc import Sequence

import numpy as np


def draw_view(names: Sequence[str], drop_share: float, generator: np.random.Generator) -> list[str]:
    """Shuffle an item's attributes and drop `floor(drop_share * n)` of them; at least one stays.

    Source: LLMEmb, "Supervised contrastive fine-tuning", attribute-level data augmentation.
    """
    kept = max(1, len(names) - math.floor(drop_share * len(names)))
    return [names[i] for i in generator.permutation(len(names))[:kept]]
