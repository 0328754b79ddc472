"""The nearest neighbours of a few items at each stage."""

from collections.abc import Sequence
from dataclasses import dataclass

from llmemb_training.data.dataset import Dataset
from llmemb_training.report.shown_items import ShownItem, show_items
from llmemb_training.report.stages import Stage, nearest

NUM_NEIGHBOURS = 5


@dataclass(frozen=True, slots=True)
class ShownNeighbour:
    """A neighbour of an item."""

    item: ShownItem
    cosine: float


@dataclass(frozen=True, slots=True)
class StageNeighbours:
    """The neighbours of one item at one stage, nearest first."""

    stage: str
    neighbours: tuple[ShownNeighbour, ...]


@dataclass(frozen=True, slots=True)
class ItemNeighbours:
    """An item and its neighbours."""

    item: ShownItem
    train_count: int
    stages: tuple[StageNeighbours, ...]


def show_neighbours(dataset: Dataset, stages: Sequence[Stage], rows: Sequence[int]) -> tuple[ItemNeighbours, ...]:
    """Find the neighbours of some item rows at each stage."""
    near = [nearest(stage, rows, NUM_NEIGHBOURS) for stage in stages]
    needed = {neighbour.row for found in near for neighbours in found for neighbour in neighbours}
    shown = show_items(dataset, [*rows, *needed])
    return tuple(
        ItemNeighbours(
            item=shown[row],
            train_count=int(dataset.train_counts[row]),
            stages=tuple(
                StageNeighbours(
                    stage.name,
                    tuple(ShownNeighbour(shown[one.row], one.cosine) for one in found[index]),
                )
                for stage, found in zip(stages, near, strict=True)
            ),
        )
        for index, row in enumerate(rows)
    )
