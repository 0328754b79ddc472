"""Forward pass of texts through the LLM with gradients, in parts of similar length; the common prefix is run once.

`B` texts of a part, `T` tokens of the longest text after the prefix, `C` tokens of the prefix, `h` the LLM's width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import DynamicCache, PreTrainedModel

from llmemb.encoder.engines.engine import Pooling, TokenIds
from llmemb.encoder.engines.padded import batches_by_tokens
from llmemb.encoder.engines.token_tree import shared_length
from llmemb.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Text:
    """A tokenized text.

    Args:
        ids: token ids.
        generated: position of the first token that is a target of the generation loss, at least 1; the number of
            tokens if none is.
    """

    ids: TokenIds
    generated: int


class TextGradients:
    """Runs an LLM with gradients.

    Args:
        model: an LLM of any architecture; matrix products are in `dtype`, everything else in float32.
        pooling: see `Encoder`.
        dtype: float32 or bfloat16.
        part_tokens: maximum number of tokens in a part, including padding; a longer text is a part of its own.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling, dtype: torch.dtype, part_tokens: int) -> None:
        self._model = model
        self._pooling = pooling
        self._dtype = dtype
        self._part_tokens = part_tokens
        self._causal = is_causal(model)

    def parts(self, texts: Sequence[Text]) -> list[list[int]]:
        """Split a batch into parts of similar length, longest first; return the positions of the texts in each part."""
        beginning = len(self._beginning(texts))
        return list(batches_by_tokens([len(text.ids) - beginning for text in texts], self._part_tokens))

    def __call__(self, texts: Sequence[Text], *, generate: bool) -> tuple[Tensor, Tensor]:
        """Run the texts of a part.

        Args:
            texts: the texts of the part.
            generate: whether to compute the generation loss, the second result; otherwise it is 0.

        Returns:
            The raw embeddings `(B, h)`, and the summed cross-entropy of the generated tokens; both float32.
        """
        beginning = self._beginning(texts)
        device = self._model.device
        lengths = torch.tensor([len(text.ids) for text in texts])
        tokens = torch.zeros((len(texts), int(lengths.max())), dtype=torch.int64)  # (B, C + T)
        for row, text in enumerate(texts):
            tokens[row, : len(text.ids)] = torch.tensor(text.ids)
        present = torch.arange(tokens.shape[1]) < lengths[:, None]  # (B, C + T)
        tokens, present = tokens.to(device), present.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            if beginning:
                first, states = self._run_with_beginning(beginning, tokens, present)
            else:
                states = self._model(input_ids=tokens, attention_mask=present, use_cache=False).last_hidden_state
                first = states[0, :0]
            total = states.new_zeros(()).float()
            if generate:
                total = self._generation_loss(texts, tokens[:, len(beginning) :], states, len(beginning))
        return self._pool(states.float(), present[:, len(beginning) :], first.float()), total

    def _run_with_beginning(self, beginning: TokenIds, tokens: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return the last hidden states of the prefix, `(C, h)`, and of the tokens after it, `(B, T, h)`."""
        cache = DynamicCache(config=self._model.config)
        start = torch.tensor([list(beginning)], device=tokens.device)
        first = self._model(input_ids=start, past_key_values=cache, use_cache=True).last_hidden_state[0]
        cache.batch_repeat_interleave(len(tokens))
        states = self._model(
            input_ids=tokens[:, len(beginning) :], attention_mask=present, past_key_values=cache, use_cache=True
        ).last_hidden_state
        return first, states

    def _beginning(self, texts: Sequence[Text]) -> TokenIds:
        """Return the common prefix of all texts; empty if the model cannot run it separately."""
        if not self._causal or len(texts) < 2:
            return ()
        # In sorted order, the common prefix of the first and the last text is common to all.
        ids = [list(text.ids) for text in texts]
        first, last = min(ids), max(ids)
        # Each text keeps at least one token for pooling, and the token before the first generated one.
        longest = min(min(len(text.ids), text.generated) for text in texts) - 1
        return first[: min(shared_length(first, last), longest)]

    def _pool(self, states: Tensor, present: Tensor, first: Tensor) -> Tensor:
        """Pool the states `(B, T, h)` over the present tokens `(B, T)`, and the states of the prefix `(C, h)`."""
        number = present.sum(dim=1)
        if self._pooling == "last":
            return states[torch.arange(len(states), device=states.device), number - 1]
        return ((states * present[..., None]).sum(dim=1) + first.sum(dim=0)) / (number + len(first))[:, None]

    def _generation_loss(self, texts: Sequence[Text], tokens: Tensor, states: Tensor, before: int) -> Tensor:
        """Return the summed cross-entropy of the generated tokens, after a prefix of `before` tokens."""
        rows: list[int] = []
        places: list[int] = []
        for row, text in enumerate(texts):
            places += range(text.generated - before, len(text.ids) - before)
            rows += [row] * (len(text.ids) - text.generated)
        if not places:
            return states.new_zeros(()).float()
        chosen, generated = torch.tensor(rows, device=states.device), torch.tensor(places, device=states.device)
        head = self._model.get_input_embeddings()
        assert isinstance(head, nn.Embedding)
        scores = functional.linear(states[chosen, generated - 1], head.weight)
        return functional.cross_entropy(scores.float(), tokens[chosen, generated], reduction="sum")


def require_generation(model: PreTrainedModel, option: str) -> None:
    """Raise if a model cannot generate with tied token embeddings.

    Args:
        model: a model without a separate head.
        option: the option that needs generation.

    Raises:
        ConfigError: the model is not causal, or its head is not its token embeddings.
    """
    config = model.config.get_text_config()
    if not (is_causal(model) and config.tie_word_embeddings):
        raise ConfigError(
            f"{option} needs a causal LLM whose head is its token embeddings (tie_word_embeddings), which "
            f"{type(model).__name__} here is not: set it to 0"
        )


@torch.inference_mode()
def is_causal(model: PreTrainedModel) -> bool:
    """Whether the model is causal and has a reusable key-value cache, so that a prefix can be run separately."""
    tokens = torch.tensor([[3, 4, 5], [3, 4, 6]], device=model.device)
    output = model(input_ids=tokens, use_cache=True)
    states = output.last_hidden_state
    return isinstance(getattr(output, "past_key_values", None), DynamicCache) and bool(
        torch.allclose(states[0, :2], states[1, :2], rtol=1e-4, atol=1e-4)
    )
