"""A tiny random model of every family of bases that people have, saved as those are on the Hugging Face hub."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    MPNetConfig,
    MPNetForMaskedLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaForMaskedLM,
    SiglipVisionConfig,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from llmemb.encoder.engines.engine import Pooling
from tests.support.tiny import tiny_tokenizer

WIDTH = 32
LAYERS = 3
POSITIONS = 130
_SIZES = {
    "vocab_size": 400,
    "hidden_size": WIDTH,
    "intermediate_size": 64,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.2,  # ten times the default, so that two prompts get clearly different vectors
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GROUPED = _SIZES | {"num_key_value_heads": 2, "head_dim": 8}
_ROBERTA_SIZES = _SIZES | {"bos_token_id": 0, "pad_token_id": 1}


@dataclass(frozen=True)
class Family:
    """What makes a folder.

    Args:
        model: makes the model, with the head that it has on the hub.
        tokenizer: makes its tokenizer.
        ids: what the tokenizer makes of a text, with `...` for the text, once the base has become an encoder.
        kind: of the model that an encoder saves, as its configuration has it.
        positions: the most tokens of a text.
        pooling: as people use the family.
    """

    model: Callable[[], PreTrainedModel]
    tokenizer: Callable[[], PreTrainedTokenizerFast]
    ids: tuple[object, ...]
    kind: str
    positions: int = POSITIONS
    pooling: Pooling = "mean"


def tokenizer_of(template: str | None = None, **special: str | None) -> PreTrainedTokenizerFast:
    """Make the tiny tokenizer with other special tokens, and a template such as `<s> $A </s>`."""
    return _dressed(tiny_tokenizer().backend_tokenizer, template, special)


def _dressed(backend: Tokenizer, template: str | None, special: Mapping[str, str | None]) -> PreTrainedTokenizerFast:
    if template is not None:
        ids = [(token, backend.token_to_id(token)) for token in ("<pad>", "<s>", "</s>")]
        backend.post_processor = TemplateProcessing(single=template, special_tokens=ids)
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)


def _causal_tokenizer() -> PreTrainedTokenizerFast:
    """It begins texts and ends none, and has no padding token, as Llama's and Mistral's."""
    return tokenizer_of("<s> $A", bos_token="<s>", eos_token="</s>")


def _bert_tokenizer() -> PreTrainedTokenizerFast:
    """It has no end token."""
    return tokenizer_of("<s> $A </s>", cls_token="<s>", sep_token="</s>", pad_token="<pad>")


def _roberta_tokenizer() -> PreTrainedTokenizerFast:
    """Its start is its CLS token, its end its separator, and the padding token's id is 1."""
    text = tiny_tokenizer().backend_tokenizer.to_str()
    swapped = text.replace('"<pad>"', '"<x>"').replace('"<s>"', '"<pad>"').replace('"<x>"', '"<s>"')
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    return _dressed(Tokenizer.from_str(swapped), "<s> $A </s>", special)


def _gemma3() -> PreTrainedModel:
    """Text and a vision tower, the configuration of each in one."""
    vision = SiglipVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    config = Gemma3Config(text_config=_gemma3_text(), vision_config=vision.to_dict(), mm_tokens_per_image=4)
    return Gemma3ForConditionalGeneration(config)


def _gemma3_text() -> Gemma3TextConfig:
    types = ["sliding_attention", "full_attention", "sliding_attention"]
    return Gemma3TextConfig(**_GROUPED, layer_types=types, sliding_window=16)


def _modernbert() -> PreTrainedModel:
    types = ["full_attention", "sliding_attention", "sliding_attention"]
    return ModernBertForMaskedLM(
        ModernBertConfig(**_SIZES, cls_token_id=1, sep_token_id=2, layer_types=types, local_attention=16)
    )


FAMILIES = MappingProxyType(
    {
        "llama": Family(lambda: LlamaForCausalLM(LlamaConfig(**_GROUPED)), _causal_tokenizer, (1, ..., 2), "llama"),
        "mistral": Family(
            lambda: MistralForCausalLM(MistralConfig(**_GROUPED)), _causal_tokenizer, (1, ..., 2), "mistral"
        ),
        # Its end token is its padding token.
        "qwen2": Family(
            lambda: Qwen2ForCausalLM(Qwen2Config(**_SIZES | {"num_key_value_heads": 2, "pad_token_id": None})),
            lambda: tokenizer_of(eos_token="</s>", pad_token="</s>"),
            (..., 2),
            "qwen2",
            pooling="last",
        ),
        # Its tokenizer closes texts by the padding token, not by the end token.
        "qwen3-embedding": Family(
            lambda: Qwen3Model(Qwen3Config(**_GROUPED | {"pad_token_id": None})),
            lambda: tokenizer_of("$A <pad>", eos_token="</s>", pad_token="<pad>"),
            (..., 0),
            "qwen3",
            pooling="last",
        ),
        "gemma3-text": Family(
            lambda: Gemma3ForCausalLM(_gemma3_text()),
            lambda: tokenizer_of("<s> $A", bos_token="<s>", eos_token="</s>", pad_token="<pad>"),
            (1, ..., 2),
            "gemma3_text",
        ),
        "gemma3": Family(
            _gemma3,
            lambda: tokenizer_of("<s> $A", bos_token="<s>", eos_token="</s>", pad_token="<pad>"),
            (1, ..., 2),
            "gemma3_text",
        ),
        "bert": Family(
            lambda: BertForMaskedLM(BertConfig(**_SIZES)), _bert_tokenizer, (1, ..., 2), "bert", pooling="cls"
        ),
        "distilbert": Family(
            lambda: DistilBertForMaskedLM(
                DistilBertConfig(
                    vocab_size=400, dim=WIDTH, hidden_dim=64, n_layers=LAYERS, n_heads=4, initializer_range=0.2,
                    max_position_embeddings=POSITIONS,
                )
            ),
            _bert_tokenizer,
            (1, ..., 2),
            "distilbert",
        ),
        "roberta": Family(
            lambda: RobertaForMaskedLM(RobertaConfig(**_ROBERTA_SIZES)),
            _roberta_tokenizer,
            (0, ..., 2),
            "roberta",
            positions=POSITIONS - 2,
        ),
        "xlm-roberta": Family(
            lambda: XLMRobertaModel(XLMRobertaConfig(**_ROBERTA_SIZES)),
            _roberta_tokenizer,
            (0, ..., 2),
            "xlm-roberta",
            positions=POSITIONS - 2,
        ),
        "mpnet": Family(
            lambda: MPNetForMaskedLM(MPNetConfig(**_ROBERTA_SIZES)),
            _roberta_tokenizer,
            (0, ..., 2),
            "mpnet",
            positions=POSITIONS - 2,
        ),
        "modernbert": Family(_modernbert, _bert_tokenizer, (1, ..., 2), "modernbert"),
    }
)  # fmt: skip


def write_family(folder: Path, name: str, seed: int = 0) -> Path:
    """Write a model and tokenizer of a family; the global random state stays as it was.

    Returns:
        `folder`, made where it does not exist, which `llmemb.encoder.encoder.load_llm(str(folder))` loads.
    """
    family = FAMILIES[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        family.model().save_pretrained(folder)
    family.tokenizer().save_pretrained(folder)
    return folder


def write_sentence_transformer(folder: Path, name: str, transformer: str = "") -> Path:
    """Write a family as a sentence-transformers folder of the hub: its vectors normalised, the model in a sub-folder.

    Args:
        folder: made where it does not exist.
        name: of the family.
        transformer: the sub-folder, such as `0_Transformer`; empty: none.
    """
    write_family(folder / transformer, name)
    kinds = {transformer: "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for number, (path, kind) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": WIDTH, "pooling_mode_mean_tokens": True})
    )
    (folder / transformer / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": POSITIONS - 2}))
    return folder
