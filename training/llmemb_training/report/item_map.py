"""Two-dimensional maps of the item embeddings, one for each stage, aligned so that they can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from llmemb_training.data.dataset import Dataset, Rows
from llmemb_training.report.shown_items import ShownItem, group_items, show_items
from llmemb_training.report.stages import Stage, chance_agreement, group_agreement

FEWEST_ITEMS = 8
"""Minimum number of items for a map."""
PERPLEXITY = 30.0
PCA_WIDTH = 50
ITERATIONS = 500
START_DEVIATION = 1e-4
"""Standard deviation of the initial positions of t-SNE, as in the library's default."""
SIDE = 400
MARGIN = 8
"""Side length of a panel in the drawing."""


@dataclass(frozen=True, slots=True)
class MapPanel:
    """The map of one stage.

    Args:
        stage: name of the stage.
        points: position of each item of `ItemMap.items`, from 0 to `SIDE`.
        agreement: mean share of an item's ten nearest items that are in its group; None without groups.
    """

    stage: str
    points: tuple[tuple[float, float], ...]
    agreement: float | None


@dataclass(frozen=True, slots=True)
class LegendEntry:
    """A group of items; `group` is -1 for items without a group."""

    group: int
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class ItemMap:
    """The panels; their points are in the same order.

    Args:
        attribute: the attribute that determines the colours; "" for none.
        legend: the groups; items without a group come last.
        items: texts of the items.
        groups: group of each item, -1 for none.
        panels: one panel for each stage.
        chance: expected agreement for random positions; None without groups.
    """

    attribute: str
    legend: tuple[LegendEntry, ...]
    items: tuple[ShownItem, ...]
    groups: tuple[int, ...]
    panels: tuple[MapPanel, ...]
    chance: float | None

    side = SIDE

    @property
    def texts(self) -> list[list[str]]:
        """Name and details of each item, for the tooltips."""
        return [[item.name, item.details] for item in self.items]


def draw_map(dataset: Dataset, stages: Sequence[Stage], rows: Rows, seed: int) -> ItemMap | None:
    """Draw the items of the sample at each stage; return None if there are too few.

    Args:
        dataset: the prepared dataset.
        stages: stages with a vector for every item of the sample.
        rows: item rows of the sample, `(n,)`.
        seed: seed of t-SNE.
    """
    if len(rows) < FEWEST_ITEMS:
        return None
    groups = group_items(dataset, rows)
    laid = lay_out(stages, rows, seed)
    # Items without a group are drawn first, below the others.
    order = np.argsort(groups.of_items, kind="stable")
    shown = show_items(dataset, rows.tolist())
    names = [*groups.names, "other"]
    keys = [*range(len(groups.names)), -1]
    return ItemMap(
        attribute=groups.attribute,
        legend=tuple(map(LegendEntry, keys, names, groups.sizes)),
        items=tuple(shown[row] for row in rows[order].tolist()),
        groups=tuple(groups.of_items[order].tolist()),
        panels=tuple(
            MapPanel(
                stage=stage.name,
                points=tuple((x, y) for x, y in (MARGIN + positions[order] * (SIDE - 2 * MARGIN)).round(1).tolist()),
                agreement=group_agreement(stage.of(rows), groups.of_items) if groups.names else None,
            )
            for stage, positions in zip(stages, laid, strict=True)
        ),
        chance=chance_agreement(groups.of_items) if groups.names else None,
    )


def lay_out(stages: Sequence[Stage], rows: Rows, seed: int) -> list[NDArray[np.float64]]:
    """Compute the positions of the sample's items at each stage, by PCA and t-SNE.

    Each stage starts from the positions of the stage before and is rotated to match it, because the orientation of a
    t-SNE map is arbitrary.

    Args:
        stages: stages with a vector for every item of the sample.
        rows: item rows of the sample, `(n,)`.
        seed: seed of t-SNE.

    Returns:
        For each stage `(n, 2)`, each coordinate from 0 to 1.

    Source: van der Maaten & Hinton 2008, "Visualizing Data using t-SNE".
    """
    laid: list[NDArray[np.float64]] = []
    for stage in stages:
        vectors = stage.of(rows).astype(np.float64)
        reduced = PCA(min(PCA_WIDTH, *vectors.shape), random_state=seed).fit_transform(vectors)
        start = laid[-1] if laid else reduced[:, :2]
        start = start / max(float(start.std()), 1e-12) * START_DEVIATION
        perplexity = min(PERPLEXITY, (len(rows) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init=start, random_state=seed, max_iter=ITERATIONS)
        positions = tsne.fit_transform(reduced).astype(np.float64)
        positions -= positions.mean(axis=0)
        laid.append(positions @ orthogonal_procrustes(positions, laid[-1])[0] if laid else positions)
    return [_to_unit_square(positions) for positions in laid]


def _to_unit_square(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    lowest, highest = positions.min(axis=0), positions.max(axis=0)
    return np.asarray((positions - lowest) / np.maximum(highest - lowest, 1e-12), dtype=np.float64)
