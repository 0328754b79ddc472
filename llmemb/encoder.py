"""The encoder: prompts -> raw embeddings `(N, h)`, by an LLM cut to its first layers.

`B` prompts of a batch, `T` tokens, `h` the LLM's width.
"""

import logging
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from tokenizers.processors import Sequence as ProcessorSequence
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModel,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from llmemb.encoder_folder import read_encoder_settings, write_encoder_settings
from llmemb.errors import EncoderError

Pooling = Literal["mean", "last"]

# What the libraries raise for a source that is missing, foreign, cut off, or at odds with its own config.
_LOADING_ERRORS = (OSError, ValueError, ImportError, LookupError, RuntimeError, struct.error, SafetensorError)

logger = logging.getLogger(__name__)


class Encoder:
    """An LLM, its tokenizer and a pooling; not thread-safe, float32, without gradients.

    The text is closed by an end token, which the tokenizer adds itself. Prompts over `max_tokens` lose their end,
    the end token stays. Padding stands on the right, so that no token of a causal LLM sees it.

    Args:
        model: the LLM without its head.
        tokenizer: ends every text with the end token; see `add_end_token`.
        pooling: `mean` over the tokens of the last hidden state, or its `last` token.
        max_tokens: the longest prompt, end token included.
    """

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, pooling: Pooling, max_tokens: int
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_tokens = max_tokens

    @property
    def width(self) -> int:
        """The LLM's hidden width, `h`."""
        return int(self.model.config.hidden_size)

    @property
    def depth(self) -> int:
        """How many of the LLM's layers run."""
        return int(self.model.config.num_hidden_layers)

    def encode(
        self,
        prompts: Sequence[str],
        batch_tokens: int = 2048,
        on_batch: Callable[[int], object] | None = None,
    ) -> NDArray[np.float32]:
        """Embed prompts in batches sorted by length, so that little is spent on padding.

        Args:
            prompts: any number of texts.
            batch_tokens: bound on the tokens of a batch, padding included; a single longer prompt goes alone.
            on_batch: called after each batch with the number of prompts in it.

        Returns:
            `(N, h)` float32, in the order of `prompts`.
        """
        token_ids = self.tokenize(prompts)
        raw = np.empty((len(prompts), self.width), dtype=np.float32)
        for batch in batches_by_tokens([len(ids) for ids in token_ids], batch_tokens):
            raw[batch] = self._forward([token_ids[i] for i in batch])
            if on_batch is not None:
                on_batch(len(batch))
        return raw

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt, truncated to `max_tokens` and closed by the end token."""
        if not prompts:
            return []
        encoded = self.tokenizer(list(prompts), truncation=True, max_length=self.max_tokens)
        return [list(ids) for ids in encoded["input_ids"]]

    @torch.inference_mode()
    def _forward(self, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        lengths = torch.tensor([len(ids) for ids in token_ids])
        tokens = torch.full((len(token_ids), int(lengths.max())), int(self.tokenizer.pad_token_id or 0))  # (B, T)
        for row, ids in enumerate(token_ids):
            tokens[row, : len(ids)] = torch.tensor(ids)
        present = torch.arange(tokens.shape[1]) < lengths[:, None]  # (B, T)
        device = self.model.device
        hidden = self.model(
            input_ids=tokens.to(device), attention_mask=present.to(device), use_cache=False
        ).last_hidden_state  # (B, T, h)
        return pool(hidden, present.to(device), self.pooling).float().cpu().numpy()

    def save(self, folder: Path) -> None:
        """Write a folder that sentence-transformers, and any server that reads its format, loads."""
        # What `tokenize` set would be saved too: the files must not tell whether it ran.
        self.tokenizer.backend_tokenizer.no_truncation()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_encoder_settings(folder, width=self.width, pooling=self.pooling, max_tokens=self.max_tokens)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> "Encoder":
        """Read what `save` wrote.

        Raises:
            EncoderError: the folder lacks a file or names a pooling that is not ours.
        """
        pooling, max_tokens = read_encoder_settings(folder)
        encoder = load_llm(str(folder), pooling=pooling, max_tokens=max_tokens)
        encoder.model.to(device)
        return encoder


def pool(hidden: Tensor, present: Tensor, pooling: Pooling) -> Tensor:
    """Pool the last hidden state `(B, T, h)` over the present tokens `(B, T)` into `(B, h)`, in float32."""
    if pooling == "last":
        last = present.sum(dim=1) - 1
        return hidden[torch.arange(len(hidden), device=hidden.device), last].float()
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


def load_llm(source: str, *, depth: int | None = None, pooling: Pooling = "mean", max_tokens: int = 256) -> Encoder:
    """Load an LLM as an encoder, in float32 on the CPU.

    Args:
        source: a Hugging Face id, a folder, or the path of a `.gguf` file.
        depth: keep the first layers only; None keeps all.
        pooling: see `Encoder`.
        max_tokens: see `Encoder`.

    Raises:
        EncoderError: the source cannot be loaded, or has fewer layers than `depth`.
    """
    path = Path(source)
    gguf = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    location = str(path.parent) if gguf else source
    # The libraries' own bars and remarks would stand among ours.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(location, **gguf)
        tokenizer = AutoTokenizer.from_pretrained(location, **gguf)
        if depth is not None:
            _cut_depth(config, depth, source)
        model = AutoModel.from_pretrained(location, config=config, dtype=torch.float32, **gguf)
    except _LOADING_ERRORS as error:
        raise EncoderError(
            f"cannot load the LLM {source!r} (a Hugging Face id, a folder or a .gguf file): {error}"
        ) from error
    if gguf:
        # The weights are plain float32 by now; these entries would refuse the save, and misread it when loaded.
        model.hf_quantizer = None
        del model.config.quantization_config
    model.config.use_cache = False
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise EncoderError(f"the tokenizer of {source!r} is not one of the `tokenizers` library, which is needed")
    add_end_token(tokenizer)
    return Encoder(model, tokenizer, pooling, max_tokens)


def _cut_depth(config: PretrainedConfig, depth: int, source: str) -> None:
    layers = config.num_hidden_layers
    if not 1 <= depth <= layers:
        raise EncoderError(f"depth is {depth}, but {source!r} has {layers} layers: choose from 1 to {layers}")
    config.num_hidden_layers = depth
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:depth]


def add_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    """Let the tokenizer itself close every text with its end token, wherever it is loaded from then on.

    Also sets the padding side and token. Changes `tokenizer` in place.

    Raises:
        EncoderError: the tokenizer has no end token.
    """
    if tokenizer.eos_token is None:
        raise EncoderError(f"the tokenizer of {tokenizer.name_or_path!r} has no end token")
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer("a")["input_ids"][-1] == tokenizer.eos_token_id:
        return
    backend = tokenizer.backend_tokenizer
    end = TemplateProcessing(
        single=f"$A {tokenizer.eos_token}",
        pair=f"$A $B {tokenizer.eos_token}",
        special_tokens=[(tokenizer.eos_token, tokenizer.eos_token_id)],
    )
    backend.post_processor = end if backend.post_processor is None else ProcessorSequence([backend.post_processor, end])
