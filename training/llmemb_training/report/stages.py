"""Item embeddings before SCFT, after SCFT and after RAT, as unit vectors that are compared by cosine.

`n` items of the sample, `N` of the catalogue, `h` the LLM's width, `q` the width of a stage's vectors.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.projection import Reduction, fit_reduction, unit_length
from llmemb_training.data.dataset import Rows

Array = NDArray[np.float32]
COMPONENTS = 64
"""Number of principal components for comparing raw embeddings."""
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Stage:
    """The embeddings of one stage.

    Args:
        name: display name.
        rows: rows of the items with a vector at this stage, ascending.
        vectors: unit vectors of these items, `(len(rows), q)`.
    """

    name: str
    rows: Rows
    vectors: Array

    def of(self, rows: Rows) -> Array:
        """Return the vectors of some of the items."""
        return self.vectors[np.searchsorted(self.rows, rows)]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A neighbour of an item."""

    row: int
    cosine: float


def raw_stage(name: str, rows: Rows, raw: Array, sample: Array) -> Stage:
    """Centre raw embeddings, project them to the principal components of the sample, and scale them to unit length.

    The raw vectors of an LLM all have nearly the same direction; after centring, cosines distinguish items. Whitening
    would also amplify noise, so that fewer neighbours would be in the same category.

    Args:
        name: name of the stage.
        rows: item rows of `raw`.
        raw: raw embeddings, `(len(rows), h)`.
        sample: raw embeddings of the sample at the same stage, `(n, h)`.

    Raises:
        DataError: all items of the sample have the same raw embedding.
    """
    reduction = fit_reduction(sample, min(COMPONENTS, len(sample) - 1, sample.shape[1]), "pca")
    return Stage(name, rows, _reduce(reduction, raw))


def _reduce(reduction: Reduction, raw: Array) -> Array:
    # In blocks, because the reduction is computed in float64 and a catalogue may have a million items.
    blocks = [reduction.apply(raw[start : start + _BLOCK]) for start in range(0, len(raw), _BLOCK)]
    return unit_length(np.concatenate(blocks))


def trained_stage(name: str, embeddings: Array) -> Stage:
    """Scale the item embeddings `(N, d)` of a trained recommender to unit length."""
    return Stage(name, np.arange(len(embeddings)), unit_length(embeddings))


def nearest(stage: Stage, rows: Sequence[int], num_neighbours: int) -> list[list[Neighbour]]:
    """Return the nearest other items of each given item by cosine; ties are in row order."""
    found = []
    for row in rows:
        cosines = stage.vectors @ stage.vectors[np.searchsorted(stage.rows, row)]
        order = np.lexsort((stage.rows, -cosines))
        others = [index for index in order[: num_neighbours + 1] if stage.rows[index] != row][:num_neighbours]
        found.append([Neighbour(int(stage.rows[index]), float(cosines[index])) for index in others])
    return found


def group_agreement(vectors: Array, groups: Rows, num_neighbours: int = 10) -> float:
    """Return the mean share of an item's nearest items that are in its group, over all items with a group.

    Args:
        vectors: unit vectors, `(n, q)`.
        groups: group of each item, -1 for none, `(n,)`.
        num_neighbours: number of nearest items; fewer if there are fewer items.
    """
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    grouped = groups >= 0
    near = np.argsort(-cosines[grouped], axis=1, kind="stable")[:, : min(num_neighbours, len(vectors) - 1)]
    return float((groups[near] == groups[grouped, None]).mean())


def chance_agreement(groups: Rows) -> float:
    """Return the expected `group_agreement` for random neighbours."""
    sizes = np.bincount(groups[groups >= 0])
    return float((sizes * (sizes - 1)).sum() / sizes.sum() / (len(groups) - 1))
