"""The folded projection against the reduction and the adapter run one after the other."""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.decomposition import PCA
from torch import Tensor, from_numpy, nn

from llmemb.scoring.projection import Array, Reduction, ReductionMode, fit_reduction, fold


def raw_embeddings(huge: float) -> Array:
    """Vectors of 500 items; a few coordinates are huge and nearly constant, as an LLM's are."""
    raw = np.random.default_rng(0).normal(size=(500, 96))
    raw[:, [3, 40, 77]] = raw[:, [3, 40, 77]] * huge / 100 + [huge, -huge, huge / 2]
    return raw.astype(np.float32)


def adapter(*widths: int) -> nn.Sequential:
    """Linear layers of the given widths, with no activation between them."""
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(widths)))


def layers_of(module: nn.Sequential) -> list[tuple[Array, Array]]:
    """The adapter's layers as `fold` takes them."""
    return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in module]


def run_in_turn(reduction: Reduction, module: nn.Sequential, raw: Array) -> Array:
    """What training computes: reduce, then the adapter in torch."""
    out: Tensor = module(from_numpy(reduction.apply(raw)))
    return np.asarray(out.detach().numpy())


@pytest.mark.parametrize("huge", [1.0, 1e3, 1e5])
@pytest.mark.parametrize("mode", ["whiten", "pca"])
def test_folded_projection_equals_reduction_and_adapter(mode: ReductionMode, huge: float) -> None:
    """One map gives what the two give in turn, huge coordinates or not."""
    raw = raw_embeddings(huge)
    reduction = fit_reduction(raw, 32, mode)
    module = adapter(32, 16, 24)

    folded = fold(reduction, layers_of(module)).apply(raw)

    expected = run_in_turn(reduction, module, raw)
    cosine = (folded * expected).sum(axis=1) / np.linalg.norm(folded, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() >= 0.99999
    np.testing.assert_allclose(folded, expected, atol=1e-3 * float(expected.std()))


def test_folded_projection_embeds_an_unseen_item() -> None:
    """The fold holds for vectors that the reduction was not fitted on."""
    raw = raw_embeddings(1e3)
    reduction = fit_reduction(raw[:400], 32, "whiten")
    module = adapter(32, 24)

    folded = fold(reduction, layers_of(module)).apply(raw[400:])

    np.testing.assert_allclose(folded, run_in_turn(reduction, module, raw[400:]), atol=1e-3)


@pytest.mark.parametrize(("mode", "whiten"), [("whiten", True), ("pca", False)])
def test_reduction_equals_scikit_learn(mode: ReductionMode, *, whiten: bool) -> None:
    """Whitening is scikit-learn's up to signs; PCA up to signs and one common factor."""
    raw = raw_embeddings(10.0)
    expected = PCA(8, whiten=whiten, svd_solver="full").fit_transform(raw.astype(np.float64))
    if not whiten:
        expected /= np.sqrt(expected.var(axis=0, ddof=1).mean())

    reduced = fit_reduction(raw, 8, mode).apply(raw)

    np.testing.assert_allclose(np.abs(reduced), np.abs(expected), atol=1e-3)
