"""`llmemb.encoder.encoder` on a random Llama: depth, pooling, the end token, truncation, batches, bad sources."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from llmemb.encoder.base import add_end_token
from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.engines.engine import Pooling
from llmemb.encoder.engines.padded import batches_by_tokens, pool
from llmemb.errors import EncoderError
from tests.support.tiny import tiny_prompts, tiny_tokenizer, write_tiny_llm

BOS, EOS = 1, 2


def with_template(template: str) -> PreTrainedTokenizerFast:
    """The tiny tokenizer with a template of its own in its file."""
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=[("<s>", BOS), ("</s>", EOS)]
    )
    return tokenizer


def with_start_option() -> PreTrainedTokenizerFast:
    """The tiny tokenizer told to add its start token, as Llama's and Gemma's are."""
    tokenizer = tiny_tokenizer()
    tokenizer.add_bos_token = True
    return tokenizer


TOKENIZERS: dict[str, tuple[Callable[[], PreTrainedTokenizerFast], list[int]]] = {
    # what it adds by itself: (how it is made, the special tokens before the text)
    "nothing": (tiny_tokenizer, []),
    "a start, by template": (lambda: with_template("<s> $A"), [BOS]),
    "an end, by template": (lambda: with_template("$A </s>"), []),
    "both, by template": (lambda: with_template("<s> $A </s>"), [BOS]),
    "a start, by option": (with_start_option, [BOS]),
}


@pytest.mark.parametrize("adds", TOKENIZERS)
def test_every_text_is_closed_by_one_end_token(adds: str, tiny_llm: Path, tmp_path: Path) -> None:
    """Whatever a tokenizer adds by itself, the end token comes once, and still does for anyone who loads the folder."""
    make, start = TOKENIZERS[adds]
    source = shutil.copytree(tiny_llm, tmp_path / "source")
    make().save_pretrained(source)
    text = tiny_tokenizer()("Heat; a film", add_special_tokens=False)["input_ids"]
    encoder = load_llm(str(source))
    encoder.save(tmp_path / "saved")
    loaded = Encoder.load(tmp_path / "saved")
    elsewhere = AutoTokenizer.from_pretrained(tmp_path / "saved")

    assert encoder.tokenize(["Heat; a film", ""]) == [[*start, *text, EOS], [*start, EOS]]
    assert loaded.tokenize(["Heat; a film", ""]) == [[*start, *text, EOS], [*start, EOS]]
    assert elsewhere(["Heat; a film", ""])["input_ids"] == [[*start, *text, EOS], [*start, EOS]]
    assert elsewhere.padding_side == "right"


@pytest.mark.parametrize("adds", TOKENIZERS)
def test_truncation_keeps_the_end_token(adds: str, tiny_llm: Path, tmp_path: Path) -> None:
    """A prompt over `max_tokens` loses the end of its text, not the end token."""
    make, start = TOKENIZERS[adds]
    source = shutil.copytree(tiny_llm, tmp_path / "source")
    make().save_pretrained(source)
    text = tiny_tokenizer()("Heat " * 50, add_special_tokens=False)["input_ids"]

    (ids,) = load_llm(str(source), max_tokens=10).tokenize(["Heat " * 50])

    assert ids == [*start, *text[: 9 - len(start)], EOS]


def test_padding_token_is_the_end_token_where_there_is_none() -> None:
    """A tokenizer without a padding token gets one, and one that has it keeps it."""
    without = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer, eos_token="</s>")
    with_one = tiny_tokenizer()

    add_end_token(without)
    add_end_token(with_one)

    assert (without.pad_token, with_one.pad_token) == ("</s>", "<pad>")


def test_both_sides_are_right() -> None:
    """A tokenizer made for generation pads and cuts on the left; for an encoder both happen on the right."""
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = tokenizer.truncation_side = "left"

    add_end_token(tokenizer)

    assert (tokenizer.padding_side, tokenizer.truncation_side) == ("right", "right")


def test_tokenizer_without_an_end_token_is_refused() -> None:
    """There is nothing to close a text with."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer().backend_tokenizer)

    with pytest.raises(EncoderError, match="has no end token"):
        add_end_token(tokenizer)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_cut_llm_is_the_llm_up_to_that_layer(depth: int, tmp_path: Path) -> None:
    """The first layers and the final norm, by hand: the norm of the full model's hidden state at that depth."""
    folder = write_tiny_llm(tmp_path / "llm", layers=3)
    encoder = load_llm(str(folder), depth=depth, pooling="last")
    plain = AutoModel.from_pretrained(folder).eval()
    tokens = torch.tensor(encoder.tokenize(tiny_prompts()[:1]))

    with torch.no_grad():
        # The last of transformers' hidden states is after the norm already; the others are not.
        hidden = plain(tokens, output_hidden_states=True).hidden_states[depth]
        expected = (hidden if depth == 3 else plain.norm(hidden))[0, -1].numpy()

    assert encoder.depth == depth
    np.testing.assert_allclose(encoder.encode(tiny_prompts()[:1])[0], expected, atol=1e-5)


def test_depth_survives_saving(tmp_path: Path) -> None:
    """A cut encoder is saved cut: its file holds no layer that does not run."""
    folder = write_tiny_llm(tmp_path / "llm", layers=3)
    encoder = load_llm(str(folder), depth=1)
    encoder.save(tmp_path / "saved")
    loaded = Encoder.load(tmp_path / "saved")

    assert loaded.depth == 1
    assert not [name for name in loaded.model.state_dict() if name.startswith("layers.1.")]
    assert (tmp_path / "saved" / "model.safetensors").stat().st_size < (folder / "model.safetensors").stat().st_size
    np.testing.assert_array_equal(loaded.encode(tiny_prompts()), encoder.encode(tiny_prompts()))


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_saved_encoder_is_the_same(pooling: Pooling, tiny_llm: Path, tmp_path: Path) -> None:
    """Pooling, length, width and every vector survive the folder."""
    encoder = load_llm(str(tiny_llm), pooling=pooling, max_tokens=21)
    encoder.save(tmp_path / "saved")
    loaded = Encoder.load(tmp_path / "saved")

    assert (loaded.pooling, loaded.max_tokens, loaded.width) == (pooling, 21, 32)
    np.testing.assert_array_equal(loaded.encode(tiny_prompts()), encoder.encode(tiny_prompts()))


def test_saved_files_do_not_tell_what_was_encoded_before(tiny_llm: Path, tmp_path: Path) -> None:
    """An encoder saved after use is the same files as one saved before, so that a bundle's id is its content's."""
    encoder = load_llm(str(tiny_llm), max_tokens=21)
    encoder.save(tmp_path / "before")
    encoder.encode(tiny_prompts())
    encoder.save(tmp_path / "after")
    Encoder.load(tmp_path / "after").save(tmp_path / "again")

    before, after, again = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.json")}
        for name in ("before", "after", "again")
    )
    assert after == before
    assert again == before


def test_pooling_by_hand() -> None:
    """The mean of the present tokens, or the last of them; the padding counts for nothing."""
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [1e9, -1e9]], [[5.0, 5.0], [7.0, 8.0], [0.0, 2.0]]])
    present = torch.tensor([[True, True, False], [True, True, True]])

    assert pool(hidden, present, "mean").tolist() == [[2.0, 4.0], [4.0, 5.0]]
    assert pool(hidden, present, "last").tolist() == [[3.0, 6.0], [0.0, 2.0]]


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_pooling_is_done_in_float32(pooling: Pooling) -> None:
    """Half-precision states are summed in float32, where thousands of tokens lose nothing."""
    hidden = torch.full((1, 4096, 2), 20.0, dtype=torch.float16)

    pooled = pool(hidden, torch.ones(1, 4096, dtype=torch.bool), pooling)

    assert pooled.dtype == torch.float32
    assert pooled.tolist() == [[20.0, 20.0]]


@given(st.lists(st.integers(0, 60), max_size=60), st.integers(1, 200))
def test_batches_hold_every_prompt_once_within_the_bound(lengths: list[int], batch_tokens: int) -> None:
    """Each index comes once, the longest first; a batch over the bound, padding included, is one prompt alone."""
    batches = list(batches_by_tokens(lengths, batch_tokens))

    indices = [i for batch in batches for i in batch]
    assert sorted(indices) == list(range(len(lengths)))
    assert [lengths[i] for i in indices] == sorted(lengths, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= batch_tokens


def test_batches_are_filled() -> None:
    """A batch takes as many prompts as the bound allows."""
    assert list(batches_by_tokens([4, 10, 5, 5], 10)) == [[1], [2, 3], [0]]


def test_vectors_come_in_the_order_of_the_prompts(tiny_llm: Path) -> None:
    """Sorting by length inside is not seen outside."""
    encoder = load_llm(str(tiny_llm))
    prompts = tiny_prompts()
    alone = np.concatenate([encoder.encode([prompt]) for prompt in prompts])

    np.testing.assert_allclose(encoder.encode(prompts), alone, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(prompts[::-1]), alone[::-1], atol=1e-5)


def test_no_prompts_give_no_vectors(tiny_llm: Path) -> None:
    """An empty list has an empty answer of the right width."""
    raw = load_llm(str(tiny_llm)).encode([])

    assert raw.shape == (0, 32)
    assert raw.dtype == np.float32


def test_progress_counts_every_prompt(tiny_llm: Path) -> None:
    """`on_batch` hears of each batch; the counts sum up to all prompts."""
    counts: list[int] = []
    load_llm(str(tiny_llm)).encode(tiny_prompts(), batch_tokens=100, on_batch=counts.append)

    assert sum(counts) == len(tiny_prompts())
    assert len(counts) > 1


def test_encoding_keeps_no_gradient_and_no_dropout(tiny_llm: Path) -> None:
    """Given a model that was just trained, the encoder runs it in evaluation mode: two passes agree to the bit."""
    loaded = load_llm(str(tiny_llm))
    loaded.model.train()
    encoder = Encoder(loaded.model, loaded.tokenizer, "mean", 128)

    assert not encoder.model.training
    np.testing.assert_array_equal(encoder.encode(tiny_prompts()), encoder.encode(tiny_prompts()))
    assert all(parameter.grad is None for parameter in encoder.model.parameters())


@pytest.mark.parametrize("depth", [0, -1, 3])
def test_impossible_depth_is_refused(depth: int, tiny_llm: Path) -> None:
    """The error names the depth that was asked for and those there are."""
    with pytest.raises(EncoderError, match=rf"depth is {depth}, but .* has 2 layers: choose from 1 to 2$"):
        load_llm(str(tiny_llm), depth=depth)


FAULTS: dict[str, Callable[[Path], object]] = {
    "no folder": shutil.rmtree,
    "no config": lambda folder: (folder / "config.json").unlink(),
    "config is not JSON": lambda folder: (folder / "config.json").write_text("{"),
    "unknown kind of model": lambda folder: (folder / "config.json").write_text('{"model_type": "nonesuch"}'),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "weights cut off": lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:1000]
    ),
    "weights of another width": lambda folder: (folder / "config.json").write_text(
        json.dumps(json.loads((folder / "config.json").read_text()) | {"hidden_size": 64})
    ),
    "no tokenizer": lambda folder: (
        (folder / "tokenizer.json").unlink(),
        (folder / "tokenizer_config.json").unlink(),
    ),
    "tokenizer is not JSON": lambda folder: (folder / "tokenizer.json").write_text("{"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_unusable_source_is_refused_by_name(fault: str, tiny_llm: Path, tmp_path: Path) -> None:
    """A source that cannot be loaded, for whatever reason, is an encoder error that names it."""
    folder = shutil.copytree(tiny_llm, tmp_path / "llm")
    FAULTS[fault](folder)

    with pytest.raises(EncoderError) as caught:
        load_llm(str(folder))

    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("content", [None, b"", b"not a model", b"GGUF\x03\x00\x00\x00"])
def test_unusable_gguf_file_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    """A missing, empty, foreign or cut-off GGUF file is an encoder error that names it."""
    path = tmp_path / "model.gguf"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(EncoderError) as caught:
        load_llm(str(path))

    assert str(path) in str(caught.value)
