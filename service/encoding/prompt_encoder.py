"""What embeds prompts: an LLM in a process of our own, or a server that somebody else runs. `h` the LLM's width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawEmbedding:
    """What the LLM gives for a prompt, `(h,)`, and the tokens it read."""

    vector: Array
    tokens: int


class PromptEncoder(Protocol):
    """See the module. Its methods run on the event loop."""

    async def started(self) -> None:
        """Wait until it embeds for the first time.

        Raises:
            EncoderError: it never will.
        """
        ...

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """Embed prompts, in their order; when the caller is cancelled, what has not begun is dropped.

        Raises:
            OverloadedError: there is no room for all of them.
            EncoderUnavailableError: the encoder does not run now.
        """
        ...

    async def fault(self) -> str | None:
        """Say why it does not work now, None where it does."""
        ...

    async def close(self) -> None:
        """Fail what waits and give back what it holds."""
        ...
