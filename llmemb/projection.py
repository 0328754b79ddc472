"""The projection: raw embeddings `(N, h)` -> the recommender's space `(N, d)` by one affine map.

A reduction (whitening or PCA, fitted once and frozen) and the adapter (linear layers with no activation between
them) are both affine, so they fold into one `(h, d)` matrix and a bias for serving.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmemb.errors import ConfigError, DataError

ReductionMode = Literal["whiten", "pca"]
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Reduction:
    """`(x - mean) @ components`: `mean` is `(h,)`, `components` `(h, p)`, both float64."""

    mean: NDArray[np.float64]
    components: NDArray[np.float64]

    def apply(self, raw: Array) -> Array:
        """Reduce `(N, h)` to `(N, p)`, computed in float64, returned as float32."""
        return np.asarray((raw.astype(np.float64) - self.mean) @ self.components, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Projection:
    """`x @ weight + bias`: `weight` is `(h, d)`, `bias` `(d,)`, both float32."""

    weight: Array
    bias: Array

    @property
    def dim(self) -> int:
        """The recommender's width, `d`."""
        return int(self.weight.shape[1])

    def apply(self, raw: Array) -> Array:
        """Project raw embeddings `(N, h)` to `(N, d)` float32."""
        # float64: an LLM's vectors have a few huge coordinates, which cancel only in the sum.
        wide = raw.astype(np.float64) @ self.weight.astype(np.float64) + self.bias
        return np.asarray(wide, dtype=np.float32)


def fit_reduction(raw: Array, components: int, mode: ReductionMode) -> Reduction:
    """Fit PCA or whitening on raw embeddings.

    Both keep the `components` directions of greatest variance. `whiten` gives each unit variance; `pca` divides all
    by one number, so that their mean variance is 1: plain PCA up to that factor, which keeps one learning rate fit
    for any LLM. The sign of a direction is fixed by its greatest coordinate, so a refit gives the same vectors.

    Args:
        raw: `(N, h)`.
        components: how many directions to keep, `p`.
        mode: `whiten` or `pca`.

    Raises:
        ConfigError: `components` exceeds what `raw` can give.
        DataError: all raw embeddings are the same.

    Source: LLMEmb, "Recommendation adaptation training" (PCA); whitening: Su et al. 2021, arXiv 2103.15316.
    """
    most = min(raw.shape[0] - 1, raw.shape[1])
    if not 1 <= components <= most:
        raise ConfigError(
            f"rat.components is {components}, but {raw.shape[0]} items of width {raw.shape[1]} allow 1 to {most}"
        )
    if (raw == raw[0]).all():
        raise DataError(f"all {len(raw)} items have the same raw embedding: their attributes tell none from another")
    wide = raw.astype(np.float64)
    mean = wide.mean(axis=0)
    covariance = np.cov(wide, rowvar=False)
    variances, directions = np.linalg.eigh(covariance)
    variances = variances[::-1][:components]
    directions = directions[:, ::-1][:, :components]
    signs = np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(components)])
    floor = variances[0] * 1e-9  # a direction with no variance stays near zero instead of blowing up noise
    scale = np.sqrt(np.maximum(variances, floor)) if mode == "whiten" else np.sqrt(max(variances.mean(), floor))
    return Reduction(mean=mean, components=directions * signs / scale)


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
