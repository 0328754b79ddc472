"""`llmemb.encoder.base`: the families of bases that people have, and what is refused in one sentence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, CLIPConfig, PretrainedConfig, T5Config, VisionEncoderDecoderConfig, ViTConfig

from llmemb.encoder.base import add_end_token, read_base
from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.errors import EncoderError
from tests.support.families import (
    FAMILIES,
    LAYERS,
    POSITIONS,
    WIDTH,
    tokenizer_of,
    write_family,
    write_sentence_transformer,
)
from tests.support.tiny import tiny_prompts, tiny_tokenizer

LONG = " ".join(tiny_prompts())
TEXTS = [*tiny_prompts()[:8], "", "x", LONG]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base of each family; read it, never write to it."""
    folder = tmp_path_factory.mktemp("families")
    for name in FAMILIES:
        write_family(folder / name, name)
    return folder


@pytest.mark.parametrize("name", FAMILIES)
def test_base_is_known_without_its_weights(name: str, bases: Path) -> None:
    """Layers, width and positions, those of the language model where it is a part."""
    base = read_base(str(bases / name))

    assert (base.depth, base.width, base.positions) == (LAYERS, WIDTH, FAMILIES[name].positions)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_text_is_closed_as_the_family_s_are(name: str, bases: Path) -> None:
    """By the tokenizer's own template where it closes texts, whatever the token, and also where a text is cut."""
    text = tiny_tokenizer()(LONG)["input_ids"]
    ids = FAMILIES[name].ids
    before, after = ids[: ids.index(...)], ids[ids.index(...) + 1 :]
    encoder = load_llm(str(bases / name), max_tokens=20)

    (found,) = encoder.tokenize([LONG])

    assert found == [*before, *text[: 20 - len(before) - len(after)], *after]
    assert encoder.tokenizer.pad_token is not None
    assert encoder.tokenizer.padding_side == "right"


@pytest.mark.parametrize("name", FAMILIES)
def test_all_positions_can_be_used_and_no_more(name: str, bases: Path) -> None:
    """A text of as many tokens as there are positions is embedded; a bound beyond is refused."""
    positions = FAMILIES[name].positions
    encoder = load_llm(str(bases / name), max_tokens=positions)

    assert len(encoder.tokenize([LONG])[0]) == positions
    assert np.isfinite(encoder.encode([LONG])).all()
    with pytest.raises(
        EncoderError, match=rf"^encoder.max_tokens is {positions + 1}, but .* has {positions} positions: choose at most"
    ):
        load_llm(str(bases / name), max_tokens=positions + 1)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("depth", [1, LAYERS])
def test_cut_base_is_the_base_up_to_that_layer(name: str, depth: int, bases: Path, tmp_path: Path) -> None:
    """Its vectors, also once saved, are the whole model's hidden state there, after the last norm if it has one."""
    load_llm(str(bases / name), depth=depth, pooling="last", max_tokens=40).save(tmp_path)
    encoder = Encoder.load(tmp_path)
    plain = AutoModel.from_pretrained(bases / name).eval()
    plain = getattr(plain, "language_model", plain)
    norm = getattr(plain, "norm", getattr(plain, "final_norm", torch.nn.Identity()))
    (ids,) = encoder.tokenize(TEXTS[:1])

    with torch.no_grad():
        hidden = plain(torch.tensor([ids]), output_hidden_states=True)
        expected = hidden.last_hidden_state if depth == LAYERS else norm(hidden.hidden_states[depth])

    assert encoder.depth == depth
    assert encoder.model.config.model_type == FAMILIES[name].kind
    np.testing.assert_allclose(encoder.encode(TEXTS[:1])[0], expected[0, -1], atol=1e-5)


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "mpnet"])
def test_no_pooler_is_kept(name: str, bases: Path, tmp_path: Path) -> None:
    """Masked language models have none on the hub: transformers would make one of random numbers."""
    load_llm(str(bases / name), max_tokens=64).save(tmp_path)

    assert not [key for key in load_file(tmp_path / "model.safetensors") if "pooler" in key]


@pytest.mark.parametrize("transformer", ["", "0_Transformer"])
def test_sentence_transformers_folder_is_read(transformer: str, bases: Path, tmp_path: Path) -> None:
    """Its Transformer alone, in whichever folder: the vectors are the model's own, not scaled to unit length."""
    folder = write_sentence_transformer(tmp_path / "base", "bert", transformer)

    ours = load_llm(str(folder), max_tokens=64).encode(TEXTS)

    np.testing.assert_array_equal(ours, load_llm(str(bases / "bert"), max_tokens=64).encode(TEXTS))
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).min() > 0.1


def test_cls_is_the_first_token(bases: Path) -> None:
    """The last hidden state of the token that the tokenizer puts there."""
    encoder = load_llm(str(bases / "bert"), pooling="cls", max_tokens=64)
    (ids,) = encoder.tokenize(TEXTS[:1])

    with torch.no_grad():
        expected = encoder.model(torch.tensor([ids])).last_hidden_state[0, 0]

    np.testing.assert_allclose(encoder.encode(TEXTS)[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_cls_needs_a_token_for_it(name: str, bases: Path) -> None:
    """A base whose texts begin otherwise would give every text the vector of its first token."""
    with pytest.raises(EncoderError, match=r"^encoder.pooling is 'cls', but .* begins no text with such a token"):
        load_llm(str(bases / name), pooling="cls", max_tokens=64)


def test_separator_closes_where_there_is_no_end_token() -> None:
    """A tokenizer with neither template nor end token, and without padding token: the separator is all three."""
    tokenizer = tokenizer_of(sep_token="</s>")

    add_end_token(tokenizer)

    assert tokenizer("x")["input_ids"] == [*tiny_tokenizer()("x")["input_ids"], 2]
    assert tokenizer.pad_token == "</s>"


def test_tokenizer_with_nothing_to_close_a_text_is_refused() -> None:
    """Neither token is there."""
    with pytest.raises(EncoderError, match=r"has no end token and no separator token to end a text with$"):
        add_end_token(tokenizer_of())


def _config(kind: PretrainedConfig) -> Callable[[Path], object]:
    return lambda folder: kind.save_pretrained(folder)


def _without(*patterns: str) -> Callable[[Path], object]:
    return lambda folder: [path.unlink() for pattern in patterns for path in folder.glob(pattern)]


def _adapter_alone(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "Qwen/Qwen3-0.6B", "peft_type": "LORA"}')
    (folder / "adapter_model.safetensors").write_bytes(b"")


def _modules(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "modules.json").write_text(text)


def _special_tokens_alone(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"] |= {"vocab": {"<pad>": 0, "<s>": 1, "</s>": 2}, "merges": []}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def _unknown_pre_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(content | {"pre_tokenizer": {"type": "Nonesuch"}}))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "adapter": (
        _adapter_alone,
        r"is a PEFT adapter of 'Qwen/Qwen3-0.6B' and not a complete model: "
        r"merge it into that base \(`merge_and_unload`\)",
    ),
    "no tokenizer": (_without("tokenizer*.json"), r"has no tokenizer: there is none of tokenizer.json, "),
    "no vocabulary": (_special_tokens_alone, r"has no tokenizer, or one without a vocabulary$"),
    "foreign tokenizer": (_unknown_pre_tokenizer, r"^cannot load the LLM .*: its tokenizer: data did not match"),
    "no weights": (_without("model.safetensors"), r"has no weights: there is no \*.safetensors and no pytorch_model"),
    "T5": (_config(T5Config()), r"is a t5, an encoder with a decoder: choose a model that is one of the two"),
    "caption": (
        _config(VisionEncoderDecoderConfig.from_encoder_decoder_configs(ViTConfig(), ViTConfig())),
        r"is a vision-encoder-decoder, an encoder with a decoder",
    ),
    "ViT": (_config(ViTConfig()), r"is a vit, which reads pixel_values and not text$"),
    "CLIP": (_config(CLIPConfig()), r"is a clip, which holds no language model that could be taken out of it$"),
    "code": (
        lambda folder: (folder / "config.json").write_text(
            '{"model_type": "nonesuch", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}'
        ),
        r"^cannot load the LLM .*: it contains its own code, which is not run$",
    ),
    "static": (
        _modules('[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.StaticEmbedding"}]'),
        r"begins with a StaticEmbedding and not with a Transformer, which alone can be tuned$",
    ),
    "empty modules": (_modules("[]"), r"^cannot load the LLM .*: list index out of range$"),
    "strange modules": (_modules("{"), r"^cannot load the LLM "),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_is_no_base_is_refused_in_one_sentence(fault: str, bases: Path, tmp_path: Path) -> None:
    """It names the source and what is wrong with it, and comes before any weights are read."""
    damage, message = REFUSED[fault]
    folder = shutil.copytree(bases / "bert", tmp_path / "base")
    damage(folder)

    with pytest.raises(EncoderError, match=message) as caught:
        read_base(str(folder))

    assert repr(str(folder)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_base_out_of_reach_is_the_same_error_for_all(tmp_path: Path) -> None:
    """A path that does not exist gets the same message from the check and from loading."""
    errors = []
    for read in (read_base, load_llm):
        with pytest.raises(EncoderError) as caught:
            read(str(tmp_path / "nowhere"))
        errors.append(str(caught.value))

    assert errors[0] == errors[1]
    assert errors[0].startswith(f"cannot load the LLM '{tmp_path / 'nowhere'}' (a Hugging Face id, a folder or")
    assert "\n" not in errors[0]


def test_weights_of_another_model_are_refused(bases: Path, tmp_path: Path) -> None:
    """Transformers would fill what is not there with random numbers."""
    folder = shutil.copytree(bases / "bert", tmp_path / "base")
    weights = load_file(folder / "model.safetensors")
    lacking = {name: tensor for name, tensor in weights.items() if "layer.1.output" not in name}
    save_file(lacking, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(
        EncoderError, match=rf"^the weights of '{folder}' lack 4 of its tensors, such as encoder.layer.1"
    ):
        load_llm(str(folder), max_tokens=POSITIONS)


def test_tokenizer_saved_with_a_length_loses_it(bases: Path, tmp_path: Path) -> None:
    """Truncation and padding that a file brings, as MiniLM's does, hold neither here nor in what is saved."""
    folder = shutil.copytree(bases / "bert", tmp_path / "base")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["truncation"] = {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "<pad>",
    }  # fmt: skip
    (folder / "tokenizer.json").write_text(json.dumps(content))
    encoder = load_llm(str(folder), max_tokens=64)
    encoder.save(tmp_path / "saved")
    saved = json.loads((tmp_path / "saved" / "tokenizer.json").read_text())

    assert [len(ids) for ids in encoder.tokenize(["x", LONG])] == [3, 64]
    assert (saved["truncation"], saved["padding"]) == (None, None)
