"""The interface of engines, which run the encoder's LLM and its pooling."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Pooling = Literal["mean", "last", "cls"]
EngineName = Literal["auto", "packed", "packed-bfloat16", "transformers"]
"""`auto`: packed if it supports the architecture, otherwise transformers. Both are exact; bfloat16 is not."""
EXACT_ENGINES: frozenset[EngineName] = frozenset({"auto", "packed", "transformers"})
TokenIds = Sequence[int]
"""The tokens of one prompt, end token included."""


class Engine(Protocol):
    """Token ids -> raw embeddings. The result equals that of `transformers` within the engine's stated bound."""

    def batches(self, token_ids: Sequence[TokenIds], batch_tokens: int) -> Iterator[list[int]]:
        """Yield the indices of the prompts in batches of at most `batch_tokens` tokens, as this engine counts them.

        A longer prompt gets its own batch. The same prompts give the same batches.
        """
        ...

    def embed(self, token_ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return the raw embeddings of one batch, `(B, h)`, in its order."""
        ...

    def expect(self, beginning: TokenIds) -> None:
        """Prepare for prompts that begin with these tokens; results that depend only on these may be cached."""
        ...
