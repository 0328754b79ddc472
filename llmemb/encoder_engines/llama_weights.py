"""The weights of a Llama, laid out for few and large matrix products.

`h` the width, `H` heads of width `e`, of which `K` for keys and values, `m` the width between the MLP's matrices.
"""

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlamaConfig, PreTrainedModel

_ROPE_TYPES = ("default", "linear", "llama3")
"""Rotary positions that only turn, by frequencies which do not depend on the prompt's length."""
_TYPICAL_ROWS = 1024
"""For which number of rows oneDNN chooses a layout; any number can be multiplied."""


class Matrix(Protocol):
    """A weight matrix, `(out, in)`."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ W.T`, `(U, in)` -> `(U, out)`."""
        ...


@dataclass(frozen=True, slots=True)
class LlamaLayer:
    """One layer: the norms' weights and the scale of the attention are part of the matrices after them.

    Args:
        query_key_value: `((H + 2 K) * e, h)`; the halves that rotary positions turn into each other are interleaved.
        output: `(h, H * e)`.
        gate_up: `(2 * m, h)`.
        down: `(h, m)`.
    """

    query_key_value: Matrix
    output: Matrix
    gate_up: Matrix
    down: Matrix


@dataclass(frozen=True, slots=True)
class LlamaWeights:
    """All that the forward pass needs.

    Args:
        embedding: of tokens, `(V, h)`; shared with the model it was taken from.
        layers: in order.
        norm: weight of the last norm, `(h,)`.
        frequencies: of the rotary positions, radians a token, `(e / 2,)`.
        heads: H.
        key_value_heads: K.
        head_width: e.
        epsilon: of the norms.
    """

    embedding: Tensor
    layers: tuple[LlamaLayer, ...]
    norm: Tensor
    frequencies: Tensor
    heads: int
    key_value_heads: int
    head_width: int
    epsilon: float


def is_plain_llama(model: PreTrainedModel) -> bool:
    """Tell whether the forward pass of `PackedEngine` is this model's."""
    config = model.config
    return (
        type(model).__name__ == "LlamaModel"
        and isinstance(config, LlamaConfig)
        and config.hidden_act == "silu"
        and not config.attention_bias
        and not config.mlp_bias
        and (config.rope_parameters or {}).get("rope_type", "default") in _ROPE_TYPES
    )


@torch.inference_mode()
def pack_llama(model: PreTrainedModel, dtype: torch.dtype) -> LlamaWeights:
    """Lay out the weights of a model that `is_plain_llama`, on its device; the model stays as it is."""
    config = model.config
    heads, key_value_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
    head_width = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    half = head_width // 2
    # The first half of a head turns into the second: side by side, a pair is one complex number.
    pairs = torch.stack([torch.arange(half), torch.arange(half) + half], dim=1).flatten()

    def interleave(weight: Tensor) -> Tensor:
        return weight.view(-1, head_width, weight.shape[1])[:, pairs].reshape(weight.shape)

    def matrix(weight: Tensor) -> Matrix:
        return _matrix(weight.to(dtype).contiguous())

    weights = model.state_dict()

    def layer(number: int) -> LlamaLayer:
        def of(name: str) -> Tensor:
            weight: Tensor = weights[f"layers.{number}.{name}.weight"]
            return weight.float()

        query = interleave(of("self_attn.q_proj")) / math.sqrt(head_width)
        key, value = interleave(of("self_attn.k_proj")), of("self_attn.v_proj")
        gate_up = torch.cat([of("mlp.gate_proj"), of("mlp.up_proj")])
        return LlamaLayer(
            query_key_value=matrix(torch.cat([query, key, value]) * of("input_layernorm")),
            output=matrix(of("self_attn.o_proj")),
            gate_up=matrix(gate_up * of("post_attention_layernorm")),
            down=matrix(of("mlp.down_proj")),
        )

    return LlamaWeights(
        embedding=weights["embed_tokens.weight"],
        layers=tuple(layer(number) for number in range(config.num_hidden_layers)),
        norm=weights["norm.weight"].float(),
        frequencies=dict(model.named_buffers())["rotary_emb.inv_freq"].float(),
        heads=heads,
        key_value_heads=key_value_heads,
        head_width=head_width,
        epsilon=float(config.rms_norm_eps),
    )


def _matrix(weight: Tensor) -> Matrix:
    if weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available():
        return _OneDnnMatrix(weight)
    return _DenseMatrix(weight)


class _DenseMatrix:
    """For any device and type."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = weight

    def __call__(self, x: Tensor) -> Tensor:
        return functional.linear(x, self._weight)


class _OneDnnMatrix:
    """In oneDNN's own layout, as torch's compiler lays out frozen weights: a tenth quicker, for a few rows a third."""

    def __init__(self, weight: Tensor) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS)

    def __call__(self, x: Tensor) -> Tensor:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._weight, None, "none", [], "")
        return product
