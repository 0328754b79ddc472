"""The batches of SCFT: views of items, steps of histories, and which texts are pulled together or apart."""

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
from training.config import ScftConfig
from training.config.seeds import derive_generator


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
    """Every step of every history, after the first, as a pair of what was taken before and what was taken then.

    Args:
        weights: of the items in each query, `(P, n)`; a row sums to 1.
        positives: the place of each step's item among the batch's, `(P,)`.
        masked: what is no negative of a step, `(P, n)`: the items of its history, and all that read the same as one.
    """

    weights: NDArray[np.float32]
    positives: Rows
    masked: Mask


@dataclass(frozen=True, slots=True)
class Batch:
    """What one optimiser step trains on.

    Args:
        rows: the distinct items, ascending, `(n,)`.
        views: a text of each.
        second_views: another text of each, drawn independently; empty where views are not contrasted.
        next_pairs: None where histories are not read.
        alike: items whose views are not contrasted with each other, `(n, n)`: they read the same. False on the
            diagonal.
    """

    rows: Rows
    views: list[str]
    second_views: list[str]
    next_pairs: NextPairs | None
    alike: Mask

    @property
    def num_pairs(self) -> int:
        """Positive pairs: steps of histories, and items with two views."""
        return len(self.second_views) + (0 if self.next_pairs is None else len(self.next_pairs.positives))


class Batches:
    """All batches of a training, in order; batch `i` is the same whenever it is asked for.

    An epoch passes over the histories, or with `positives = "views"` over the items, in an order of its own. Of a
    history longer than `history_window`, each epoch takes that many items from a random place on. What is left of an
    epoch after its last whole batch is not used, unless it is all there is.

    Args:
        attributes_json: of each item row.
        num_warm: items 0..num_warm-1 are trained on.
        histories: training items of each user, the oldest first.
        prompt: renders the items.
        config: what a batch holds, and how many there are.
        seed: the configuration's.

    Raises:
        DataError: all items read the same, or no history has two items.
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
        # Of the epoch that was asked for last.
        self._epoch = lru_cache(maxsize=1)(self._draw_epoch)
        self._steps = self._plan()

    @property
    def num_pairs(self) -> int:
        """Positive pairs of all batches."""
        return self.num_pairs_before(len(self))

    def num_pairs_before(self, step: int) -> int:
        """Positive pairs of the batches before a step."""
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
        """Return of each batch its epoch, its place in it and its pairs."""
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
        """Return the windows of the histories, or the items, in this epoch's order."""
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
        """Return which items have a text in common: the whole one, or a view of this batch."""
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
