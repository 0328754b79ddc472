"""The configuration of a run: one frozen tree, read from TOML, checked before anything runs.

Every value that changes a number is here; a step unpacks its section into plain arguments.
"""

import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from llmemb.errors import ConfigError
from llmemb.sequence_models import SequenceModelSpec


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PrepareConfig(_Section):
    """Reading the source and splitting it."""

    path: str
    """Folder of the source."""
    format: Literal["auto", "recbole", "generic"] = "auto"
    """`recbole`: one `*.inter` and one `*.item` file; `generic`: `interactions.csv` and `items.jsonl`, each
    perhaps with `.gz`; `auto` looks which of them is there."""
    domain: str = Field(min_length=1)
    """What the items are, a singular noun for the prompt, such as `movie`."""
    attributes: dict[str, str] = {}
    """Attribute name -> column of the source, in the order of the prompt; empty: every column but the id."""
    list_attributes: tuple[str, ...] = ()
    """RecBole only: attributes whose words are separate values."""
    min_interactions: int = Field(default=5, ge=1)
    """k of the k-core, for users and items."""
    cold_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the items held out of all training, to measure new items on."""
    cold_interactions: int = Field(default=10, ge=1)
    """The first interactions of a cold item that become targets."""

    @model_validator(mode="after")
    def _lists_are_attributes(self) -> "PrepareConfig":
        for name in self.list_attributes:
            if self.attributes and name not in self.attributes:
                raise ValueError(f"list_attributes: {name!r} is none of the attributes")
        return self


class EncoderConfig(_Section):
    """The LLM."""

    base: str
    """A Hugging Face id, a folder, or the path of a `.gguf` file."""
    depth: int | None = Field(default=None, ge=1)
    """The first layers that are kept; None keeps all."""
    pooling: Literal["mean", "last"] = "mean"
    """Mean over the tokens, or the last one."""
    max_tokens: int = Field(default=256, ge=8)
    """The longest prompt, in tokens."""
    max_value_characters: int = Field(default=100, ge=1)
    """Attribute values are cut to this length."""


class ScftConfig(_Section):
    """Supervised contrastive fine-tuning."""

    enabled: bool = True
    """False leaves the LLM as it is."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the items, each with fresh views."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stops earlier, in optimiser steps."""
    batch_items: int = Field(default=64, ge=2)
    """Items contrasted with each other in a step."""
    mini_batch_items: int | None = Field(default=None, ge=1)
    """Items that go through the LLM at once; less than `batch_items` caches gradients, which bounds memory and
    costs one more forward pass. None: the whole batch."""
    temperature: float = Field(default=0.05, gt=0.0)
    """tau: cosines are divided by it."""
    drop_share: float = Field(default=0.4, ge=0.0, lt=1.0)
    """Share of an item's attributes that a view lacks."""
    learning_rate: float = Field(default=2e-4, gt=0.0)
    """Of AdamW, falling linearly to zero."""
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps in which the learning rate rises."""
    lora_rank: int = Field(default=8, ge=1)
    """r."""
    lora_alpha: int = Field(default=16, ge=1)
    """Scale of the update: alpha / r."""
    lora_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """On the input of the update."""
    checkpoint_steps: int = Field(default=10, ge=1)
    """Steps between two checkpoints."""


class EmbedConfig(_Section):
    """Embedding every item once."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Bound on the tokens of a batch, padding included."""
    shard_items: int = Field(default=1024, ge=1)
    """Items of a shard; a shard that is written is not computed again."""


class AlignmentConfig(_Section):
    """Alignment of the adapted embeddings to the collaborative ones."""

    alpha: float = Field(default=0.01, ge=0.0)
    """Weight of the alignment loss; 0 switches it off."""
    temperature: float = Field(default=2.0, gt=0.0)
    """tau: cosines are divided by it."""


class ResidualConfig(_Section):
    """The collaborative residual."""

    mode: Literal["none", "all"] = "all"
    """`all`: every item with training interactions has one."""
    dropout: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the items that lack theirs in a step, so that the semantic part stays good alone."""


class RatConfig(_Section):
    """Recommendation adaptation training."""

    model: SequenceModelSpec = SequenceModelSpec()
    """The sequence model, ours and the vanilla one."""
    reduction: Literal["whiten", "pca"] = "whiten"
    """How raw embeddings become `components` numbers."""
    components: int = Field(default=256, ge=2)
    """p."""
    loss: Literal["softmax", "bce"] = "softmax"
    """Full softmax over the items, or binary cross-entropy with one negative."""
    alignment: AlignmentConfig = AlignmentConfig()
    residual: ResidualConfig = ResidualConfig()
    mask_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """BERT4Rec: share of the positions that are masked in training."""
    batch_size: int = Field(default=128, ge=1)
    """Histories of a step."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Of Adam."""
    max_epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation NDCG@10 before training stops."""


class EvaluateConfig(_Section):
    """Ranking the test targets."""

    ks: tuple[int, ...] = (5, 10, 20)
    """Cut-offs of HR@k and NDCG@k; 10 is among them."""
    num_negatives: int = Field(default=100, ge=1)
    """Negatives of the sampled protocol."""
    exclude_history: bool = True
    """Whether items of the history cannot be recommended (the target itself always can)."""
    tail_share: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Share of the items, those with the fewest training interactions, that count as tail."""
    knn_history: int = Field(default=10, ge=1)
    """Most recent items that make the profile of the semantic nearest-neighbour baseline."""

    @model_validator(mode="after")
    def _has_ten(self) -> "EvaluateConfig":
        if 10 not in self.ks or min(self.ks) < 1:
            raise ValueError("ks must be positive and hold 10, by which models are selected")
        return self


class Config(_Section):
    """The whole configuration."""

    seed: int = Field(default=42, ge=0)
    """Decides every random choice of the run."""
    prepare: PrepareConfig
    encoder: EncoderConfig
    scft: ScftConfig = ScftConfig()
    embed: EmbedConfig = EmbedConfig()
    rat: RatConfig = RatConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file and apply overrides such as `rat.alignment.alpha=0`.

    An override's value is read as TOML, and as plain text where it is none.

    Raises:
        ConfigError: the file cannot be read, or a key or value is wrong; the message names it.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _apply_override(content, override)
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigError(f"{path}: {faults}") from error


def _apply_override(content: dict[str, JsonValue], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key.strip():
        raise ConfigError(f"--set {override!r} must look like section.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    *sections, name = key.strip().split(".")
    for section in sections:
        inner = content.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {override!r}: {section} is no section")
        content = inner
    content[name] = value


def dump_config(config: Config) -> dict[str, JsonValue]:
    """Return the resolved configuration as JSON values."""
    dumped: dict[str, JsonValue] = config.model_dump(mode="json")
    return dumped
