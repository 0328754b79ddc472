"""The engines by name."""

import logging
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from transformers import PreTrainedModel

from llmemb.encoder.engines.engine import Engine, EngineName, Pooling
from llmemb.encoder.engines.llama_weights import is_plain_llama, multiplies_bfloat16
from llmemb.encoder.engines.packed import PackedEngine
from llmemb.encoder.engines.padded import PaddedEngine
from llmemb.errors import EncoderError

logger = logging.getLogger(__name__)


def _packed(model: PreTrainedModel, pooling: Pooling) -> Engine:
    return PackedEngine(_known(model, pooling), pooling)


def _packed_bfloat16(model: PreTrainedModel, pooling: Pooling) -> Engine:
    if not multiplies_bfloat16(_known(model, pooling).device):
        logger.warning("packed-bfloat16: this processor has no instructions for bfloat16, 'packed' is quicker on it")
    return PackedEngine(model, pooling, torch.bfloat16)


def _auto(model: PreTrainedModel, pooling: Pooling) -> Engine:
    packed = is_plain_llama(model) and pooling != "cls" and model.device.type in _PACKED_DEVICES
    return PackedEngine(model, pooling) if packed else PaddedEngine(model, pooling)


_PACKED_DEVICES = ("cpu", "cuda")
"""Where complex numbers, which turn positions, are sure to be had."""
ENGINES: Mapping[EngineName, Callable[[PreTrainedModel, Pooling], Engine]] = MappingProxyType(
    {"auto": _auto, "packed": _packed, "packed-bfloat16": _packed_bfloat16, "transformers": PaddedEngine}
)


def _known(model: PreTrainedModel, pooling: Pooling) -> PreTrainedModel:
    if pooling == "cls":
        raise EncoderError("the packed engines know the poolings 'mean' and 'last', not 'cls': take the engine 'auto'")
    if not is_plain_llama(model):
        raise EncoderError(
            f"the packed engines know plain Llamas, not this {type(model).__name__}: take the engine 'auto'"
        )
    return model
