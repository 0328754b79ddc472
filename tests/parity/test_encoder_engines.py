"""Every engine against plain transformers, one prompt at a time and unpadded."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModel, LlamaConfig, LlamaModel, Qwen2Config, Qwen2Model

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.engines import choose
from llmemb.encoder.engines.admission import agreement
from llmemb.encoder.engines.choose import ENGINES
from llmemb.encoder.engines.engine import EngineName, Pooling
from llmemb.encoder.engines.packed import PackedEngine
from llmemb.encoder.engines.padded import PaddedEngine
from llmemb.errors import EncoderError
from llmemb.index import Array
from tests.support.tiny import TINY_PROMPT, tiny_prompts, tiny_tokenizer, write_tiny_llm

PROMPTS = [
    *tiny_prompts()[:12],
    *tiny_prompts()[:3],
    "",
    "x",
    "The movie",
    TINY_PROMPT.beginning,
    " ".join(tiny_prompts()),
]
"""Some twice, some the beginning of others, some that begin otherwise; of 1 to 256 tokens, the last one truncated."""
MIN_COSINE: dict[EngineName, float] = {
    "auto": 0.99999, "packed": 0.99999, "packed-bfloat16": 0.99, "transformers": 0.99999,
}  # fmt: skip


def cosine(a: Array, b: Array) -> Array:
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def plain(encoder: Encoder, prompts: list[str]) -> Array:
    """What the LLM gives for each prompt alone."""
    vectors = []
    for ids in encoder.tokenize(prompts):
        with torch.no_grad():
            hidden = encoder.model(torch.tensor([ids])).last_hidden_state[0]
        vectors.append((hidden.mean(dim=0) if encoder.pooling == "mean" else hidden[-1]).numpy())
    return np.stack(vectors)


def tiny_model(folder: Path, model: torch.nn.Module) -> Path:
    """Write a random model with the tiny tokenizer."""
    model.save_pretrained(folder)  # type: ignore[operator]
    tiny_tokenizer().save_pretrained(folder)
    return folder


def config(kind: type[LlamaConfig] | type[Qwen2Config], **options: Any) -> Any:
    sizes = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512}
    return kind(**(sizes | heads | {"initializer_range": 0.2, "pad_token_id": 0, "eos_token_id": 2} | options))


def test_every_engine_has_its_bound() -> None:
    """An engine that is added is tested here by itself."""
    assert set(MIN_COSINE) == set(ENGINES)


@pytest.mark.parametrize("beginning", ["", TINY_PROMPT.beginning])
@pytest.mark.parametrize("batch_tokens", [60, 100_000])
@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("engine", ENGINES)
def test_engine_equals_plain_transformers(
    engine: EngineName, pooling: Pooling, batch_tokens: int, beginning: str, tiny_llm: Path
) -> None:
    """Whatever the batches and whatever beginning was announced, a prompt has the vector that it has alone."""
    loaded = load_llm(str(tiny_llm), pooling=pooling)
    encoder = Encoder(loaded.model, loaded.tokenizer, pooling, loaded.max_tokens, engine)
    encoder.expect(beginning)

    raw = encoder.encode(PROMPTS, batch_tokens)

    assert raw.dtype == np.float32
    assert cosine(raw, plain(loaded, PROMPTS)).min() >= MIN_COSINE[engine]
    np.testing.assert_array_equal(encoder.encode(PROMPTS[:4], batch_tokens), encoder.encode(PROMPTS[:4], batch_tokens))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_engine_changes_the_model(engine: EngineName, tiny_llm: Path, tmp_path: Path) -> None:
    """Saving after use writes the weights that were loaded."""
    encoder = Encoder.load(saved(tiny_llm, tmp_path), engine=engine)
    encoder.encode(PROMPTS[:3])
    encoder.save(tmp_path / "again")

    again, before = (AutoModel.from_pretrained(tmp_path / name).state_dict() for name in ("again", "saved"))
    assert again.keys() == before.keys()
    assert all(torch.equal(again[name], before[name]) for name in before)


def saved(llm: Path, folder: Path) -> Path:
    load_llm(str(llm)).save(folder / "saved")
    return folder / "saved"


@pytest.mark.parametrize("engine", ENGINES)
def test_engine_batches_hold_every_prompt_once(engine: EngineName, tiny_llm: Path) -> None:
    """Also where some prompts begin as announced and some do not."""
    loaded = load_llm(str(tiny_llm))
    made = ENGINES[engine](loaded.model, "mean")
    token_ids = loaded.tokenize(PROMPTS)
    made.expect(token_ids[0][:5])

    batches = list(made.batches(token_ids, 60))

    assert sorted(i for batch in batches for i in batch) == list(range(len(PROMPTS)))
    assert len(batches) > 1
    assert list(made.batches([], 60)) == []


@pytest.mark.parametrize(
    "options",
    [
        {"num_key_value_heads": 4},
        {"num_key_value_heads": 1},
        {"head_dim": 16},
        {"rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
        {
            "rope_parameters": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                "original_max_position_embeddings": 64, "rope_theta": 1e4,
            },
        },
    ],
)  # fmt: skip
def test_packed_engine_knows_every_plain_llama(options: dict[str, Any], tmp_path: Path) -> None:
    """Heads of any number and width, and positions that only turn."""
    loaded = load_llm(str(tiny_model(tmp_path, LlamaModel(config(LlamaConfig, **options)))))
    encoder = Encoder(loaded.model, loaded.tokenizer, "mean", 256, "packed")

    assert cosine(encoder.encode(PROMPTS), plain(loaded, PROMPTS)).min() >= 0.99999


@pytest.mark.parametrize(
    "model",
    [
        lambda: Qwen2Model(config(Qwen2Config)),
        lambda: LlamaModel(config(LlamaConfig, attention_bias=True)),
        lambda: LlamaModel(config(LlamaConfig, hidden_act="gelu")),
        lambda: LlamaModel(config(LlamaConfig, is_causal=False)),
        lambda: LlamaModel(
            config(LlamaConfig, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4})
        ),
    ],
    ids=["Qwen2", "biases", "another activation", "both directions", "positions by length"],
)
def test_other_models_run_in_transformers(model: Any, tmp_path: Path) -> None:
    """`auto` leaves to transformers what the packed engine does not know, and to ask for that one is refused."""
    loaded = load_llm(str(tiny_model(tmp_path, model())))

    assert isinstance(ENGINES["auto"](loaded.model, "mean"), PaddedEngine)
    assert cosine(loaded.encode(PROMPTS), plain(loaded, PROMPTS)).min() >= 0.99999
    for engine in ("packed", "packed-bfloat16"):
        with pytest.raises(EncoderError, match="know plain Llamas, not this"):
            ENGINES[engine](loaded.model, "mean")  # type: ignore[index]


def test_bfloat16_is_near_in_directions_and_neighbours(tiny_llm: Path) -> None:
    """Sums are in float32: a random model's vectors, too, pass the check."""
    loaded = load_llm(str(tiny_llm))
    encoder = Encoder(loaded.model, loaded.tokenizer, "mean", loaded.max_tokens, "packed-bfloat16")
    prompts = tiny_prompts()

    found = agreement(encoder.encode(prompts), loaded.encode(prompts))

    assert found.admitted, found.describe()
    assert found.min_cosine >= 0.9999


@pytest.mark.parametrize("has", [True, False])
def test_bfloat16_without_instructions_says_that_it_does_not_pay(
    has: bool, tiny_llm: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The vectors are the same; the log warns where the processor makes it slower."""
    monkeypatch.setattr(choose, "multiplies_bfloat16", lambda device: has)

    ENGINES["packed-bfloat16"](load_llm(str(tiny_llm)).model, "mean")

    assert ("'packed' is quicker" in caplog.text) is not has


def test_a_llama_is_packed_by_itself(tmp_path: Path) -> None:
    """`auto` takes the quicker of the two exact engines."""
    loaded = load_llm(str(write_tiny_llm(tmp_path)))

    assert isinstance(ENGINES["auto"](loaded.model, "mean"), PackedEngine)
