"""The bundle's items as people meet them: the popular ones often, the others seldom."""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import polars as pl

from llmemb.encoder.prompt import PromptSpec
from llmemb.item import Item, attributes_from_json

Attributes = dict[str, str | list[str]]
"""As a request has them."""
_WORD = re.compile(r"\w{3,}")


@dataclass(frozen=True, slots=True)
class Population:
    """What requests are drawn from; the caller brings the random numbers, so that a seed gives the same again."""

    bundle_id: str
    items: tuple[Item, ...]
    prompt: PromptSpec
    summed_weights: tuple[float, ...]
    """Of the items up to each, itself included."""

    def item(self, random: Random) -> Item:
        """Draw an item by popularity."""
        return random.choices(self.items, cum_weights=self.summed_weights)[0]

    def history(self, random: Random, longest: int = 20) -> list[str]:
        """Draw what somebody has clicked, the oldest first."""
        return [self.item(random).id for _ in range(random.randint(1, longest))]

    def word(self, random: Random) -> str:
        """Draw a word that somebody searches for: one of an item's name."""
        item = self.item(random)
        words = _WORD.findall(_text(item.attributes[self._name_of(item)]))
        return random.choice(words) if words else "the"

    def attributes(self, item: Item) -> Attributes:
        """Return an item's attributes as a request has them."""
        return {name: value if isinstance(value, str) else list(value) for name, value in item.attributes.items()}

    def new_attributes(self, random: Random) -> Attributes:
        """Make the attributes of an item that is like one of the bundle, with a name that no cache knows."""
        item = self.item(random)
        name = self._name_of(item)
        # In front: a long name's end is cut from the prompt.
        return self.attributes(item) | {name: f"{random.getrandbits(40):010x} {_text(item.attributes[name])}"}

    def prompts(self, items: Sequence[Item]) -> list[str]:
        """Return the texts that the encoder reads for items."""
        return [self.prompt.render(item.attributes) for item in items]

    def _name_of(self, item: Item) -> str:
        return next(name for name in self.prompt.attribute_names if name in item.attributes)


def read_population(bundle: Path) -> Population:
    """Read a bundle's items.

    Only the two files that are needed, as docs/bundle-format.md has them: `llmemb.bundle` would bring torch into
    every load generator.
    """
    manifest = json.loads((bundle / "manifest.json").read_bytes())
    prompt = manifest["prompt"]
    frame = pl.read_parquet(bundle / "items.parquet", columns=["id", "attributes", "popularity"])
    return Population(
        bundle_id=manifest["id"],
        items=tuple(
            Item(item_id, attributes_from_json(text))
            for item_id, text in zip(frame["id"], frame["attributes"], strict=True)
        ),
        prompt=PromptSpec(
            prompt["domain"], tuple(prompt["attribute_names"]), prompt["max_value_characters"], prompt["instruction"]
        ),
        # One more for each, so that those of which nothing is known are met too.
        summed_weights=tuple(itertools.accumulate(count + 1.0 for count in frame["popularity"])),
    )


def _text(value: str | tuple[str, ...]) -> str:
    return value if isinstance(value, str) else " ".join(value)
