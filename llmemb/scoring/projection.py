"""The projection: raw embeddings `(N, h)` -> the recommender's space `(N, d)` by one affine map.

A reduction (whitening or PCA, fitted once and frozen) and the adapter (linear layers with no activation between
them) are both affine, so they fold into one `(h, d)` matrix and a bias for serving.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import ConfigError, DataError

ReductionMode = Literal["whiten", "pca", "none"]
Array = NDArray[np.float32]
CHUNK_ROWS = 16384
"""Rows that are held in float64 at once."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """`(x - mean) @ components`: `mean` is `(h,)`, `components` `(h, p)`, both float64."""

    mean: NDArray[np.float64]
    components: NDArray[np.float64]

    def apply(self, raw: Array) -> Array:
        """Reduce `(N, h)` to `(N, p)`, computed in float64, returned as float32."""
        reduced = np.empty((len(raw), self.components.shape[1]), dtype=np.float32)
        for rows in _chunks(len(raw)):
            reduced[rows] = (raw[rows].astype(np.float64) - self.mean) @ self.components
        return reduced


@dataclass(frozen=True, slots=True)
class Projection:
    """`x @ weight + bias`: `weight` is `(h, d)`, `bias` `(d,)`, both float32."""

    weight: Array
    bias: Array

    @property
    def dim(self) -> int:
        """The recommender's width, `d`."""
        return int(self.weight.shape[1])

    def arrays(self) -> dict[str, Array]:
        """Return the arrays by their names, from which `Projection(**arrays)` makes it again."""
        return {"weight": self.weight, "bias": self.bias}

    def apply(self, raw: Array) -> Array:
        """Project raw embeddings `(N, h)` to `(N, d)` float32."""
        # float64: an LLM's vectors have a few huge coordinates, which cancel only in the sum.
        weight = self.weight.astype(np.float64)
        projected = np.empty((len(raw), self.dim), dtype=np.float32)
        for rows in _chunks(len(raw)):
            projected[rows] = raw[rows].astype(np.float64) @ weight + self.bias
        return projected


def fit_reduction(raw: Array, components: int, mode: ReductionMode, option: str = "rat.components") -> Reduction:
    """Fit PCA or whitening on raw embeddings, or only their mean.

    The first two keep the `components` directions of greatest variance. `whiten` gives each unit variance; `pca`
    divides all by one number, so that their mean variance is 1: plain PCA up to that factor, which keeps one learning
    rate fit for any LLM. The sign of a direction is fixed by its greatest coordinate, so a refit gives the same
    vectors. `none` only centres, and keeps all `h` coordinates as they are.

    Args:
        raw: `(N, h)`.
        components: how many directions to keep, `p`; `none` does not read it.
        mode: `whiten`, `pca` or `none`.
        option: whose value `components` is, for the error.

    Raises:
        ConfigError: `components` exceeds what `raw` can give.
        DataError: all raw embeddings are the same.

    Source: LLMEmb, "Recommendation adaptation training" (PCA); whitening: Su et al. 2021, arXiv 2103.15316.
    """
    most = min(raw.shape[0] - 1, raw.shape[1])
    if mode != "none" and not 1 <= components <= most:
        raise ConfigError(
            f"{option} is {components}, but {raw.shape[0]} items of width {raw.shape[1]} allow 1 to {most}"
        )
    if all((raw[rows] == raw[0]).all() for rows in _chunks(len(raw))):
        raise DataError(f"all {len(raw)} items have the same raw embedding: their attributes tell none from another")
    mean = raw.mean(axis=0, dtype=np.float64)
    if mode == "none":
        return Reduction(mean=mean, components=np.eye(raw.shape[1]))
    scatter = np.zeros((raw.shape[1], raw.shape[1]))
    for rows in _chunks(len(raw)):
        centred = raw[rows] - mean
        scatter += centred.T @ centred
    variances, directions = np.linalg.eigh(scatter / (len(raw) - 1))
    variances = variances[::-1][:components]
    directions = directions[:, ::-1][:, :components]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(components)])
    floor = variances[0] * 1e-9  # a direction with no variance stays near zero instead of blowing up noise
    scale = np.sqrt(np.maximum(variances, floor)) if mode == "whiten" else np.sqrt(max(variances.mean(), floor))
    return Reduction(mean=mean, components=directions * signs / scale)


def _chunks(length: int) -> Iterator[slice]:
    """Cut rows up, so that only some of them are held in float64 at once."""
    for start in range(0, length, CHUNK_ROWS):
        yield slice(start, start + CHUNK_ROWS)


def unit_length(vectors: Array) -> Array:
    """Scale vectors `(..., d)` to unit length, computed in float64; a zero vector stays zero."""
    wide = vectors.astype(np.float64)
    length = np.linalg.norm(wide, axis=-1, keepdims=True)
    return np.asarray(wide / np.maximum(length, 1e-12), dtype=np.float32)


def fold(reduction: Reduction, layers: Sequence[tuple[Array, Array]]) -> Projection:
    """Fold a reduction and the adapter's linear layers into one affine map, computed in float64.

    Args:
        reduction: `(h, p)`.
        layers: for each layer its weight `(in, out)` and bias `(out,)`, in the order they run.
    """
    weight = reduction.components
    bias = -reduction.mean @ reduction.components
    for layer_weight, layer_bias in layers:
        weight = weight @ layer_weight.astype(np.float64)
        bias = bias @ layer_weight.astype(np.float64) + layer_bias
    return Projection(weight=weight.astype(np.float32), bias=bias.astype(np.float32))
