"""The encoder on the small real model, SmolLM2-135M as a GGUF file: slow, and skipped where the file is not there."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.index import Array

pytestmark = pytest.mark.slow

DEPTH = 4
REPOSITORY = Path(__file__).parents[2]
HEAD = "The movie item has the following attributes: \n"
PROMPTS = [
    "",
    HEAD + "title is M",
    HEAD + "title is Heat; release_year is 1995",
    HEAD + "title is Toy Story; release_year is 1995; genres is Animation, Children's, Comedy",
    HEAD + "title is Le fabuleux destin d'Amélie Poulain; release_year is 2001; genres is Comedy, Romance",
    HEAD + "title is 千と千尋の神隠し; genres is Animation",
    HEAD + "title is " + "Dr. Strangelove or: How I Learned to Stop Worrying and Love the Bomb " * 2,
    HEAD + "title is " + "very long " * 300,
]


@pytest.fixture(scope="module")
def gguf() -> Path:
    """The model's file, from `LLMEMB_TEST_GGUF` or where `make` puts it."""
    named = os.environ.get("LLMEMB_TEST_GGUF")
    path = Path(named) if named else REPOSITORY / ".cache" / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        pytest.skip(f"{path} is not there: run `make demo-bundle` once, or name a copy in LLMEMB_TEST_GGUF")
    return path


@pytest.fixture(scope="module")
def encoder(gguf: Path) -> Encoder:
    """The first layers of the model, with mean pooling."""
    return load_llm(str(gguf), depth=DEPTH)


@pytest.fixture(scope="module")
def raw(encoder: Encoder) -> Array:
    """Our vectors of the prompts, in one padded batch."""
    return encoder.encode(PROMPTS, batch_tokens=100_000)


def cosine(a: Array, b: Array) -> Array:
    """Row by row."""
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def relative_error(a: Array, b: Array) -> float:
    """The largest difference, in units of the vectors' size: a few of their coordinates are huge."""
    return float((np.abs(a - b).max(axis=1) / np.linalg.norm(b, axis=1)).max())


def test_gguf_is_loaded_cut(encoder: Encoder) -> None:
    """The model is cut to its first layers; its width and vocabulary are the original's."""
    assert (encoder.depth, encoder.width) == (DEPTH, 576)
    assert encoder.model.dtype == torch.float32
    assert len(encoder.tokenizer) == 49152


def test_gguf_encoder_equals_plain_transformers(gguf: Path, encoder: Encoder, raw: Array) -> None:
    """Each prompt has the vector that the whole model's states at that depth give it alone, by hand."""
    model = AutoModel.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32).eval()
    tokenizer = encoder.tokenizer
    expected = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"][:255]
        with torch.no_grad():
            states = model(torch.tensor([[*ids, tokenizer.eos_token_id]]), output_hidden_states=True).hidden_states
            expected.append(model.norm(states[DEPTH])[0].mean(dim=0).numpy())

    assert cosine(raw, np.stack(expected)).min() >= 0.99999
    assert relative_error(raw, np.stack(expected)) <= 1e-4


def test_gguf_batch_of_one_equals_the_padded_batch(encoder: Encoder, raw: Array) -> None:
    """Padding up to 256 tokens changes no vector."""
    alone = np.concatenate([encoder.encode([prompt]) for prompt in PROMPTS])

    assert cosine(raw, alone).min() >= 0.99999
    assert relative_error(raw, alone) <= 1e-4


def test_gguf_encoder_survives_saving(encoder: Encoder, raw: Array, tmp_path: Path) -> None:
    """Saved as plain float32 weights and read again, it gives the same vectors, here and in sentence-transformers."""
    encoder.save(tmp_path / "encoder")

    loaded = Encoder.load(tmp_path / "encoder").encode(PROMPTS, batch_tokens=100_000)
    theirs = SentenceTransformer(str(tmp_path / "encoder"), device="cpu").encode(PROMPTS)

    np.testing.assert_array_equal(loaded, raw)
    assert cosine(theirs, raw).min() >= 0.99999
    assert relative_error(theirs, raw) <= 1e-4
