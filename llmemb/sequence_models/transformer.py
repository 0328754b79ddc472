"""The transformer block that SASRec and BERT4Rec share."""

import math

from torch import Tensor, nn
from torch.nn import functional

from llmemb.sequence_models.sequence_model import last_present


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward, each with a residual and dropout.

    Args:
        dim: width, d.
        heads: attention heads; divides `dim`.
        feed_forward: width of the feed-forward layer.
        dropout: share dropped of what each branch adds. Attention weights are kept whole: dropping them rules the
            fused kernels out, at several times the cost.
        causal: whether a position sees only itself and what comes before it.

    Source: Vaswani et al. 2017; pre-norm: Xiong et al. 2020, arXiv 2002.04745.
    """

    def __init__(self, dim: int, heads: int, feed_forward: int, dropout: float, *, causal: bool) -> None:
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attention_output = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, feed_forward),
            nn.GELU(),
            nn.Linear(feed_forward, dim),
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, present: Tensor) -> Tensor:
        """Map `(B, L, d)` to `(B, L, d)`; positions where `present` `(B, L)` is false are not attended to."""
        x = x + self.dropout(self._attend(self.attention_norm(x), present))
        out: Tensor = x + self.dropout(self.feed_forward(x))
        return out

    def last(self, x: Tensor, present: Tensor) -> Tensor:
        """Return what `forward` gives at the last present position of each row, `(B, d)`, without the others.

        With one query a row, its key's and value's weights are applied to the query and to the weighted mean of the
        positions, not to each position: the block costs next to nothing. `H` heads of width e.
        """
        B, _, d = x.shape
        e = d // self.heads
        normed = self.attention_norm(x)
        weight, bias = self.query_key_value.weight, self.query_key_value.bias
        query = functional.linear(last_present(normed, present), weight[:d], bias[:d])
        key_weight, value_weight = weight[d : 2 * d].view(self.heads, e, d), weight[2 * d :].view(self.heads, e, d)
        # The key's bias adds the same to every score of a row, which the softmax takes away again.
        wanted = (query.view(B, self.heads, e).transpose(0, 1) @ key_weight).transpose(0, 1)  # (B, H, d)
        scores = wanted @ normed.transpose(1, 2) / math.sqrt(e)  # (B, H, L)
        # Nothing present stands after the last present position, so a causal block sees the same.
        attention = scores.masked_fill(~present[:, None], -math.inf).softmax(dim=-1)
        mixed = (attention @ normed).transpose(0, 1)  # (H, B, d)
        attended = (mixed @ value_weight.transpose(1, 2)).transpose(0, 1).reshape(B, d) + bias[2 * d :]
        end = last_present(x, present) + self.dropout(self.attention_output(attended))
        out: Tensor = end + self.dropout(self.feed_forward(end))
        return out

    def _attend(self, x: Tensor, present: Tensor) -> Tensor:
        B, L, d = x.shape
        qkv = self.query_key_value(x).view(B, L, 3, self.heads, d // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, L, d / heads)
        attended = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            # The padding stands on the right, where a causal position never looks.
            attn_mask=None if self.causal else present[:, None, None, :],
            is_causal=self.causal,
        )
        out: Tensor = self.attention_output(attended.transpose(1, 2).reshape(B, L, d))
        return out


class PositionEmbedding(nn.Module):
    """A learned vector for each position, added to the items; the sum is normalised."""

    def __init__(self, max_length: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Embedding(max_length, dim)
        # As small as the items' vectors are at first, which it would drown otherwise.
        nn.init.normal_(self.positions.weight, std=0.02)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, items: Tensor, positions: Tensor | None = None) -> Tensor:
        """Map `(B, L, d)` to `(B, L, d)`.

        Args:
            items: `(B, L, d)`.
            positions: the number of each item's position, `(B, L)`; None counts from the first.
        """
        vectors = self.positions.weight[: items.shape[1]] if positions is None else self.positions(positions)
        out: Tensor = self.dropout(self.norm(items + vectors))
        return out
