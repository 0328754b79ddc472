"""Batches of SCFT: item views, history steps, and the masks of texts that are not negatives of each other."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from llmemb.encoder.prompt import PromptSpec
from llmemb.errors import DataError
from llmemb.item import attributes_from_json
from llmemb.scoring.semantic_term import recency_weights
from llmemb_training.config import ScftConfig
from llmemb_training.config.seeds import derive_generator


def draw_view(names: Sequence[str], drop_share: float, generator: np.random.Generator) -> list[str]:
    """Shuffle an item's attributes and drop `floor(drop_share * n)` of them; at least one stays.

    Source: LLMEmb, "Supervised contrastive fine-tuning", attribute-level data augmentation.
    """
    kept = max(1, len(names) - math.floor(drop_share * len(names)))
    return [names[i] for i in generator.permutation(len(names))[:kept]]


Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class NextPairs:
    """Positive pairs of a query and the next item, for every step of every history except the first.

    Args:
        weights: weights of the items in each query, `(P, n)`; a row sums to 1.
        positives: position of each step's item in the batch, `(P,)`.
        masked: items that are not negatives of a step, `(P, n)`: the items of its history and their duplicates.
    """

    weights: NDArray[np.float32]
    positives: Rows
    masked: Mask


@dataclass(frozen=True, slots=True)
class Batch:
    """The texts and pairs of one optimiser step.

    Args:
        rows: the distinct items, ascending, `(n,)`.
        views: one text for each item.
        second_views: a second, independently drawn text for each item; empty with `positives = "next"`.
        next_pairs: None with `positives = "views"`.
        alike: pairs of different items with the same text, which are not negatives, `(n, n)`. False on the diagonal.
    """

    rows: Rows
    views: list[str]
    second_views: list[str]
    next_pairs: NextPairs | None
    alike: Mask

    @property
    def num_pairs(self) -> int:
        """Number of positive pairs: history steps, and items with two views."""
        return len(self.second_views) + (0 if self.next_pairs is None else len(self.next_pairs.positives))


class Batches:
    """All batches of a training, in order; batch `i` does not depend on the order of access.

    An epoch covers the histories, or with `positives = "views"` the items, in a random order. Of a history longer than
    `history_window`, each epoch uses a random window of that length. An incomplete last batch of an epoch is dropped,
    unless it is the only one.

    Args:
        attributes_json: attributes of each item row.
        num_warm: items 0..num_warm-1 are trained on.
        histories: training items of each user, oldest first.
        prompt: renders the items.
        config: the size and number of the batches.
        seed: the seed in the configuration.

    Raises:
        DataError: all items have the same prompt, or no history has two items.
    """

    def __init__(
        self,
        attributes_json: Sequence[str],
        num_warm: int,
        histories: Sequence[Rows],
        prompt: PromptSpec,
        config: ScftConfig,
        seed: int,
    ) -> None:
        self._attributes_json = attributes_json
        self._prompt = prompt
        self._config = config
        self._seed = seed
        texts = [prompt.render(attributes_from_json(text)) for text in attributes_json[:num_warm]]
        _, self._text = np.unique(texts, return_inverse=True)
        if self._text.max(initial=0) == 0:
            raise DataError(
                f"all {num_warm:,} items have the same prompt, {texts[0] if texts else ''!r}: SCFT cannot tell one "
                "from another; give the items attributes, or set scft.enabled = false"
            )
        if config.positives == "views":
            self._units: Sequence[Rows] = list(np.arange(num_warm)[:, None])
            size = config.batch_items
        else:
            self._units = [rows for rows in histories if len(rows) > 1]
            size = config.batch_histories
            if not self._units:
                raise DataError(
                    f"no training history has two items, which scft.positives = {config.positives!r} needs: "
                    "set it to 'views'"
                )
        self._size = min(size, len(self._units))
        # Caches the current epoch only.
        self._epoch = lru_cache(maxsize=1)(self._draw_epoch)
        self._steps = self._plan()

    @property
    def num_pairs(self) -> int:
        """Number of positive pairs in all batches."""
        return self.num_pairs_before(len(self))

    def num_pairs_before(self, step: int) -> int:
        """Number of positive pairs in the batches before a step."""
        return sum(pairs for _, _, pairs in self._steps[:step])

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, step: int) -> Batch:
        epoch, start, _ = self._steps[step]
        parts = self._epoch(epoch)[start : start + self._size]
        rows = np.unique(np.concatenate(parts))
        generator = derive_generator(self._seed, "scft", "views", step)
        views = [self._view(row, generator) for row in rows]
        with_views, with_next = (self._config.positives != kind for kind in ("next", "views"))
        second = [self._view(row, generator) for row in rows] if with_views else []
        alike = self._alike(rows, views, second)
        return Batch(rows, views, second, self._next_pairs(parts, rows, alike) if with_next else None, alike)

    def _plan(self) -> list[tuple[int, int, int]]:
        """Return the epoch, the start within the epoch and the number of pairs of each batch."""
        config = self._config
        steps: list[tuple[int, int, int]] = []
        pairs = epoch = 0
        while pairs < config.max_pairs if config.max_pairs is not None else epoch < config.epochs:
            units = self._epoch(epoch)
            for start in range(0, len(units) - self._size + 1, self._size):
                batch = units[start : start + self._size]
                of_next = 0 if config.positives == "views" else sum(len(unit) - 1 for unit in batch)
                of_views = 0 if config.positives == "next" else len(np.unique(np.concatenate(batch)))
                steps.append((epoch, start, of_next + of_views))
                pairs += of_next + of_views
                if config.max_pairs is not None and pairs >= config.max_pairs:
                    break
            epoch += 1
        return steps

    def _draw_epoch(self, epoch: int) -> list[Rows]:
        """Return the history windows, or the items, in the order of this epoch."""
        window = self._config.history_window
        generator = derive_generator(self._seed, "scft", "order", epoch)
        units = [self._units[place] for place in generator.permutation(len(self._units))]
        firsts = generator.integers([max(1, len(unit) - window + 1) for unit in units])
        return [unit[first : first + window] for unit, first in zip(units, firsts, strict=True)]

    def _view(self, row: int, generator: np.random.Generator) -> str:
        attributes = attributes_from_json(self._attributes_json[row])
        names = [name for name in self._prompt.attribute_names if name in attributes]
        return self._prompt.render_in_order(attributes, draw_view(names, self._config.drop_share, generator))

    def _alike(self, rows: Rows, views: list[str], second_views: list[str]) -> Mask:
        """Return which items share a text: the whole prompt, or a view in this batch."""
        _, drawn = np.unique([*views, *second_views], return_inverse=True)
        alike: Mask = np.equal.outer(self._text[rows], self._text[rows])
        for first in drawn.reshape(-1, len(rows)):
            for second in drawn.reshape(-1, len(rows)):
                alike |= np.equal.outer(first, second)
        np.fill_diagonal(alike, False)
        return alike

    def _next_pairs(self, histories: list[Rows], rows: Rows, alike: Mask) -> NextPairs:
        config = self._config
        num_pairs = sum(len(history) - 1 for history in histories)
        weights = np.zeros((num_pairs, len(rows)), dtype=np.float32)
        masked = np.zeros((num_pairs, len(rows)), dtype=bool)
        positives = np.zeros(num_pairs, dtype=np.int64)
        pair = 0
        for history in histories:
            places = np.searchsorted(rows, history)
            own: Mask = np.any(alike[places], axis=0)
            own[places] = True
            for step in range(1, len(places)):
                recent = places[max(0, step - config.history) : step]
                np.add.at(weights[pair], recent, recency_weights(len(recent), config.decay))
                positives[pair] = places[step]
                masked[pair] = own
                masked[pair, places[step]] = False
                pair += 1
        return NextPairs(weights, positives, masked)
