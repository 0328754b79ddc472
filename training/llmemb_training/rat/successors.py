"""Successor vectors: the items that follow an item in training histories, in the semantic term's whitened space.

`W` warm items, `q` width of the space, `X` their profile vectors `(W, q)`, `C` the follower counts `(W, W)`.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.sparse import csr_array

Array = NDArray[np.float32]
Rows = NDArray[np.int64]


class SuccessorForm(BaseModel):
    """How successor vectors are computed; for the fields see `llmemb_training.config.SuccessorsConfig`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    estimator: Literal["mean", "ridge"]
    window: int
    decay: float
    out_power: float
    in_power: float
    ridge: float


def follower_counts(histories: Sequence[Rows], num_warm: int, window: int, decay: float) -> csr_array:
    """Count followers: `C[i, c]` is the sum of `decay^(j-1)` over all positions where c is j steps after i.

    Args:
        histories: training items of each user, oldest first.
        num_warm: W.
        window: maximum j.
        decay: weight of each step relative to the step before.
    """
    first: list[Rows] = []
    second: list[Rows] = []
    weights: list[Array] = []
    for step in range(1, window + 1):
        before = [rows[:-step] for rows in histories if len(rows) > step]
        if not before:
            break
        first.append(np.concatenate(before))
        second.append(np.concatenate([rows[step:] for rows in histories if len(rows) > step]))
        weights.append(np.full(len(first[-1]), decay ** (step - 1), dtype=np.float32))
    if not first:
        return csr_array((num_warm, num_warm), dtype=np.float32)
    sums = csr_array(
        (np.concatenate(weights), (np.concatenate(first), np.concatenate(second))), shape=(num_warm, num_warm)
    )
    # An item that follows itself says nothing about other items.
    sums.setdiag(0)
    sums.eliminate_zeros()
    return sums


def successor_vectors(form: SuccessorForm, counts: csr_array, profile: Array) -> Array:
    """Return the successor vectors `(W, q)`, float32.

    B is C with each count divided by (the item's out-count)^`out_power` and (the follower's in-count)^`in_power`.
    `mean` is `B X`: the weighted sum of the followers' profile vectors. `ridge` is `B X (X'X + ridge I)^-1`: the
    vectors whose inner products with the profile vectors best fit the rows of B. An item without followers has the
    zero vector. The other vectors are scaled to a root mean square length of 1, so that delta is comparable between
    forms.

    Args:
        form: how the vectors are computed.
        counts: C.
        profile: X, of unit length.

    Source: ours; shared/METHOD.md, "Second measurements". The normalisation is that of item-to-item neighbourhoods:
    Deshpande and Karypis 2004, "Item-based top-N recommendation algorithms", section 4.2.
    """
    weights = normalised(counts, form.out_power, form.in_power)
    vectors = np.asarray(weights @ profile.astype(np.float64))
    if form.estimator == "ridge":
        vectors = apply_ridge(vectors, profile, form.ridge)
    followed = counts.sum(axis=1) > 0
    if followed.any():
        vectors /= np.sqrt((vectors[followed] ** 2).sum(axis=1).mean())
    return vectors.astype(np.float32)


def normalised(counts: csr_array, out_power: float, in_power: float) -> csr_array:
    """Return B: every count divided by powers of its row sum and its column sum."""
    out_counts, in_counts = counts.sum(axis=1), counts.sum(axis=0)
    scaled = counts.tocoo().astype(np.float64)
    scaled.data = scaled.data / (out_counts[scaled.coords[0]] ** out_power * in_counts[scaled.coords[1]] ** in_power)
    return scaled.tocsr()


def apply_ridge(products: NDArray[np.float64], profile: Array, ridge: float) -> NDArray[np.float64]:
    """Return `products (X'X + ridge I)^-1`, `(n, q)`, for products `(n, q)` with X."""
    wide = profile.astype(np.float64)
    gram = wide.T @ wide
    gram[np.diag_indices_from(gram)] += ridge
    return np.asarray(np.linalg.solve(gram, products.T).T, dtype=np.float64)


def fit_text_map(profile: Array, successors: Array, counts: csr_array, ridge: float) -> Array:
    """Return the ridge regression `(q, q)` from profile vectors to successor vectors, over items with followers."""
    followed = counts.sum(axis=1) > 0
    known = profile[followed]
    products = known.astype(np.float64).T @ successors[followed].astype(np.float64)
    return apply_ridge(products.T, known, ridge).T.astype(np.float32)
