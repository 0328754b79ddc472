"""Facts about the run: dataset, steps and their durations, and options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from llmemb.item import attributes_from_json
from llmemb_training.config import Config
from llmemb_training.data.dataset import Dataset
from llmemb_training.runs.run_folder import StepRecord

_KINDS = {"interactions": "Interactions", "items": "Items", "users": "Users", "cold": "New items"}
_COUNTS = {
    "interactions_read": "read",
    "interactions_rated_low": "dropped: rating below the minimum",
    "interactions_repeated": "dropped: same user, item and time as another",
    "interactions_without_item_text": "dropped: item without text",
    "interactions_outside_core": "dropped: user or item with too few interactions (k-core)",
    "interactions_kept": "kept",
    "interactions_cold": "of these, with items held out of all training",
    "items_read": "read",
    "items_repeated": "dropped: repeated id",
    "items_without_interactions": "dropped: no or too few interactions",
    "items_without_text": "dropped: no attribute has a value",
    "items_outside_core": "dropped: too few interactions after users with too few were dropped",
    "items_kept": "kept",
    "items_cold": "of these, held out of all training to evaluate new items",
    "users_kept": "kept",
    "users_with_targets": "of these, with a test target: at least three interactions",
    "cold_targets": "test targets: first interactions with the held-out items",
}


@dataclass(frozen=True, slots=True)
class Count:
    """A count of the dataset."""

    kind: str
    what: str
    number: int


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """The dataset.

    Args:
        domain: kind of the items.
        attribute_names: attributes in the order of the prompt.
        counts: numbers of read, dropped and kept interactions, items and users.
        median_history: median number of interactions per user.
        density: share of user-item pairs with an interaction.
        example_prompt: prompt of the first item.
    """

    domain: str
    attribute_names: tuple[str, ...]
    counts: tuple[Count, ...]
    median_history: float
    density: float
    example_prompt: str


@dataclass(frozen=True, slots=True)
class StepTime:
    """Duration and summary of a step; `share` is its percentage of the total duration."""

    name: str
    seconds: float
    share: float
    summary: str


@dataclass(frozen=True, slots=True)
class Option:
    """An option of the configuration; `is_set` is false for a default value."""

    key: str
    value: str
    meaning: str
    is_set: bool


def dataset_facts(dataset: Dataset, max_value_characters: int) -> DatasetFacts:
    """Describe a prepared dataset."""
    lengths = dataset.sequences["item_rows"].list.len()
    pairs = dataset.sequences.height * dataset.num_warm
    attributes = attributes_from_json(dataset.items["attributes"][0])
    middle = lengths.median()
    return DatasetFacts(
        domain=dataset.info.domain,
        attribute_names=dataset.info.attribute_names,
        counts=tuple(_count(name, number) for name, number in dataset.info.counts.items()),
        median_history=float(middle) if isinstance(middle, int | float) else 0.0,
        density=float(lengths.sum()) / pairs,
        example_prompt=dataset.prompt(max_value_characters).render(attributes),
    )


def _count(name: str, number: int) -> Count:
    kind, _, rest = name.partition("_")
    return Count(_KINDS.get(kind, kind), _COUNTS.get(name, rest.replace("_", " ")), number)


def step_times(records: Mapping[str, StepRecord]) -> tuple[StepTime, ...]:
    """Return the duration and summary of each step, in the given order."""
    whole = sum(record.seconds for record in records.values()) or 1.0
    return tuple(
        StepTime(name, record.seconds, 100 * record.seconds / whole, record.summary) for name, record in records.items()
    )


def options(config: Config) -> dict[str, tuple[Option, ...]]:
    """Return every option by section, with its documentation from the configuration."""
    sections = {name: getattr(config, name) for name in type(config).model_fields}
    listed = {
        name: tuple(_flatten(section, ())) for name, section in sections.items() if isinstance(section, BaseModel)
    }
    top = [name for name, value in sections.items() if not isinstance(value, BaseModel)]
    return {"": tuple(_option(config, name, name) for name in top)} | listed


def _flatten(section: BaseModel, path: Sequence[str]) -> list[Option]:
    found = []
    for name in type(section).model_fields:
        value = getattr(section, name)
        if isinstance(value, BaseModel):
            found += _flatten(value, (*path, name))
        else:
            found.append(_option(section, name, ".".join((*path, name))))
    return found


def _option(section: BaseModel, name: str, key: str) -> Option:
    field = type(section).model_fields[name]
    return Option(key, _value(getattr(section, name)), field.description or "", name in section.model_fields_set)


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} = {entry}" for key, entry in value.items()) or "none"
    if isinstance(value, tuple | list):
        return ", ".join(str(entry) for entry in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return str(value)
