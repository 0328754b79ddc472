"""The interface of encoders: an LLM in a worker process, or a remote server. `h` is the LLM's width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RawEmbedding:
    """The LLM's vector for a prompt, `(h,)`, and the number of tokens it read."""

    vector: Array
    tokens: int


class PromptEncoder(Protocol):
    """Embeds prompts. Its methods run on the event loop."""

    async def started(self) -> None:
        """Wait until the encoder has started.

        Raises:
            EncoderError: the LLM cannot be loaded.
        """
        ...

    async def encode(self, prompts: Sequence[str]) -> list[RawEmbedding]:
        """Embed prompts, in order; if the caller is cancelled, prompts that are in no batch yet are dropped.

        Raises:
            OverloadedError: the queue has no room for all of them.
            EncoderUnavailableError: the encoder is not running.
        """
        ...

    async def fault(self) -> str | None:
        """Return why the encoder does not work, None if it works."""
        ...

    async def close(self) -> None:
        """Fail waiting requests and release the encoder's resources."""
        ...
