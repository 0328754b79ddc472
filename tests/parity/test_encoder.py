"""The encoder against plain transformers, one prompt at a time and unpadded, and against sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoTokenizer

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.engines.engine import Pooling
from llmemb.index import Array
from tests.support.families import FAMILIES, write_family
from tests.support.tiny import tiny_prompts

PROMPTS = [*tiny_prompts(), "", "x", " ".join(tiny_prompts())]
"""Of 1 to 256 tokens, the last one truncated."""


def cosine(a: Array, b: Array) -> Array:
    """Row by row."""
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def plain_transformers(folder: Path, pooling: Pooling, end_token: int, max_tokens: int) -> Array:
    """What the LLM gives for each prompt alone, its end token put there by hand."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    vectors = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt)["input_ids"][: max_tokens - 1]
        with torch.no_grad():
            hidden = model(torch.tensor([[*ids, end_token]])).last_hidden_state[0]
        vectors.append((hidden.mean(dim=0) if pooling == "mean" else hidden[-1]).numpy())
    return np.stack(vectors)


@pytest.mark.parametrize("pooling", ["mean", "last"])
@pytest.mark.parametrize("batch_tokens", [1, 300, 100_000])
def test_encoder_equals_plain_transformers(pooling: Pooling, batch_tokens: int, tiny_llm: Path) -> None:
    """Alone, in batches, and all in one padded batch, a prompt has the vector that the LLM gives it alone."""
    expected = plain_transformers(tiny_llm, pooling, end_token=2, max_tokens=256)

    raw = load_llm(str(tiny_llm), pooling=pooling).encode(PROMPTS, batch_tokens=batch_tokens)

    assert cosine(raw, expected).min() >= 0.99999
    np.testing.assert_allclose(raw, expected, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_padding_never_changes_a_vector(pooling: Pooling, tiny_llm: Path) -> None:
    """A short prompt beside ever longer ones keeps its vector."""
    encoder = load_llm(str(tiny_llm), pooling=pooling)
    (alone,) = encoder.encode([PROMPTS[0]])
    for longer in (PROMPTS[1], " ".join(PROMPTS[:3]), PROMPTS[-1]):
        beside = encoder.encode([PROMPTS[0], longer], batch_tokens=100_000)[0]

        np.testing.assert_allclose(beside, alone, atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_sentence_transformers_gives_the_same_raw_vectors(pooling: Pooling, tiny_llm: Path, tmp_path: Path) -> None:
    """The saved folder, read by sentence-transformers, gives our vectors, truncated prompts too."""
    encoder = load_llm(str(tiny_llm), pooling=pooling, max_tokens=40)
    encoder.save(tmp_path / "encoder")

    theirs = SentenceTransformer(str(tmp_path / "encoder"), device="cpu").encode(PROMPTS, batch_size=8)

    ours = Encoder.load(tmp_path / "encoder").encode(PROMPTS)
    assert cosine(ours, theirs).min() >= 0.99999
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_the_same_in_sentence_transformers(name: str, tmp_path: Path) -> None:
    """Whatever the base, its pooling and its special tokens: one prompt alone, in a padded batch, and by theirs."""
    base = write_family(tmp_path / "base", name)
    encoder = load_llm(str(base), depth=2, pooling=FAMILIES[name].pooling, max_tokens=40)
    encoder.save(tmp_path / "encoder")

    theirs = SentenceTransformer(str(tmp_path / "encoder"), device="cpu").encode(PROMPTS, batch_size=8)

    ours = Encoder.load(tmp_path / "encoder").encode(PROMPTS, batch_tokens=100_000)
    alone = np.concatenate([encoder.encode([prompt]) for prompt in PROMPTS])
    assert cosine(ours, theirs).min() >= 0.99999
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    np.testing.assert_allclose(ours, alone, atol=1e-5)


def test_sentence_transformers_reads_the_encoder_of_a_bundle(tiny_bundle: Path) -> None:
    """`bundle/encoder` alone is enough for a server that reads that format."""
    model = SentenceTransformer(str(tiny_bundle / "encoder"), device="cpu")

    ours = Encoder.load(tiny_bundle / "encoder").encode(PROMPTS)
    assert cosine(ours, model.encode(PROMPTS)).min() >= 0.99999
    assert model.max_seq_length == 128
