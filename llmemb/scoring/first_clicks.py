"""A new item's first clicks: a residual fitted to the sessions that took it, with the model frozen.

`d` width of item embeddings, `D` of session and item vectors, `m` background sessions, `k` sessions that took the item.

An item of vector x competes with the warm items: session s takes it with probability
`p(s) = exp(s.x + s.r) / (Z_s + exp(s.x + s.r))`, where `Z_s` is the sum of `exp(s.x_j)` over the warm items j. The
residual r `(d,)` belongs to the first d numbers of x, the item embedding; the rest, the semantic term's, is constant.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Wide = NDArray[np.float64]

CHUNK_SCORES = 2**22
"""Scores that are held in float64 at once: 32 MiB."""
MOST_STEPS = 50
"""Newton steps of a fit, at most."""
LEAST_DECREASE = 1e-12
"""The fit ends with the step that promises less than this of the loss, which is in nats."""
LEAST_ESTIMATE = 1e-12
"""Under this the frozen model's estimate of an item counts as this."""
MOST_HALVINGS = 40
"""Of a Newton step that overshoots."""
ARMIJO = 1e-4
"""Share of the decrease that the gradient promises which a step must give."""
JITTER = 1e-12
"""Share of the Hessian's mean eigenvalue that is added to it, so that it can be solved whatever the sessions are."""


@dataclass(frozen=True, slots=True)
class Background:
    """A sample of the sessions in which the item was not taken.

    Args:
        sessions: `(m, D)`.
        log_partition: of each session, see `log_partition`, `(m,)`.
    """

    sessions: Array
    log_partition: Wide


@dataclass(frozen=True, slots=True)
class ClickPrior:
    """How much clicks must say before a residual follows them.

    Args:
        strength: lambda, of the pull to zero; positive.
        own_clicks: how many clicks the frozen model's own estimate of the item is worth, a. Without it a first click
            lowers an item that has been there for long, and one that comes at once lifts it above all others. With 0
            the fit is the training loss alone.
    """

    strength: float
    own_clicks: float = 0.0


def log_partition(sessions: Array, item_vectors: Array) -> Wide:
    """Return `log Z_s`, the logarithm of the sum of `exp(score)` over the items, of each session.

    Args:
        sessions: `(n, D)`.
        item_vectors: of the warm items, `(W, D)`.

    Returns:
        `(n,)` float64.
    """
    logs = np.empty(len(sessions))
    rows = max(1, CHUNK_SCORES // max(1, len(item_vectors)))
    for start in range(0, len(sessions), rows):
        scores = (sessions[start : start + rows] @ item_vectors.T).astype(np.float64)
        highest = scores.max(axis=1, keepdims=True)
        logs[start : start + rows] = highest[:, 0] + np.log(np.exp(scores - highest).sum(axis=1))
    return logs


def fit_residual(
    taken: Array,
    taken_log_partition: Wide,
    background: Background,
    item_vector: Array,
    dim: int,
    *,
    exposures: float,
    prior: ClickPrior,
) -> Array:
    """Fit the residual of one item to the sessions that took it.

    It minimises `- sum of log p(s) over those k - w * sum of log(1 - p(s)) over the m background sessions
    + lambda |r|^2 / 2`, the training loss with everything but r frozen. The exposures count the less the fewer clicks
    there are: `w = exposures / m * k / (k + a)`. To this comes what the frozen model says itself: as many exposures as
    a clicks take by its own estimate `p0` of the item, that is
    `- v * sum of (p0(s) log p(s) + (1 - p0(s)) log(1 - p(s)))` over the background, with `v = a / sum of p0(s)`.

    The function is convex and has one minimum, which Newton's method finds with the exact Hessian `(d, d)`; the same
    inputs give the same residual.

    Args:
        taken: `(k, D)`; of no session the residual is zero.
        taken_log_partition: see `log_partition`, `(k,)`.
        background: sessions that did not take it.
        item_vector: the item's without a residual, `(D,)`; scored by inner product, as `scoring="dot"` does.
        dim: width of the item embedding, d.
        exposures: how many sessions did not take it, of which the background is a sample; not negative.
        prior: lambda and a.

    Returns:
        `(d,)` float32, finite for finite inputs.

    Source: the loss is the training's, see `llmemb_training.rat.losses`; fitting one item by it, and a, are ours.
    """
    if not len(taken):
        return np.zeros(dim, dtype=np.float32)
    sessions = np.concatenate([taken, background.sessions]).astype(np.float64)
    offsets = sessions @ item_vector.astype(np.float64)
    offsets -= np.concatenate([taken_log_partition, background.log_partition])
    # Logistic regression, with a = s.x + s.r - log Z_s: log p is -log(1 + exp(-a)), and log(1 - p) is -log(1 + exp(a)).
    k, m = len(taken), len(background.sessions)
    weights, labels = np.ones(len(sessions)), np.ones(len(sessions))
    own = _sigmoid(offsets[k:])
    by_model = prior.own_clicks / max(float(own.sum()), LEAST_ESTIMATE)
    weights[k:] = exposures / m * k / (k + prior.own_clicks) + by_model
    labels[k:] = by_model * own / np.maximum(weights[k:], LEAST_ESTIMATE)
    return _minimise(sessions[:, :dim], offsets, labels, weights, prior.strength).astype(np.float32)


def _minimise(features: Wide, offsets: Wide, labels: Wide, weights: Wide, strength: float) -> Wide:
    """Return r `(d,)` that minimises a weighted logistic loss plus `strength |r|^2 / 2`.

    The loss is `weights . (log(1 + exp(a)) - labels a)` with `a = offsets + features r`; labels are between 0 and 1.
    """
    point, logits = np.zeros(features.shape[1]), offsets

    def loss(logits: Wide, point: Wide) -> float:
        # Of a label 1 in its own form: log(1 + exp(a)) - a would lose all digits where a is great.
        each = (1.0 - labels) * np.logaddexp(0.0, logits) + labels * np.logaddexp(0.0, -logits)
        return float(weights @ each + strength * (point @ point) / 2.0)

    value = loss(logits, point)
    for _ in range(MOST_STEPS):
        odds = _sigmoid(logits)
        gradient = features.T @ (weights * (odds - labels)) + strength * point
        roots = features * np.sqrt(weights * odds * (1.0 - odds))[:, None]
        hessian = roots.T @ roots
        hessian[np.diag_indices_from(hessian)] += strength + JITTER * np.trace(hessian) / len(hessian)
        step = np.linalg.solve(hessian, gradient)
        along, promised = features @ step, float(gradient @ step)
        size = 1.0
        for _ in range(MOST_HALVINGS):
            closer, closer_logits = point - size * step, logits - size * along
            lower = loss(closer_logits, closer)
            if lower <= value - ARMIJO * size * promised:
                break
            size /= 2.0
        else:
            break  # what is left to gain is below the rounding of the loss
        point, logits, value = closer, closer_logits, lower
        if promised <= LEAST_DECREASE:
            break
    return point


def _sigmoid(logits: Wide) -> Wide:
    odds: Wide = np.exp(-np.logaddexp(0.0, -logits))
    return odds
