"""The attention of the packed engine: over the prompts of a token tree, each of which sees its own nodes.

`U` nodes of the tree, `H` heads of width `e`, of which `K` for keys and values, each of them for `R = H / K` of the
queries; `P` tokens of the beginning that most prompts share; `G` prompts of like length, of at most `T` tokens.
"""

import torch
from torch import Tensor
from torch.nn import functional

from llmemb.encoder.engines.llama_weights import LlamaWeights
from llmemb.encoder.engines.token_tree import AttentionGroup, TokenTree


class PackedAttention:
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
        self._groups = [_Group(group, num_before, weights, device) for group in tree.groups]

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
        shared = query.reshape(len(query) * self._key_value_heads, -1)  # (U * K, R * e): what sees the same keys
        keys_values = keys_values.view(-1, self._width)  # ((P + U) * 2 * K, e)
        for group in self._groups:
            queries = shared.index_select(0, group.queries).view(-1, len(group.mask), self._width)
            keys, values = keys_values.index_select(0, group.seen).view(2, len(queries), -1, self._width)
            attended = _attended(queries, keys, values, group.mask)
            attended = attended.reshape(-1, shared.shape[1]).index_select(0, group.sources)
            output.index_copy_(0, group.targets, attended.view(-1, output.shape[1]))
        return output


def _attended(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    """Return `(G * K, T * R, e)` of queries so shaped, keys and values `(G * K, P + T, e)` and an added mask.

    The scale of the scores stands in the queries' matrix.
    """
    mask = mask.to(queries.dtype)
    if queries.device.type == "cpu" and queries.dtype == torch.bfloat16:
        # By oneDNN: half the time of torch's fused attention, whose products of bfloat16 are slow.
        return torch.bmm(torch.baddbmm(mask, queries, keys.mT).softmax(dim=-1), values)
    attended = functional.scaled_dot_product_attention(
        queries[None], keys[None], values[None], attn_mask=mask, scale=1.0
    )
    return attended[0]


class _Group:
    """An `AttentionGroup` as the layers need it: rows to take, and from where, so that heads lie as they are used.

    Args:
        group: of the tree.
        num_before: P.
        weights: for the heads.
        device: where the states are.
    """

    def __init__(self, group: AttentionGroup, num_before: int, weights: LlamaWeights, device: torch.device) -> None:
        nodes = torch.from_numpy(group.nodes).to(device)  # (G, T)
        size, length = nodes.shape
        number = weights.key_value_heads
        heads = torch.arange(number, device=device)
        before = torch.arange(num_before, device=device).expand(size, num_before)
        seen = torch.cat([before, nodes + num_before], dim=1)  # (G, P + T)
        key_or_value = torch.tensor([0, number], device=device).view(2, 1, 1, 1)
        self.queries = (nodes[:, None] * number + heads[:, None]).flatten()  # (G, K, T)
        self.seen = (seen[:, None] * 2 * number + heads[:, None] + key_or_value).flatten()  # (2, G, K, P + T)
        sources = torch.from_numpy(group.sources).to(device)[:, None]
        prompts, tokens = sources // length, sources % length
        self.sources = ((prompts * number + heads) * length + tokens).flatten()  # (targets, K)
        self.targets = torch.from_numpy(group.targets).to(device)
        minus_infinity = torch.full((length, num_before + length), float("-inf"), device=device)
        # Added where a token would see a later one; the R queries of a token lie side by side, (T * R, P + T).
        self.mask = minus_infinity.triu(num_before + 1).repeat_interleave(weights.heads // number, dim=0)
