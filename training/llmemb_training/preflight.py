"""Checks of a configuration before any expensive step.

They read the LLM's configuration and tokenizer and the prepared dataset, but no weights.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import ConfigError, DataError
from llmemb_training.config import Config
from llmemb_training.data.dataset import Dataset, categories_attribute, read_dataset

if TYPE_CHECKING:
    from llmemb.encoder.base import EncoderBase


def check_base(config: Config) -> None:
    """Check the configuration against its base LLM.

    Raises:
        EncoderError: the base is not a language model, has too few layers or positions, or needs another pooling.
        ConfigError: the base is narrower than `components`, cannot generate, or the instruction leaves no tokens for an
            item.
    """
    base = _read_base(config.encoder.base)
    depth = None if config.encoder.depth == "auto" else config.encoder.depth
    base.check(depth=depth, pooling=config.encoder.pooling, max_tokens=config.encoder.max_tokens)
    if config.encoder.depth == "auto":
        _check_candidates(config, base)
    _check_width(config, base)
    _check_instruction(config, base)
    if config.scft.enabled and config.scft.generation_weight and not base.text_config.tie_word_embeddings:
        raise ConfigError(
            f"scft.generation_weight is {config.scft.generation_weight:g}, but the head of {base.source!r} is not its "
            "token embeddings (tie_word_embeddings is false): set it to 0"
        )


def check_encoder(config: Config, folder: Path) -> None:
    """Check the configuration against the tuned encoder in `folder`; its base may no longer exist.

    Raises:
        ConfigError: the encoder is narrower than `components`.
    """
    _check_width(config, _read_base(str(folder)))


def check_dataset(config: Config, folder: Path) -> None:
    """Check the configuration against the prepared dataset in `folder`, and the dataset itself.

    Raises:
        ConfigError: there are too few warm items for `components`, or `bundle.categories_attribute` is not an
            attribute.
        DataError: no user has two items to train on, or a user with targets interacted with all items.
    """
    dataset = read_dataset(folder)
    # W points span W - 1 directions at most.
    most = dataset.num_warm - 1
    for option, components in _components(config):
        if components > most:
            raise ConfigError(
                f"{option} is {components}, but {dataset.num_warm} items to train on span only {most} directions: "
                f"choose at most {most}"
            )
    categories_attribute(config.bundle.categories_attribute, dataset.info.attribute_names)
    _check_histories(config, dataset)


def check_ray(config: Config) -> None:
    """Check that Ray is installed if `embed.engine` is "ray".

    Raises:
        ConfigError: Ray is not installed.
    """
    if config.embed.engine == "ray":
        import llmemb_training.embedding.ray  # noqa: F401  # raises the error


def _read_base(source: str) -> "EncoderBase":
    # Imported here because transformers takes seconds to import, and a run that is up to date does not need it.
    from llmemb.encoder.base import read_base

    return read_base(source)


def _check_candidates(config: Config, base: "EncoderBase") -> None:
    deepest = max(config.select.depth, default=1)
    if deepest > base.depth:
        raise ConfigError(
            f"select.depth has {deepest}, but {base.source!r} has {base.depth} layers: choose from 1 to {base.depth}"
        )


def _check_width(config: Config, base: "EncoderBase") -> None:
    for option, components in _components(config):
        if components > base.width:
            raise ConfigError(
                f"{option} is {components}, but the vectors of {base.source!r} are {base.width} wide: "
                f"choose at most {base.width}"
            )


def _components(config: Config) -> list[tuple[str, int]]:
    """Return every requested number of components, with the name of its option."""
    asked: list[tuple[str, int]] = []
    if config.rat.reduction != "none":
        if config.rat.components == "auto":
            asked += [("a candidate of select.components", components) for components in config.select.components]
        else:
            asked.append(("rat.components", config.rat.components))
    if config.rat.semantic_term.gamma != 0:
        asked.append(("rat.semantic_term.components", config.rat.semantic_term.components))
    return asked


def _check_instruction(config: Config, base: "EncoderBase") -> None:
    prompt = PromptSpec(config.prepare.domain, (), instruction=config.prepare.instruction)
    tokens = len(base.tokenizer(prompt.beginning)["input_ids"])
    bounds = {"encoder.max_tokens": config.encoder.max_tokens}
    if config.scft.enabled and config.scft.max_tokens is not None:
        bounds["scft.max_tokens"] = config.scft.max_tokens
    for option, bound in bounds.items():
        if tokens >= bound:
            raise ConfigError(
                f"prepare.instruction takes {tokens} tokens, and {option} is {bound}: nothing of an item would be left"
            )


def _check_histories(config: Config, dataset: Dataset) -> None:
    lengths = dataset.sequences["item_rows"].list.len()
    # In histories of three or more items, the last two are targets.
    if not ((lengths == 2) | (lengths > 3)).any():
        raise DataError(
            f"{config.prepare.path}: no user has two items to train on beside the two that are kept for validation and "
            "test: there is nothing to learn from; bring longer histories or lower prepare.cold_share"
        )
    # `evaluate` ranks each target among items that its user did not interact with.
    users = dataset.sequences.filter(lengths >= 3).select("user_id", rows=pl.concat_list("item_rows", "cold_rows"))
    users = users.filter(pl.col("rows").list.len() >= dataset.num_items)
    full = users.filter(pl.col("rows").list.n_unique() == dataset.num_items)["user_id"]
    if len(full):
        raise DataError(
            f"{config.prepare.path}: user {full[0]!r} interacted with all {dataset.num_items:,} items, so that none is "
            "left to rank a target among: bring more items, or leave such users out"
        )
