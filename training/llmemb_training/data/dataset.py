"""The prepared dataset: written by `prepare`, read by all later steps.

items.parquet         item row -> item_id, attributes (JSON), train_count; warm items first
sequences.parquet     user_id, item_rows (warm) and their times; cold_rows, their cold_times and cold_after
cold_targets.parquet  user_id, history_rows, target_row, time
dataset.json          num_warm, domain, instruction, attribute names, and counts of read and dropped data
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from llmemb.bundle import BundleItems
from llmemb.encoder.prompt import INSTRUCTION, PromptSpec
from llmemb.errors import ConfigError
from llmemb.item import Attributes, attributes_from_json

Rows = NDArray[np.int64]
_CATEGORIES = ("categories", "category", "genres", "genre")
"""Attribute names that are used as an item's categories; the first existing one."""


class DatasetInfo(BaseModel):
    """`dataset.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    domain: str
    instruction: str = INSTRUCTION
    attribute_names: tuple[str, ...]
    num_warm: int
    counts: dict[str, int]
    """Numbers of read, dropped and kept interactions, items and users, by name."""

    def prompt(self, max_value_characters: int) -> PromptSpec:
        """How this catalogue's items become prompts."""
        return PromptSpec(self.domain, self.attribute_names, max_value_characters, self.instruction)


@dataclass(frozen=True, slots=True)
class Targets:
    """Users with their history and the next item.

    Args:
        user_ids: user of each target; a user may have several cold targets.
        histories: item rows before the target, oldest first.
        rows: the targets' item rows, `(n,)`.
    """

    user_ids: tuple[str, ...]
    histories: list[Rows]
    rows: Rows

    def part(self, chosen: slice) -> "Targets":
        """Return some of the targets."""
        return Targets(self.user_ids[chosen], self.histories[chosen], self.rows[chosen])


@dataclass(frozen=True)
class Dataset:
    """A prepared dataset in memory."""

    info: DatasetInfo
    items: pl.DataFrame
    sequences: pl.DataFrame
    cold: pl.DataFrame

    @property
    def num_items(self) -> int:
        """Number of items, N."""
        return self.items.height

    @property
    def num_warm(self) -> int:
        """Number of items that may be trained on, W; their rows come first."""
        return self.info.num_warm

    @cached_property
    def train_counts(self) -> NDArray[np.int64]:
        """Training interactions of each item, `(N,)`."""
        return self.items["train_count"].to_numpy()

    @cached_property
    def histories(self) -> list[Rows]:
        """Each user's warm items of all splits, oldest first."""
        return _arrays(self.sequences["item_rows"])

    @cached_property
    def train(self) -> list[Rows]:
        """Each user's training items: the history without its last two items, or all of it if shorter than three."""
        return [rows[: _train_length(len(rows))] for rows in self.histories]

    @cached_property
    def validation(self) -> Targets:
        """The second-to-last item of each history of at least three, with the training items as the history."""
        return self._targets(-2)

    @cached_property
    def test(self) -> Targets:
        """The last item of each history of at least three, with all items before it as the history."""
        return self._targets(-1)

    @cached_property
    def cold_targets(self) -> Targets:
        """The first interactions with cold items, with the warm items before them as the history."""
        return Targets(
            user_ids=tuple(self.cold["user_id"].to_list()),
            histories=_arrays(self.cold["history_rows"]),
            rows=self.cold["target_row"].to_numpy(),
        )

    @cached_property
    def interacted(self) -> dict[str, Rows]:
        """Each user's items of all splits: the history, then the cold items."""
        cold = _arrays(self.sequences["cold_rows"])
        users = self.sequences["user_id"].to_list()
        return {
            user: np.concatenate((history, rows)) if len(rows) else history
            for user, history, rows in zip(users, self.histories, cold, strict=True)
        }

    def prompt(self, max_value_characters: int) -> PromptSpec:
        """How this catalogue's items become prompts."""
        return self.info.prompt(max_value_characters)

    def attributes(self) -> list[Attributes]:
        """Attributes of each item row."""
        return [attributes_from_json(text) for text in self.items["attributes"]]

    def bundle_items(self) -> BundleItems:
        """Return the items for a bundle."""
        return BundleItems(
            ids=tuple(self.items["item_id"].to_list()),
            attributes_json=tuple(self.items["attributes"].to_list()),
            popularity=self.train_counts,
        )

    def _targets(self, position: int) -> Targets:
        users = self.sequences["user_id"].to_list()
        kept = [(user, rows) for user, rows in zip(users, self.histories, strict=True) if len(rows) >= 3]
        return Targets(
            user_ids=tuple(user for user, _ in kept),
            histories=[rows[:position] for _, rows in kept],
            rows=np.array([rows[position] for _, rows in kept], dtype=np.int64),
        )


def count_train(sequences: pl.DataFrame, num_items: int) -> NDArray[np.int64]:
    """Count each item's training interactions, without validation and test targets, `(N,)`."""
    rows = sequences.select(
        pl.col("item_rows").list.head(
            pl.when(pl.col("item_rows").list.len() >= 3)
            .then(pl.col("item_rows").list.len() - 2)
            .otherwise(pl.col("item_rows").list.len())
        )
    )["item_rows"]
    return np.bincount(rows.explode().drop_nulls().to_numpy(), minlength=num_items).astype(np.int64)


def write_dataset(folder: Path, dataset: Dataset) -> None:
    """Write a dataset's files into `folder`."""
    dataset.items.write_parquet(folder / "items.parquet")
    dataset.sequences.write_parquet(folder / "sequences.parquet")
    dataset.cold.write_parquet(folder / "cold_targets.parquet")
    (folder / "dataset.json").write_text(dataset.info.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_dataset(folder: Path) -> Dataset:
    """Read a dataset that `write_dataset` wrote."""
    return Dataset(
        info=DatasetInfo.model_validate_json((folder / "dataset.json").read_text(encoding="utf-8")),
        items=pl.read_parquet(folder / "items.parquet"),
        sequences=pl.read_parquet(folder / "sequences.parquet"),
        cold=pl.read_parquet(folder / "cold_targets.parquet"),
    )


def categories_attribute(configured: str, names: tuple[str, ...]) -> str | None:
    """Return the attribute with the categories, or None.

    Args:
        configured: `bundle.categories_attribute`.
        names: the items' attributes.

    Raises:
        ConfigError: the configured name is not one of the attributes.
    """
    if configured == "auto":
        return next((name for name in _CATEGORIES if name in names), None)
    if configured and configured not in names:
        raise ConfigError(
            f"bundle.categories_attribute is {configured!r}, but the items have only the attributes {', '.join(names)}"
        )
    return configured or None


def _arrays(lists: pl.Series) -> list[Rows]:
    """Return each list as a view of one shared array."""
    flat = lists.explode(empty_as_null=False).to_numpy()
    ends = lists.list.len().cast(pl.Int64).cum_sum().to_list()
    return [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def _train_length(length: int) -> int:
    return length - 2 if length >= 3 else length
