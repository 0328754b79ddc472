"""What an encoder is made of: a base's configuration and tokenizer, without weights; and which bases are refused."""

import copy
import functools
import inspect
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from tokenizers.processors import Sequence as ProcessorSequence
from tokenizers.processors import TemplateProcessing
from transformers import (
    MODEL_MAPPING,
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from llmemb.encoder.engines.engine import Pooling
from llmemb.errors import EncoderError

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model",
    "tekken.json",
)  # fmt: skip
_WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin")
_POSITIONS_AFTER_PADDING = frozenset(
    {
        "camembert", "data2vec-text", "longformer", "mpnet", "roberta", "roberta-prelayernorm", "xlm-roberta",
        "xlm-roberta-xl", "xmod",
    }
)  # fmt: skip
"""Kinds of model whose first token has the position after the padding token's id, as RoBERTa's."""
_PER_LAYER = ("layer_types", "mlp_layer_types")
"""Members of a configuration with one entry a layer."""


@dataclass(frozen=True, slots=True)
class EncoderBase:
    """A language model that can become an encoder, but for its weights.

    Args:
        source: as it was asked for.
        location: the folder or Hugging Face id that transformers reads.
        gguf: what transformers needs to know beside it for a `.gguf` file; else empty.
        config: of the whole model, of which the language model may be a part.
        tokenizer: closes every text with an end token.
    """

    source: str
    location: str
    gguf: Mapping[str, str]
    config: PretrainedConfig
    tokenizer: PreTrainedTokenizerFast

    @property
    def text_config(self) -> PretrainedConfig:
        """The configuration of the language model."""
        return self.config.get_text_config()

    @property
    def depth(self) -> int:
        """Number of layers."""
        return int(self.text_config.num_hidden_layers)

    @property
    def width(self) -> int:
        """Width of the raw embeddings, `h`."""
        return int(self.text_config.hidden_size)

    @property
    def positions(self) -> int | None:
        """The most tokens that a text may have; None where the model has no bound."""
        config = self.text_config
        positions = getattr(config, "max_position_embeddings", None)
        if not positions or positions < 0:
            return None
        return int(positions) - (config.pad_token_id + 1 if config.model_type in _POSITIONS_AFTER_PADDING else 0)

    def check(self, *, depth: int | None, pooling: Pooling, max_tokens: int) -> None:
        """Refuse what this base cannot do.

        Raises:
            EncoderError: it has fewer layers than `depth` or fewer positions than `max_tokens`, or its texts do not
                begin with the token that `pooling` reads.
        """
        if depth is not None and not 1 <= depth <= self.depth:
            raise EncoderError(
                f"encoder.depth is {depth}, but {self.source!r} has {self.depth} layers: choose from 1 to {self.depth}"
            )
        if self.positions is not None and max_tokens > self.positions:
            raise EncoderError(
                f"encoder.max_tokens is {max_tokens}, but {self.source!r} has {self.positions} positions: "
                f"choose at most {self.positions}"
            )
        if pooling == "cls" and self.tokenizer("a")["input_ids"][0] != self.tokenizer.cls_token_id:
            raise EncoderError(
                f"encoder.pooling is 'cls', but {self.source!r} begins no text with such a token: "
                "choose 'mean' or 'last'"
            )

    def cut(self, depth: int) -> None:
        """Let the configuration have the first `depth` layers only."""
        config = self.text_config
        config.num_hidden_layers = depth
        for name in _PER_LAYER:
            if getattr(config, name, None):
                setattr(config, name, getattr(config, name)[:depth])


def read_base(source: str) -> EncoderBase:
    """Read a base's configuration and tokenizer; its weights are not read, and where they lie here, looked for.

    Args:
        source: a Hugging Face id, a folder, of sentence-transformers too, or the path of a `.gguf` file.

    Raises:
        EncoderError: there is no language model that can become an encoder; one sentence says why.
    """
    path = Path(source)
    with loading(source):
        if path.suffix == ".gguf":
            status = path.stat()
            config, tokenizer = copy.deepcopy(_read_gguf(path, status.st_size, status.st_mtime_ns))
            location, gguf = str(path.parent), {"gguf_file": path.name}
            _check_kind(source, config)
        else:
            location, gguf = _location(source), {}
            # Undecided, transformers would ask at the terminal whether to run code that a repository brings.
            config = AutoConfig.from_pretrained(location, trust_remote_code=False)
            _check_kind(source, config)
            if path.is_dir():
                _check_files(source, Path(location))
            tokenizer = _read_tokenizer(location)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise EncoderError(f"the tokenizer of {source!r} is not one of the `tokenizers` library, which is needed")
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise EncoderError(f"{source!r} has no tokenizer, or one that knows no text")
    add_end_token(tokenizer)
    return EncoderBase(source, location, gguf, config, tokenizer)


@contextmanager
def loading(source: str) -> Iterator[None]:
    """Make one sentence of what the libraries raise for a source that is missing, foreign, cut off or contradictory.

    Raises:
        EncoderError: in their place.
    """
    # The libraries' own bars and remarks would stand among ours.
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()
    try:
        yield
    except _LOADING_ERRORS as error:
        reason = " ".join(str(error).split())
        if "trust_remote_code" in reason:
            reason = "it brings code of its own, which is not run"
        raise EncoderError(
            f"cannot load the LLM {source!r} (a Hugging Face id, a folder or a .gguf file): {reason}"
        ) from error


_LOADING_ERRORS = (
    OSError, ValueError, TypeError, AttributeError, ImportError, LookupError, RuntimeError, struct.error,
    SafetensorError,
)  # fmt: skip


def model_options(config: PretrainedConfig) -> dict[str, bool]:
    """Return how transformers must load a model so that it has no pooler, whose output nobody reads."""
    parameters = inspect.signature(_model_class(config).__init__).parameters
    return {"add_pooling_layer": False} if "add_pooling_layer" in parameters else {}


def add_end_token(tokenizer: PreTrainedTokenizerFast) -> None:
    """Let the tokenizer itself close every text with an end token, wherever it is loaded from then on.

    One that closes texts by itself is left to it, whatever the token: BERT's separator, or that of an embedding model
    which differs from its end token. Else the end token is added, or the separator where there is none.

    Also sets the padding side and token. Changes `tokenizer` in place.

    Raises:
        EncoderError: the tokenizer has neither token.
    """
    end = tokenizer.eos_token or tokenizer.sep_token
    if end is None:
        raise EncoderError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no end token and no separator token to close a text with"
        )
    tokenizer.padding_side = "right"
    tokenizer.truncation_side = "right"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = end
    if tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"][-1]:
        return
    backend = tokenizer.backend_tokenizer
    closed = TemplateProcessing(
        single=f"$A {end}",
        pair=f"$A $B {end}",
        special_tokens=[(end, tokenizer.convert_tokens_to_ids(end))],
    )
    backend.post_processor = (
        closed if backend.post_processor is None else ProcessorSequence([backend.post_processor, closed])
    )


def _location(source: str) -> str:
    """Return where the transformer lies: in a sentence-transformers folder it may have a folder of its own."""
    folder = Path(source)
    modules = folder / "modules.json"
    if modules.is_file():
        first = json.loads(modules.read_text(encoding="utf-8"))[0]
        kind = str(first["type"]).rpartition(".")[2]
        if kind != "Transformer":
            raise EncoderError(f"{source!r} begins with a {kind} and not with a Transformer, which alone can be tuned")
        folder /= str(first["path"])
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        base = json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path")
        raise EncoderError(
            f"{source!r} holds a PEFT adapter of {base!r} and no whole model: merge it into that base "
            "(`merge_and_unload`), save the result with its tokenizer, and name that folder"
        )
    return str(folder) if folder.is_dir() else source


def _check_files(source: str, folder: Path) -> None:
    """Look for weights and a tokenizer: transformers makes an empty tokenizer where there is none."""
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHT_FILES):
        raise EncoderError(f"{source!r} has no weights: there is no *.safetensors and no pytorch_model.bin in {folder}")
    if not any((folder / name).is_file() for name in _TOKENIZER_FILES):
        raise EncoderError(f"{source!r} has no tokenizer: there is none of {', '.join(_TOKENIZER_FILES)} in {folder}")


def _check_kind(source: str, config: PretrainedConfig) -> None:
    """Refuse what is no stack of layers that reads text."""
    kind = config.model_type
    if config.is_encoder_decoder:
        raise EncoderError(
            f"{source!r} is a {kind}, an encoder with a decoder: choose a model that is one of the two, such as BERT "
            "or Llama"
        )
    if type(config) not in MODEL_MAPPING:
        raise EncoderError(f"{source!r} is a {kind}, for which transformers has no model without a head")
    model_class = _model_class(config)
    if model_class.main_input_name != "input_ids":
        raise EncoderError(f"{source!r} is a {kind}, which reads {model_class.main_input_name} and not text")
    text_config = config.get_text_config()
    if text_config is not config:
        with torch.device("meta"):
            has_language_model = hasattr(model_class(config), "language_model")
        if not has_language_model:
            raise EncoderError(f"{source!r} is a {kind}, which holds no language model that could be taken out of it")
    for name in ("num_hidden_layers", "hidden_size"):
        if not isinstance(getattr(text_config, name, None), int):
            raise EncoderError(f"{source!r} is a {kind}, whose configuration has no {name}")


def _model_class(config: PretrainedConfig) -> type[PreTrainedModel]:
    found = MODEL_MAPPING[type(config)]
    model_class = found[0] if isinstance(found, tuple) else found
    assert model_class is not None
    return model_class


def _read_tokenizer(location: str, **gguf: str) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(location, trust_remote_code=False, **gguf)
    except Exception as error:
        # The `tokenizers` library has no exception of its own for a file that it does not understand.
        if type(error) is Exception:
            raise ValueError(f"its tokenizer: {error}") from error
        raise
    return tokenizer


@functools.lru_cache(maxsize=1)
def _read_gguf(path: Path, *_version: int) -> tuple[PretrainedConfig, PreTrainedTokenizerBase]:
    """Read a file, once for each size and time of change: transformers takes ten seconds for each of the two."""
    gguf = {"gguf_file": path.name}
    return AutoConfig.from_pretrained(path.parent, **gguf), _read_tokenizer(str(path.parent), **gguf)
