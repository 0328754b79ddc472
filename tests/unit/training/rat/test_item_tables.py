"""`rat.item_tables`: the table of ids, the adapter, what is trained beside it, and the residual's dropout."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from llmemb_training.config import RatConfig
from llmemb_training.rat.item_tables import AdaptedTable, IdTable

DIM = 6


def adapted(
    num_items: int = 50,
    *,
    residual: str = "all",
    dropout: float = 0.4,
    fill: float = 1.0,
    counts: NDArray[np.int64] | None = None,
    **options: Any,
) -> AdaptedTable:
    """An adapted table of width 6, whose residual is `fill` everywhere."""
    torch.manual_seed(0)
    config = RatConfig.model_validate(
        {"model": {"dim": DIM}, "residual": {"mode": residual, "dropout": dropout, "min_interactions": 4}} | options
    )
    reduced = np.random.default_rng(0).normal(size=(num_items, 8)).astype(np.float32)
    table = AdaptedTable(reduced, np.full(num_items, 9) if counts is None else counts, config)
    if table.residual is not None:
        torch.nn.init.constant_(table.residual, fill)
    return table


def semantic(table: AdaptedTable) -> Tensor:
    return table.semantic().detach()


def test_id_table_is_one_free_vector_an_item() -> None:
    """A vanilla table is a parameter, the same in training and outside."""
    table = IdTable(7, 4)

    assert table().shape == (7, 4)
    assert torch.equal(table(), table.eval()())
    assert [name for name, _ in table.named_parameters()] == ["embedding"]


def test_adapter_is_affine() -> None:
    """No activation stands between its layers: what it makes of a mixture is the mixture of what it makes."""
    table = adapted(residual="none")
    first, second = torch.randn(5, 8), torch.randn(5, 8)

    torch.testing.assert_close(
        table.adapter(0.3 * first + 0.7 * second), 0.3 * table.adapter(first) + 0.7 * table.adapter(second)
    )


def test_layers_are_the_adapter() -> None:
    """The arrays that are folded for serving do what the adapter does, through half its width."""
    table = adapted(residual="none")
    x: NDArray[np.float32] = table.frozen.numpy()
    for weight, bias in table.layers():
        x = x @ weight + bias

    assert [weight.shape for weight, _ in table.layers()] == [(8, 4), (4, 6)]
    np.testing.assert_allclose(x, semantic(table).numpy(), rtol=1e-4, atol=1e-5)


def test_embeddings_of_the_llm_are_frozen() -> None:
    """They are neither trained nor written to a checkpoint."""
    table = adapted()

    assert table.reduced is None
    assert {"reduced", "frozen"} & {*dict(table.named_parameters()), *table.state_dict()} == set()


def test_new_table_has_no_residual_yet() -> None:
    """The residual starts at zero, so that a new item's embedding is what training starts from."""
    table = AdaptedTable(np.ones((3, 4), np.float32), np.ones(3, np.int64), RatConfig())

    assert table.residual is not None
    assert not table.residual.any()


def test_residual_is_added_whole_outside_training() -> None:
    """An item embedding is projection plus residual."""
    table = adapted().eval()

    assert torch.equal(table().detach(), semantic(table) + 1.0)


def test_residual_is_dropped_for_whole_items_in_training() -> None:
    """An item has its residual whole, and not scaled up, or lacks all of it; the share is that of the dropout."""
    table = adapted(2000).train()
    residual = table().detach() - semantic(table)
    kept = residual.mean(dim=1) > 0.5

    torch.testing.assert_close(residual, kept.float().unsqueeze(1).expand(-1, 6), atol=1e-5, rtol=0)
    assert abs(kept.float().mean().item() - 0.6) < 0.04
    assert not torch.equal(table().detach(), table().detach())


def test_dropout_of_nothing_or_all() -> None:
    """At 0 no item lacks its residual in training, at 1 every item does."""
    for dropout, expected in ((0.0, 1.0), (1.0, 0.0)):
        table = adapted(dropout=dropout).train()
        torch.testing.assert_close(table().detach() - semantic(table), torch.full((50, 6), expected))


def test_table_without_residual_is_semantic_alone() -> None:
    """Without a residual, training and evaluation see the same table."""
    table = adapted(residual="none")

    assert table.residual is None
    assert torch.equal(table.train()(), table.semantic())


def test_semantic_part_of_some_rows_is_the_table_s() -> None:
    """Rows can be asked for, in any order and more than once."""
    table = adapted()
    rows = torch.tensor([4, 1, 4])

    torch.testing.assert_close(table.semantic(rows), table.semantic()[rows])


def test_adapter_of_one_layer_goes_straight_to_the_width() -> None:
    """One matrix and one bias, and the arrays that are folded are they."""
    table = adapted(residual="none", adapter_layers=1)
    ((weight, bias),) = table.layers()

    assert weight.shape == (8, DIM)
    np.testing.assert_allclose(table.frozen.numpy() @ weight + bias, semantic(table).numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "expected"), [("none", [0, 0, 0, 0]), ("all", [0, 1, 1, 1]), ("popular", [0, 0, 1, 1])]
)
def test_mode_decides_who_has_a_residual(mode: str, expected: list[float]) -> None:
    """No items, all with an interaction, or those with at least four; in training as outside."""
    table = adapted(4, residual=mode, dropout=0.0, counts=np.array([0, 3, 4, 9]))

    for each in (table.train(), table.eval()):
        residual = (each().detach() - semantic(each)).mean(dim=1)
        torch.testing.assert_close(residual, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("mode", ["all", "popular"])
def test_who_has_no_residual_learns_none(mode: str) -> None:
    """No gradient reaches the residual of an item that has none."""
    table = adapted(4, residual=mode, dropout=0.0, counts=np.array([0, 3, 4, 9]))
    table().square().sum().backward()
    assert table.residual is not None
    assert table.residual.grad is not None

    assert table.residual.grad.any(dim=1).tolist() == [False, mode == "all", True, True]


def test_trained_table_starts_as_the_frozen_one_and_learns() -> None:
    """The reduced embeddings are a parameter, which a checkpoint holds; what the LLM gave stays beside it."""
    table = adapted(table="trained")
    before = semantic(table)
    torch.testing.assert_close(before, semantic(adapted()))
    table().square().sum().backward()
    assert table.reduced is not None
    assert table.reduced.grad is not None

    assert table.reduced.grad.any(dim=1).all()
    assert "reduced" in table.state_dict()
    assert "frozen" not in table.state_dict()


@pytest.mark.parametrize("residual", ["none", "all", "popular"])
@pytest.mark.parametrize("kind", ["frozen", "trained"])
def test_projection_and_what_was_learnt_are_the_table(kind: str, residual: str) -> None:
    """The adapter on the frozen embeddings, plus the learned residual, is the table that was trained."""
    table = adapted(5, residual=residual, counts=np.array([0, 3, 4, 9, 9]), table=kind, fill=0.5)
    if table.reduced is not None:
        with torch.no_grad():
            table.reduced += torch.randn(5, 8)
    projected = table.frozen.numpy()
    for weight, bias in table.layers():
        projected = projected @ weight + bias
    learned = table.learned_residual()

    if (kind, residual) == ("frozen", "none"):
        assert learned is None
    else:
        assert learned is not None
        np.testing.assert_allclose(projected + learned, table.eval()().detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"table": "trained"}])
def test_cosine_gives_every_item_unit_length(options: dict[str, Any]) -> None:
    """In training, with the residual dropped or not, as outside; the direction is that of the dot product's table."""
    dot, cosine = adapted(**options), adapted(scoring="cosine", **options)

    torch.testing.assert_close(cosine.train()().norm(dim=1), torch.ones(50))
    torch.testing.assert_close(cosine.eval()(), torch.nn.functional.normalize(dot.eval()(), dim=1))
    assert cosine.learned_residual() == pytest.approx(dot.learned_residual())
    torch.testing.assert_close(IdTable(7, 4, scoring="cosine")().norm(dim=1), torch.ones(7))


def test_id_table_starts_from_what_it_is_given() -> None:
    """LLMInit's table is a copy: training it changes nothing elsewhere."""
    initial = np.arange(6, dtype=np.float32).reshape(3, 2)
    table = IdTable(3, 2, initial)
    assert torch.equal(table().detach(), torch.from_numpy(initial))
    with torch.no_grad():
        table.embedding += 1

    assert initial[0, 0] == 0
