"""The encoder: prompts -> raw embeddings `(N, h)`, by an LLM cut to its first layers; `h` is the LLM's width."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, PreTrainedModel, PreTrainedTokenizerFast

from llmemb.encoder.base import loading, model_options, read_base
from llmemb.encoder.engines.choose import ENGINES
from llmemb.encoder.engines.engine import Engine, EngineName, Pooling
from llmemb.encoder.engines.token_tree import shared_length
from llmemb.encoder.folder import read_encoder_settings, write_encoder_settings
from llmemb.errors import EncoderError


class Encoder:
    """An LLM, its tokenizer and a pooling; not thread-safe, without gradients.

    The text is closed by an end token, which the tokenizer adds itself. Prompts over `max_tokens` lose their end,
    the end token stays. How the LLM runs is the engine's; it is made ready when it is first needed.

    Args:
        model: the LLM without its head.
        tokenizer: ends every text with the end token; see `add_end_token`.
        pooling: `mean` over the tokens of the last hidden state, its `last` token, or its first, `cls`.
        max_tokens: the longest prompt, end token included.
        engine: what runs the LLM, see `EngineName`.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerFast,
        pooling: Pooling,
        max_tokens: int,
        engine: EngineName = "auto",
    ) -> None:
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.pooling = pooling
        self.max_tokens = max_tokens
        self._engine_name = engine
        self._made_engine: Engine | None = None

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
        """Embed prompts in batches.

        Args:
            prompts: any number of texts.
            batch_tokens: bound on the tokens of a batch, as the engine counts them; a single longer prompt goes alone.
            on_batch: called after each batch with the number of prompts in it.

        Returns:
            `(N, h)` float32, in the order of `prompts`.
        """
        token_ids = self.tokenize(prompts)
        raw = np.empty((len(prompts), self.width), dtype=np.float32)
        engine = self._engine()
        for batch in engine.batches(token_ids, batch_tokens):
            raw[batch] = engine.embed([token_ids[i] for i in batch])
            if on_batch is not None:
                on_batch(len(batch))
        return raw

    def tokenize(self, prompts: Sequence[str]) -> list[list[int]]:
        """Return the token ids of each prompt, truncated to `max_tokens` and closed by the end token."""
        if not prompts:
            return []
        encoded = self.tokenizer(list(prompts), truncation=True, max_length=self.max_tokens)
        return [list(ids) for ids in encoded["input_ids"]]

    def expect(self, beginning: str) -> None:
        """Make the engine ready, and say with which text most prompts begin: it may compute that once.

        Raises:
            EncoderError: the engine does not know this LLM.
        """
        # The tokens that stay the same however the text goes on, as far as two tries tell.
        one, other = self.tokenize([f"{beginning}{rest}" for rest in ("a", "1")])
        self._engine().expect(one[: shared_length(one, other)])

    def _engine(self) -> Engine:
        if self._made_engine is None:
            self._made_engine = ENGINES[self._engine_name](self.model, self.pooling)
        return self._made_engine

    def save(self, folder: Path) -> None:
        """Write a folder that sentence-transformers, and any server that reads its format, loads."""
        # What `tokenize` set would be saved too: the files must not tell whether it ran.
        self.tokenizer.backend_tokenizer.no_truncation()
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        write_encoder_settings(folder, width=self.width, pooling=self.pooling, max_tokens=self.max_tokens)

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", engine: EngineName = "auto") -> "Encoder":
        """Read what `save` wrote.

        Raises:
            EncoderError: the folder lacks a file or names a pooling that is not ours.
        """
        pooling, max_tokens = read_encoder_settings(folder)
        loaded = load_llm(str(folder), pooling=pooling, max_tokens=max_tokens)
        loaded.model.to(device)
        return cls(loaded.model, loaded.tokenizer, pooling, max_tokens, engine)


def load_llm(source: str, *, depth: int | None = None, pooling: Pooling = "mean", max_tokens: int = 256) -> Encoder:
    """Load an LLM as an encoder, in float32 on the CPU.

    Args:
        source: a Hugging Face id, a folder, of sentence-transformers too, or the path of a `.gguf` file.
        depth: keep the first layers only; None keeps all.
        pooling: see `Encoder`.
        max_tokens: see `Encoder`.

    Raises:
        EncoderError: the source cannot be loaded, or cannot do what is asked of it.
    """
    base = read_base(source)
    base.check(depth=depth, pooling=pooling, max_tokens=max_tokens)
    if depth is not None:
        base.cut(depth)
    with loading(source):
        model, found = AutoModel.from_pretrained(
            base.location,
            config=base.config,
            dtype=torch.float32,
            output_loading_info=True,
            **base.gguf,
            **model_options(base.config),
        )
    if missing := sorted(found["missing_keys"]):
        # They would be random numbers.
        raise EncoderError(f"the weights of {source!r} lack {len(missing)} of its tensors, such as {missing[0]}")
    if base.gguf:
        # The weights are plain float32 by now; these entries would refuse the save, and misread it when loaded.
        model.hf_quantizer = None
        del model.config.quantization_config
    if base.text_config is not base.config:
        model = model.language_model
    model.config.use_cache = False
    return Encoder(model, base.tokenizer, pooling, max_tokens)
