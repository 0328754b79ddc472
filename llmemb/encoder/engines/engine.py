"""What an engine is: the encoder's LLM and its pooling, made ready to run."""

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Pooling = Literal["mean", "last", "cls"]
EngineName = Literal["auto", "packed", "packed-bfloat16", "transformers"]
"""`auto`: packed where it knows the architecture, else transformers. Both are exact; bfloat16 is not."""
EXACT_ENGINES: frozenset[EngineName] = frozenset({"auto", "packed", "transformers"})
TokenIds = Sequence[int]
"""The tokens of one prompt, end token included."""


class Engine(Protocol):
    """Token ids -> raw embeddings; every engine gives what `transformers` gives, each within its stated bound."""

    def batches(self, token_ids: Sequence[TokenIds], batch_tokens: int) -> Iterator[list[int]]:
        """Yield the places of the prompts in batches of at most `batch_tokens` tokens, as this engine counts them.

        A single longer prompt goes alone. The same prompts make the same batches.
        """
        ...

    def embed(self, token_ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        """Return the raw embeddings of one batch, `(B, h)`, in its order."""
        ...

    def expect(self, beginning: TokenIds) -> None:
        """Say with which tokens most prompts begin, from now on; what depends on these alone may be kept."""
        ...
