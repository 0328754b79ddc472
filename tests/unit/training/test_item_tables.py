"""`training.item_tables`: the table of ids, the adapter, and the residual with its dropout."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.item_tables import AdaptedTable, IdTable


def adapted(num_items: int = 50, *, residual: bool = True, dropout: float = 0.4, fill: float = 1.0) -> AdaptedTable:
    """An adapted table of width 6, whose residual is `fill` everywhere."""
    torch.manual_seed(0)
    reduced = np.random.default_rng(0).normal(size=(num_items, 8)).astype(np.float32)
    table = AdaptedTable(reduced, 6, with_residual=residual, residual_dropout=dropout)
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
    table = adapted(residual=False)
    first, second = torch.randn(5, 8), torch.randn(5, 8)

    torch.testing.assert_close(
        table.adapter(0.3 * first + 0.7 * second), 0.3 * table.adapter(first) + 0.7 * table.adapter(second)
    )


def test_layers_are_the_adapter() -> None:
    """The arrays that are folded for serving do what the adapter does, through half its width."""
    table = adapted(residual=False)
    x: NDArray[np.float32] = table.reduced.numpy()
    for weight, bias in table.layers():
        x = x @ weight + bias

    assert [weight.shape for weight, _ in table.layers()] == [(8, 4), (4, 6)]
    np.testing.assert_allclose(x, semantic(table).numpy(), rtol=1e-4, atol=1e-5)


def test_embeddings_of_the_llm_are_frozen() -> None:
    """They are neither trained nor written to a checkpoint."""
    table = adapted()

    assert "reduced" not in dict(table.named_parameters())
    assert "reduced" not in table.state_dict()


def test_new_table_has_no_residual_yet() -> None:
    """The residual starts at zero, so that a new item's embedding is what training starts from."""
    table = AdaptedTable(np.ones((3, 4), np.float32), 2, with_residual=True, residual_dropout=0.5)

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
    table = adapted(residual=False)

    assert table.residual is None
    assert torch.equal(table.train()(), table.semantic())


def test_semantic_part_of_some_rows_is_the_table_s() -> None:
    """Rows can be asked for, in any order and more than once."""
    table = adapted()
    rows = torch.tensor([4, 1, 4])

    torch.testing.assert_close(table.semantic(rows), table.semantic()[rows])
