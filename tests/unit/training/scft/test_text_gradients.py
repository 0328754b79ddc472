"""`text_gradients`: the encoder's own embeddings, in parts, with the beginning computed once; generation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertConfig, BertModel, PreTrainedModel

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.engines.engine import Pooling
from llmemb.errors import ConfigError
from llmemb_training.scft.text_gradients import Text, TextGradients, is_causal, require_generation
from tests.support.tiny import tiny_prompts

POOLINGS: tuple[Pooling, ...] = ("mean", "last")


def texts_of(encoder: Encoder, generated: int | None = None) -> list[Text]:
    """Return the tiny prompts as texts that generate what comes after so many tokens, or nothing."""
    return [Text(ids, len(ids) if generated is None else generated) for ids in encoder.tokenize(tiny_prompts())]


def embed(gradients: TextGradients, texts: list[Text]) -> Tensor:
    """Embed texts by the parts that `gradients` makes of them."""
    parts = gradients.parts(texts)
    embedded = torch.cat([gradients([texts[i] for i in part], generate=False)[0] for part in parts])
    return embedded[torch.tensor([place for part in parts for place in part]).argsort()]


def gradient_of(model: PreTrainedModel, loss: Tensor) -> Tensor:
    """Return the gradient of the first layer's first matrix."""
    weight = next(value for name, value in model.named_parameters() if "q_proj" in name or "query" in name)
    (gradient,) = torch.autograd.grad(loss, weight)
    return gradient


@pytest.fixture
def bert() -> PreTrainedModel:
    """A random BERT of one layer."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=400, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64
    )
    return BertModel(config).eval()


@pytest.fixture
def tied(tiny_llm: Path, tmp_path: Path) -> Encoder:
    """The tiny Llama with its token embeddings for a head."""
    load_llm(str(tiny_llm), max_tokens=64).save(tmp_path / "tied")
    config = tmp_path / "tied" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
    return Encoder.load(tmp_path / "tied")


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("part_tokens", [1, 200, 10_000])
def test_embeddings_are_the_encoder_s(tiny_llm: Path, pooling: Pooling, part_tokens: int) -> None:
    """Whatever the parts: what the encoder embeds, the tuning sees, beginning and padding and all."""
    encoder = load_llm(str(tiny_llm), pooling=pooling, max_tokens=64)
    gradients = TextGradients(encoder.model, pooling, torch.float32, part_tokens)
    texts = texts_of(encoder)
    embedded = embed(gradients, texts).detach().numpy()

    assert (len(gradients.parts(texts)) == 1) == (part_tokens == 10_000)
    np.testing.assert_allclose(embedded, encoder.encode(tiny_prompts()), rtol=1e-4, atol=1e-4)


def test_a_beginning_is_computed_once(tiny_llm: Path) -> None:
    """What all texts of a part share goes through the LLM as one line, the rest without it."""
    encoder = load_llm(str(tiny_llm), max_tokens=64)
    gradients = TextGradients(encoder.model, "mean", torch.float32, 10_000)
    texts = texts_of(encoder)
    shapes: list[tuple[int, ...]] = []
    encoder.model.get_input_embeddings().register_forward_hook(lambda *call: shapes.append(tuple(call[1][0].shape)))
    gradients(texts, generate=False)
    shared = next(
        i for i, tokens in enumerate(zip(*(text.ids for text in texts), strict=False)) if len(set(tokens)) > 1
    )

    assert shared > 5
    assert shapes == [(1, shared), (len(texts), max(len(text.ids) for text in texts) - shared)]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_pass_through_the_beginning(tiny_llm: Path, pooling: Pooling) -> None:
    """They are those of the texts one by one, each with its beginning."""
    encoder = load_llm(str(tiny_llm), pooling=pooling, max_tokens=64)
    texts = texts_of(encoder)
    towards = torch.randn(len(texts), encoder.width, generator=torch.Generator().manual_seed(0))
    gradients = [
        gradient_of(
            encoder.model,
            (embed(TextGradients(encoder.model, pooling, torch.float32, tokens), texts) * towards).sum(),
        )
        for tokens in (1, 10_000)
    ]

    assert gradients[0].abs().max() > 1e-2
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)


def test_a_text_may_be_the_beginning_of_another(tiny_llm: Path) -> None:
    """Its last token stays its own, for the pooling reads it."""
    encoder = load_llm(str(tiny_llm), pooling="last", max_tokens=64)
    ids = encoder.tokenize(tiny_prompts()[:1])[0]
    texts = [Text(ids[:length], length) for length in (8, 12)]
    gradients = TextGradients(encoder.model, "last", torch.float32, 10_000)
    together = gradients(texts, generate=False)[0]
    alone = torch.cat([gradients([text], generate=False)[0] for text in texts])

    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_models_that_look_ahead_share_no_beginning(bert: PreTrainedModel, tiny_llm: Path) -> None:
    """A BERT's beginning depends on what follows: its texts are run whole, padding masked."""
    ids = [[2, 5, 6, 7, 3], [2, 5, 6, 8, 9, 10, 3]]
    gradients = TextGradients(bert, "mean", torch.float32, 10_000)
    embedded = gradients([Text(row, len(row)) for row in ids], generate=False)[0]
    alone = torch.cat([bert(input_ids=torch.tensor([row])).last_hidden_state.mean(dim=1) for row in ids])

    assert not is_causal(bert)
    assert is_causal(load_llm(str(tiny_llm)).model)
    torch.testing.assert_close(embedded, alone, rtol=1e-4, atol=1e-4)


def test_bfloat16_is_close_to_float32(tiny_llm: Path) -> None:
    """Embeddings differ by rounding alone, and come as float32."""
    encoder = load_llm(str(tiny_llm), max_tokens=64)
    texts = texts_of(encoder)
    exact, rounded = (
        embed(TextGradients(encoder.model, "mean", dtype, 10_000), texts) for dtype in (torch.float32, torch.bfloat16)
    )

    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).abs().max() < 0.1
    assert functional.cosine_similarity(rounded, exact).min() > 0.999


@pytest.mark.parametrize("part_tokens", [1, 10_000])
def test_generation_loss_by_hand(tied: Encoder, part_tokens: int) -> None:
    """Each token from a place on, by the state before it and the token embeddings; alone or after a beginning."""
    texts = texts_of(tied, generated=9)[:6]
    gradients = TextGradients(tied.model, "mean", torch.float32, part_tokens)
    parts = gradients.parts(texts)
    total = sum(float(gradients([texts[i] for i in part], generate=True)[1].detach()) for part in parts)
    expected = 0.0
    for text in texts:
        states = tied.model(input_ids=torch.tensor([text.ids])).last_hidden_state[0]
        scores = (states @ tied.model.get_input_embeddings().weight.T).log_softmax(dim=-1)
        expected -= sum(float(scores[place - 1, text.ids[place]].detach()) for place in range(9, len(text.ids)))

    assert total == pytest.approx(expected, rel=1e-4)


def test_texts_that_generate_nothing_have_no_loss(tied: Encoder) -> None:
    """Nor has any where it is not asked for."""
    gradients = TextGradients(tied.model, "mean", torch.float32, 10_000)

    assert float(gradients(texts_of(tied), generate=True)[1]) == 0
    assert float(gradients(texts_of(tied, generated=9), generate=False)[1]) == 0


def test_models_that_cannot_generate_are_refused(bert: PreTrainedModel, tied: Encoder, tiny_llm: Path) -> None:
    """One that looks ahead, and one whose head was another matrix; the error names the option."""
    require_generation(tied.model, "scft.generation_weight")
    for model in (bert, load_llm(str(tiny_llm)).model):
        with pytest.raises(ConfigError, match=r"scft\.generation_weight needs a causal LLM .*: set it to 0"):
            require_generation(model, "scft.generation_weight")
