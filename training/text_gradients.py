"""Embeddings of texts with gradients, by parts of a batch: like lengths together, the common beginning once.

`B` texts of a part, `T` tokens of the longest after the beginning, `C` tokens of the beginning, `h` the LLM's width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from llmemb.encoder_engines.engine import Pooling, TokenIds
from llmemb.encoder_engines.padded import batches_by_tokens
from llmemb.encoder_engines.token_tree import shared_length


class TextGradients:
    """Runs an LLM with gradients.

    Args:
        model: any architecture; its matrices multiply in `dtype`, the rest is float32.
        pooling: see `Encoder`.
        dtype: float32 or bfloat16.
        part_tokens: bound on the tokens of a part, padding included; a single longer text goes alone.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling, dtype: torch.dtype, part_tokens: int) -> None:
        self._model = model
        self._pooling = pooling
        self._dtype = dtype
        self._part_tokens = part_tokens
        self._causal = _is_causal(model)

    def parts(self, token_ids: Sequence[TokenIds]) -> list[list[int]]:
        """Cut a batch into parts of like length, the longest first; return the places of their texts."""
        beginning = len(self._beginning(token_ids))
        return list(batches_by_tokens([len(ids) - beginning for ids in token_ids], self._part_tokens))

    def embed(self, token_ids: Sequence[TokenIds]) -> Tensor:
        """Return the raw embeddings of the texts of a part, `(B, h)` float32."""
        beginning = self._beginning(token_ids)
        device = self._model.device
        lengths = torch.tensor([len(ids) for ids in token_ids], device=device)
        tokens = torch.zeros((len(token_ids), max(map(len, token_ids))), dtype=torch.int64)  # (B, C + T)
        for row, ids in enumerate(token_ids):
            tokens[row, : len(ids)] = torch.tensor(ids)
        tokens = tokens.to(device)
        present = torch.arange(tokens.shape[1], device=device) < lengths[:, None]  # (B, C + T)
        with torch.autocast(device.type, torch.bfloat16, enabled=self._dtype == torch.bfloat16):
            if not beginning:
                states = self._model(input_ids=tokens, attention_mask=present, use_cache=False).last_hidden_state
                return self._pool(states.float(), present, None)
            cache = DynamicCache(config=self._model.config)
            first = self._model(
                input_ids=torch.tensor([list(beginning)], device=device), past_key_values=cache, use_cache=True
            ).last_hidden_state[0]  # (C, h)
            cache.batch_repeat_interleave(len(token_ids))
            states = self._model(
                input_ids=tokens[:, len(beginning) :], attention_mask=present, past_key_values=cache, use_cache=True
            ).last_hidden_state  # (B, T, h)
            return self._pool(states.float(), present[:, len(beginning) :], first.float())

    def _beginning(self, token_ids: Sequence[TokenIds]) -> TokenIds:
        """Return the tokens that all texts begin with; none where they cannot be computed apart from the rest."""
        if not self._causal or len(token_ids) < 2:
            return ()
        # All share what the first and the last in their order share; each keeps a token of its own, which may be the
        # last that the pooling reads.
        first, last = min(token_ids, key=list), max(token_ids, key=list)
        return first[: min(shared_length(first, last), min(map(len, token_ids)) - 1)]

    def _pool(self, states: Tensor, present: Tensor, beginning: Tensor | None) -> Tensor:
        """Pool states `(B, T, h)` over the present tokens `(B, T)`, and those of the beginning `(C, h)`."""
        number = present.sum(dim=1)
        if self._pooling == "last":
            return states[torch.arange(len(states), device=states.device), number - 1]
        total = (states * present[..., None]).sum(dim=1)
        if beginning is not None:
            total = total + beginning.sum(dim=0)
            number = number + len(beginning)
        return total / number[:, None]


@torch.inference_mode()
def _is_causal(model: PreTrainedModel) -> bool:
    """Tell whether the states of a beginning do not depend on what comes after it, and can be passed on."""
    tokens = torch.tensor([[3, 4, 5], [3, 4, 6]], device=model.device)
    output = model(input_ids=tokens, use_cache=True)
    states = output.last_hidden_state
    return isinstance(getattr(output, "past_key_values", None), DynamicCache) and bool(
        torch.allclose(states[0, :2], states[1, :2], rtol=1e-4, atol=1e-4)
    )
