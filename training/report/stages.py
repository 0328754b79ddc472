"""What an item's embedding is before SCFT, after SCFT and after RAT, on one footing: unit vectors, compared by cosine.

`n` items of the sample, `N` of the catalogue, `h` the LLM's width, `q` the width of a stage's vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.projection import Reduction, fit_reduction, unit_length
from training.data.dataset import Rows

Array = NDArray[np.float32]
COMPONENTS = 64
"""Directions in which raw embeddings are compared."""
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Stage:
    """The embeddings of one stage.

    Args:
        name: what a person calls the stage.
        rows: the items that have a vector here, ascending.
        vectors: of those items, unit length, `(len(rows), q)`.
    """

    name: str
    rows: Rows
    vectors: Array

    def of(self, rows: Rows) -> Array:
        """Return the vectors of some of the items."""
        return self.vectors[np.searchsorted(self.rows, rows)]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An item near another."""

    row: int
    cosine: float


def raw_stage(name: str, rows: Rows, raw: Array, sample: Array) -> Stage:
    """Centre raw embeddings, keep the principal directions of the sample, and scale them to unit length.

    An LLM's raw vectors all point nearly the same way; centred, their cosines tell items apart. Whitening them too
    would make as much of a direction of noise as of one of meaning: fewer near items would be of one category.

    Args:
        name: of the stage.
        rows: the items of `raw`.
        raw: `(len(rows), h)`.
        sample: `(n, h)`, of the same stage.

    Raises:
        DataError: all items of the sample have the same raw embedding.
    """
    reduction = fit_reduction(sample, min(COMPONENTS, len(sample) - 1, sample.shape[1]), "pca")
    return Stage(name, rows, _reduce(reduction, raw))


def _reduce(reduction: Reduction, raw: Array) -> Array:
    # In blocks: the reduction is computed in float64, and a catalogue may hold a million items.
    blocks = [reduction.apply(raw[start : start + _BLOCK]) for start in range(0, len(raw), _BLOCK)]
    return unit_length(np.concatenate(blocks))


def trained_stage(name: str, embeddings: Array) -> Stage:
    """Scale the item embeddings `(N, d)` of a trained recommender to unit length."""
    return Stage(name, np.arange(len(embeddings)), unit_length(embeddings))


def nearest(stage: Stage, rows: Sequence[int], num_neighbours: int) -> list[list[Neighbour]]:
    """Return the nearest other items of each of some items, by cosine; of equals the first row goes first."""
    found = []
    for row in rows:
        cosines = stage.vectors @ stage.vectors[np.searchsorted(stage.rows, row)]
        order = np.lexsort((stage.rows, -cosines))
        others = [index for index in order[: num_neighbours + 1] if stage.rows[index] != row][:num_neighbours]
        found.append([Neighbour(int(stage.rows[index]), float(cosines[index])) for index in others])
    return found


def group_agreement(vectors: Array, groups: Rows, num_neighbours: int = 10) -> float:
    """Return the share of an item's nearest items that are of its own group, averaged over the items of any group.

    Args:
        vectors: unit length, `(n, q)`.
        groups: of each item, -1 for none, `(n,)`.
        num_neighbours: how many near items count; fewer where there are fewer.
    """
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    grouped = groups >= 0
    near = np.argsort(-cosines[grouped], axis=1, kind="stable")[:, : min(num_neighbours, len(vectors) - 1)]
    return float((groups[near] == groups[grouped, None]).mean())


def chance_agreement(groups: Rows) -> float:
    """Return the same share where the near items are any others."""
    sizes = np.bincount(groups[groups >= 0])
    return float((sizes * (sizes - 1)).sum() / sizes.sum() / (len(groups) - 1))
