"""The weights of a Llama, laid out for few and large matrix products.

`h` the width, `H` heads of width `e`, of which `K` for keys and values, `m` the width between the MLP's matrices.
"""

import math
import platform
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
    """A weight matrix, `(out, in)`, float32 or bfloat16."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x @ W.T`, `(U, in)` -> `(U, out)`, all of the weights' type."""
        ...


@dataclass(frozen=True, slots=True)
class LlamaLayer:
    """One layer: the norms' weights and the scale of the attention are part of the matrices after them.

    Args:
        query_key_value: `((H + 2 K) * e, h)`; the halves that rotary positions turn into each other are interleaved.
        output: `(h, H * e)`.
        gate: `(m, h)`.
        up: `(m, h)`.
        down: `(h, m)`.
    """

    query_key_value: Matrix
    output: Matrix
    gate: Matrix
    up: Matrix
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
        # transformers lets every token see the later ones where a configuration says so.
        and getattr(config, "is_causal", True)
        and (config.rope_parameters or {}).get("rope_type", "default") in _ROPE_TYPES
    )


def multiplies_bfloat16(device: torch.device) -> bool:
    """Tell whether products of bfloat16 are quicker than those of float32 there; GPUs are taken to have them.

    On x86, oneDNN takes any processor with AVX-512; without the instructions for bfloat16 it converts, which is slow.
    """
    if device.type != "cpu":
        return True
    if platform.machine().lower() in ("x86_64", "amd64"):
        return bool(torch.cpu._is_avx512_bf16_supported())
    return _onednn_has_bfloat16()


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
        before_mlp = of("post_attention_layernorm")
        return LlamaLayer(
            query_key_value=matrix(torch.cat([query, key, value]) * of("input_layernorm")),
            output=matrix(of("self_attn.o_proj")),
            gate=matrix(of("mlp.gate_proj") * before_mlp),
            up=matrix(of("mlp.up_proj") * before_mlp),
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
    by_onednn = weight.device.type == "cpu" and torch.backends.mkldnn.is_available()
    if by_onednn and (weight.dtype == torch.float32 or _onednn_has_bfloat16()):
        return _OneDnnMatrix(weight)
    return _DenseMatrix(weight)


def _onednn_has_bfloat16() -> bool:
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


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
