"""The engine for Llamas: a lean forward pass over the token tree of a batch, without padding and without repetition.

Exact by causality: what is left out is computed elsewhere. `U` nodes of the tree, `h` the width, `H` heads of width
`e`, of which `K` for keys and values, `P` tokens of the beginning that most prompts share.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from llmemb.encoder_engines.engine import Pooling, TokenIds
from llmemb.encoder_engines.llama_weights import LlamaWeights, pack_llama
from llmemb.encoder_engines.token_tree import AttentionGroup, TokenTree, build_tree, tree_batches


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
        dtype: of the matrices and states; norms and pooling are float32.
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
        attention = _Attention(weights, tree, len(beginning.ids), self._device)
        states = weights.embedding[torch.from_numpy(tree.tokens).to(self._device)].to(self._dtype)  # (U, h)
        every_keys_values = []
        for layer, before in zip(weights.layers, beginning.keys_values, strict=True):
            query, keys_values = attention.split(layer.query_key_value(self._normed(states)))
            every_keys_values.append(keys_values)
            states += layer.output(attention.attend(query, torch.cat([before, keys_values])))
            gate, up = layer.gate_up(self._normed(states)).chunk(2, dim=1)
            states += layer.down(functional.silu(gate).mul_(up))
        return self._normed(states).float() * weights.norm, tuple(every_keys_values)

    def _normed(self, states: Tensor) -> Tensor:
        """Scale each state to a mean square of one; the norm's weights stand in the matrix that comes next."""
        square = torch.linalg.vector_norm(states, dim=1, keepdim=True, dtype=torch.float32).square_()
        normed: Tensor = states * square.div_(states.shape[1]).add_(self._weights.epsilon).rsqrt_().to(self._dtype)
        return normed

    def _pool(self, hidden: Tensor, tree: TokenTree, beginning: _Beginning) -> Tensor:
        ends = np.cumsum(tree.lengths)
        if self._pooling == "last":
            return hidden[torch.from_numpy(tree.prompts[ends - 1]).to(self._device)]
        nodes = torch.from_numpy(tree.prompts).to(self._device)
        lengths = torch.from_numpy(tree.lengths).to(self._device)
        total = torch.segment_reduce(hidden[nodes], "sum", lengths=lengths) + beginning.total
        return total / (lengths + len(beginning.ids))[:, None]


class _Attention:
    """The attention of one batch: what all layers share of it.

    Args:
        weights: for the shapes and the rotary positions.
        tree: of the batch.
        num_before: P, tokens of the beginning; they stand before the nodes in every layer's keys and values.
        device: where the states are.
    """

    def __init__(self, weights: LlamaWeights, tree: TokenTree, num_before: int, device: torch.device) -> None:
        self._heads, self._key_value_heads = weights.heads, weights.key_value_heads
        self._width = weights.head_width
        positions = torch.from_numpy(tree.positions).to(device)
        angles = positions[:, None].float() * weights.frequencies  # (U, e / 2)
        self._rotation = torch.polar(torch.ones_like(angles), angles)[:, None]
        self._groups = [_Group(group, num_before, device) for group in tree.groups]

    def split(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """Rotate queries and keys; `(U, (H + 2 K) * e)` -> queries `(U, H * e)`, keys and values `(U, 2 * K * e)`."""
        num_rotated = self._heads + self._key_value_heads
        heads = projected.view(len(projected), -1, self._width)
        rotated = torch.view_as_complex(heads[:, :num_rotated].float().unflatten(-1, (-1, 2))) * self._rotation
        heads[:, :num_rotated] = torch.view_as_real(rotated).flatten(-2)
        width = self._heads * self._width
        return projected[:, :width], projected[:, width:]

    def attend(self, query: Tensor, keys_values: Tensor) -> Tensor:
        """Return the heads' outputs, `(U, H * e)`; keys and values begin with those of the beginning."""
        output = torch.empty(query.shape, dtype=query.dtype, device=query.device)
        for group in self._groups:
            queries = query[group.nodes].unflatten(-1, (self._heads, -1))  # (G, T, H, e)
            both = keys_values[group.seen].unflatten(-1, (2, self._key_value_heads, -1))  # (G, P + T, 2, K, e)
            attended = functional.scaled_dot_product_attention(
                queries.transpose(1, 2),
                both[:, :, 0].transpose(1, 2),
                both[:, :, 1].transpose(1, 2),
                attn_mask=group.mask.to(query.dtype),
                scale=1.0,  # it stands in the queries' matrix
                enable_gqa=True,
            )
            output[group.targets] = attended.transpose(1, 2).flatten(2).flatten(0, 1)[group.sources]
        return output


class _Group:
    """An `AttentionGroup` as the layers need it."""

    def __init__(self, group: AttentionGroup, num_before: int, device: torch.device) -> None:
        self.nodes = torch.from_numpy(group.nodes).to(device)  # (G, T)
        before = torch.arange(num_before, device=device).expand(len(group.nodes), num_before)
        self.seen = torch.cat([before, self.nodes + num_before], dim=1)  # (G, P + T)
        self.sources = torch.from_numpy(group.sources).to(device)
        self.targets = torch.from_numpy(group.targets).to(device)
        length = group.nodes.shape[1]
        minus_infinity = torch.full((length, num_before + length), float("-inf"), device=device)
        self.mask = minus_infinity.triu(num_before + 1)  # (T, P + T): added where a token would see a later one
