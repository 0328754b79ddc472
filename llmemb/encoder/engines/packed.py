"""The engine for Llamas: a lean forward pass over the token tree of a batch, without padding and without repetition.

Exact by causality: what is left out is computed elsewhere. `U` nodes of the tree, `h` the width, `K` heads of width `e`
for keys and values, `P` tokens of the beginning that most prompts share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from llmemb.encoder.engines.attention import PackedAttention
from llmemb.encoder.engines.engine import Pooling, TokenIds
from llmemb.encoder.engines.llama_weights import pack_llama
from llmemb.encoder.engines.token_tree import TokenTree, build_tree, tree_batches


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What does not depend on how a prompt goes on.

    Args:
        ids: its tokens, P of them.
        keys_values: of each layer, `(P, 2 * K * e)`.
        total: sum of the last hidden states, float32 `(h,)`.
    """

    ids: tuple[int, ...]
    keys_values: tuple[Tensor, ...]
    total: Tensor


class PackedEngine:
    """See the module.

    Args:
        model: a Llama that `is_plain_llama`; its matrices are copied into another layout.
        pooling: see `Encoder`.
        dtype: of what is multiplied; what is summed, the states, the norms and the pooling, is float32.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling, dtype: torch.dtype = torch.float32) -> None:
        self._weights = pack_llama(model, dtype)
        self._pooling = pooling
        self._dtype = dtype
        self._device = model.device
        self._none = _Beginning((), tuple(self._empty() for _ in self._weights.layers), torch.zeros(()))
        self._beginning = self._none

    def batches(self, token_ids: Sequence[TokenIds], batch_tokens: int) -> Iterator[list[int]]:
        """See `Engine`; a token counts once for all prompts of the batch that have the same before it."""
        usual = [i for i, ids in enumerate(token_ids) if self._begins(ids)]
        others = sorted(set(range(len(token_ids))) - set(usual))
        skip = len(self._beginning.ids)
        for places, skipped in ((usual, skip), (others, 0)):
            for batch in tree_batches([token_ids[i][skipped:] for i in places], batch_tokens):
                yield [places[i] for i in batch]

    @torch.inference_mode()
    def embed(self, token_ids: Sequence[TokenIds]) -> NDArray[np.float32]:
        """See `Engine`."""
        beginning = self._beginning if all(map(self._begins, token_ids)) else self._none
        tree = build_tree(token_ids, len(beginning.ids))
        hidden, _ = self._forward(tree, beginning)
        return self._pool(hidden, tree, beginning).cpu().numpy()

    @torch.inference_mode()
    def expect(self, beginning: TokenIds) -> None:
        """See `Engine`; the states of these tokens are kept."""
        self._beginning = self._none
        if beginning:
            hidden, keys_values = self._forward(build_tree([beginning]), self._none)
            self._beginning = _Beginning(tuple(beginning), keys_values, hidden.sum(dim=0))

    def _begins(self, ids: TokenIds) -> bool:
        beginning = self._beginning.ids
        return len(ids) > len(beginning) and tuple(ids[: len(beginning)]) == beginning

    def _empty(self) -> Tensor:
        width = 2 * self._weights.key_value_heads * self._weights.head_width
        return torch.empty((0, width), dtype=self._dtype, device=self._device)

    def _forward(self, tree: TokenTree, beginning: _Beginning) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the last hidden states in float32, `(U, h)`, and the keys and values of each layer."""
        weights = self._weights
        attention = PackedAttention(weights, tree, len(beginning.ids), self._device)
        states = weights.embedding[torch.from_numpy(tree.tokens).to(self._device)].float()  # (U, h)
        every_keys_values = []
        for layer, before in zip(weights.layers, beginning.keys_values, strict=True):
            normed = self._normed(states).to(self._dtype)
            query, keys_values = attention.split(layer.query_key_value(normed))
            every_keys_values.append(keys_values)
            states += layer.output(attention.attend(query, torch.cat([before, keys_values])))
            normed = self._normed(states).to(self._dtype)
            states += layer.down(functional.silu(layer.gate(normed), inplace=True).mul_(layer.up(normed)))
        return self._normed(states) * weights.norm, tuple(every_keys_values)

    def _normed(self, states: Tensor) -> Tensor:
        """Scale each state to a mean square of one; the norm's weights stand in the matrix that comes next."""
        square = torch.linalg.vector_norm(states, dim=1, keepdim=True).square_()
        normed: Tensor = states * square.div_(states.shape[1]).add_(self._weights.epsilon).rsqrt_()
        return normed

    def _pool(self, hidden: Tensor, tree: TokenTree, beginning: _Beginning) -> Tensor:
        ends = np.cumsum(tree.lengths)
        if self._pooling == "last":
            return hidden[torch.from_numpy(tree.prompts[ends - 1]).to(self._device)]
        nodes = torch.from_numpy(tree.prompts).to(self._device)
        lengths = torch.from_numpy(tree.lengths).to(self._device)
        total = torch.segment_reduce(hidden[nodes], "sum", lengths=lengths) + beginning.total
        return total / (lengths + len(beginning.ids))[:, None]
