"""The engine for any architecture: transformers' own forward pass, over batches padded to their longest prompt.

`B` prompts of a batch, `T` tokens, `h` the LLM's width.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel

from llmemb.encoder.engines.engine import Pooling, TokenIds


class PaddedEngine:
    """The reference of all engines. Padding stands on the right, so that no token of a causal LLM sees it.

    Args:
        model: the LLM without its head, in evaluation mode; used as it is.
        pooling: see `Encoder`.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling) -> None:
        self._model = model
        self._pooling = pooling

    def batches(self, token_ids: Sequence[TokenIds], batch_tokens: int) -> Iterator[list[int]]:
        """See `Engine`; padding counts."""
        return batches_by_tokens([len(ids) for ids in token_ids], batch_tokens)

    @torch.inference_mode()
    def embed(self, token_ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        """See `Engine`."""
        lengths = torch.tensor([len(ids) for ids in token_ids])
        tokens = torch.zeros((len(token_ids), int(lengths.max())), dtype=torch.int64)  # (B, T)
        for row, ids in enumerate(token_ids):
            tokens[row, : len(ids)] = torch.tensor(ids)
        device = self._model.device
        present = (torch.arange(tokens.shape[1]) < lengths[:, None]).to(device)  # (B, T)
        hidden = self._model(
            input_ids=tokens.to(device), attention_mask=present, use_cache=False
        ).last_hidden_state  # (B, T, h)
        return pool(hidden, present, self._pooling).float().cpu().numpy()

    def expect(self, beginning: TokenIds) -> None:
        """See `Engine`; nothing is kept."""


def pool(hidden: Tensor, present: Tensor, pooling: Pooling) -> Tensor:
    """Pool the last hidden state `(B, T, h)` over the present tokens `(B, T)` into `(B, h)`, in float32."""
    if pooling == "last":
        last = present.sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
    if pooling == "cls":
        return hidden[:, 0].float()
    weights = present.unsqueeze(-1).float()
    return (hidden.float() * weights).sum(dim=1) / weights.sum(dim=1)


def batches_by_tokens(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Yield indices in batches, the longest first, of at most `batch_tokens` tokens, padding included."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size
