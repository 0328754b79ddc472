"""The space in which items are scored: raw embeddings -> item vectors.

An item vector `(D,)` is the item embedding `(d,)`, followed by the semantic profile vector `(q,)` where there is a
semantic term; D = d + q. Its inner product with a session vector is the item's score. In a history an item also has
its successor vector `(q,)`, where the semantic term reads such: a history vector is `(D + q,)`.
`N` items, `h` the LLM's width; functions take `(N, ...)` and a single item alike.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmemb.scoring.projection import Projection, unit_length
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray

Scoring = Literal["dot", "cosine"]
"""`cosine`: item embeddings have unit length, so that length does not affect the score."""
Array = NDArray[np.float32]


def compose(semantic: Array, residual: Array | None, scoring: Scoring) -> Array:
    """Return item embeddings `(N, d)`.

    Args:
        semantic: projected embeddings, `(N, d)`.
        residual: collaborative residuals `(N, d)`; None where items have none.
        scoring: see `Scoring`.
    """
    embeddings = semantic if residual is None else semantic + residual
    return unit_length(embeddings) if scoring == "cosine" else embeddings


def join(vectors: Array, more: Array | SuccessorArray | None) -> Array:
    """Return vectors `(N, a + b)` of `(N, a)` and what stands beside them `(N, b)`, or None; float32.

    Item vectors are item embeddings joined with profile vectors; history vectors are these joined with successor
    vectors.
    """
    return vectors if more is None else np.concatenate([vectors, more], axis=-1, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class ItemSpace:
    """All that makes an item vector of a raw embedding, but for the residual, which belongs to the item's id.

    Args:
        projection: `(h, d)`.
        scoring: how item embeddings are composed.
        semantic_term: None where there is none.
    """

    projection: Projection
    scoring: Scoring = "dot"
    semantic_term: SemanticTerm | None = None

    @property
    def dim(self) -> int:
        """Width of item embeddings, `d`."""
        return self.projection.dim

    @property
    def width(self) -> int:
        """Width of item vectors, `D`."""
        return self.dim + (0 if self.semantic_term is None else self.semantic_term.components)

    def semantic_vectors(self, raw: Array) -> Array:
        """Return what raw embeddings `(N, h)` give alone, `(N, D)`: projected, and beside it the profile vectors."""
        return join(self.projection.apply(raw), None if self.semantic_term is None else self.semantic_term.apply(raw))

    def item_vectors(self, semantic_vectors: Array, residual: Array | None) -> Array:
        """Return item vectors `(N, D)` of semantic vectors `(N, D)` and residuals `(N, d)`, or None."""
        embeddings = compose(semantic_vectors[..., : self.dim], residual, self.scoring)
        return join(embeddings, None if self.semantic_term is None else semantic_vectors[..., self.dim :])
