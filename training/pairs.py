"""What SCFT pulls together: two views of an item, or of an item and one that stands near it in histories."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llmemb.item import attributes_from_json
from llmemb.prompt import PromptSpec
from training.augmentation import draw_view
from training.co_occurrence import CoOccurrence
from training.seeds import derive_generator


@dataclass(frozen=True, slots=True)
class Pair:
    """A positive pair of prompts, and the item rows they show."""

    first: str
    second: str
    first_row: int
    second_row: int

    def identity(self) -> tuple[int, int, int, int]:
        """Return what decides who is no negative of whom: both items, and a 64-bit hash of both texts."""
        return self.first_row, self.second_row, _hash(self.first), _hash(self.second)


Pairs = Callable[[int, int], Pair]
"""(epoch, item row) -> a pair whose first is that item, always the same for the same arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairDrawer:
    """Draws the pairs of a catalogue: a `Pairs`.

    Args:
        attributes_json: of each item row.
        prompt: renders them.
        drop_share: see `draw_view`.
        seed: the configuration's.
        near: None pairs an item with itself alone, as in the paper.
        in_turn: with `near`: whether an item is paired with itself in every other epoch.
    """

    attributes_json: Sequence[str]
    prompt: PromptSpec
    drop_share: float
    seed: int
    near: CoOccurrence | None = None
    in_turn: bool = False

    def __call__(self, epoch: int, row: int) -> Pair:
        """Draw a pair; an item that never stands near another is paired with itself."""
        generator = derive_generator(self.seed, "scft", "views", epoch, row)
        partner = None
        # Half of the items are at each kind in each epoch, so that a batch holds both.
        if self.near is not None and not (self.in_turn and (epoch + row) % 2):
            partner = self.near.partner(row, generator)
        second_row = row if partner is None else partner
        return Pair(self._view(row, generator), self._view(second_row, generator), row, second_row)

    def _view(self, row: int, generator: np.random.Generator) -> str:
        attributes = attributes_from_json(self.attributes_json[row])
        names = [name for name in self.prompt.attribute_names if name in attributes]
        return self.prompt.render_in_order(attributes, draw_view(names, self.drop_share, generator))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)
