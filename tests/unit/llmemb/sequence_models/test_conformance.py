"""One suite that every sequence model passes: causality, padding, the last item, batches, gradients, save and load."""

from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import Tensor

from llmemb.scoring.session import PADDING
from llmemb.sequence_models import SEQUENCE_MODELS, SequenceModel, SequenceModelSpec, build_sequence_model

DIM, MAX_LENGTH = 12, 6
CAUSAL = [name for name, model in SEQUENCE_MODELS.items() if model.objective == "next_item"]


def make_model(name: str, heads: int = 2) -> SequenceModel:
    """A model of width 12 that reads 6 items, with random weights, in evaluation mode."""
    torch.manual_seed(0)
    spec = SequenceModelSpec.model_validate({"name": name, "dim": DIM, "max_length": MAX_LENGTH, "heads": heads})
    return build_sequence_model(spec).eval()


@pytest.fixture(params=list(SEQUENCE_MODELS))
def model(request: pytest.FixtureRequest) -> SequenceModel:
    """Each sequence model in turn."""
    return make_model(request.param)


def make_batch(*lengths: int, width: int | None = None) -> tuple[Tensor, Tensor]:
    """Random histories of the given lengths, right-padded to `width` or the longest."""
    generator = torch.Generator().manual_seed(1)
    items = torch.randn(len(lengths), width or max(lengths), DIM, generator=generator)
    present = torch.arange(items.shape[1]) < torch.tensor(lengths)[:, None]
    return items, present


def test_every_model_is_built_by_its_name() -> None:
    """Each name of the table builds its own class, and the default is one of them."""
    assert [type(make_model(name)) for name in SEQUENCE_MODELS] == list(SEQUENCE_MODELS.values())
    assert list(SEQUENCE_MODELS) == ["sasrec", "gru4rec", "bert4rec"]
    assert SequenceModelSpec().name in SEQUENCE_MODELS


def test_outputs_have_the_shape_of_the_items(model: SequenceModel) -> None:
    """An output for each position, a session vector for each history, in float32."""
    items, present = make_batch(4, 2, 1)

    assert model(items, present).shape == (3, 4, DIM)
    assert model.session_vectors(items, present).shape == (3, DIM)
    assert model.session_vectors(items, present).dtype == torch.float32


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("position", range(1, MAX_LENGTH))
def test_later_item_changes_no_earlier_output(name: str, position: int) -> None:
    """A next-item model never sees what it has to predict."""
    model = make_model(name)
    items, present = make_batch(MAX_LENGTH, MAX_LENGTH)
    changed = items.clone()
    changed[:, position] *= -1  # not a shift: layer norms do not see one

    before, after = model(items, present), model(changed, present)

    torch.testing.assert_close(after[:, :position], before[:, :position], rtol=0, atol=0)
    assert (after[:, position:] - before[:, position:]).abs().amax(dim=-1).min() > 1e-3


def test_masked_item_model_sees_both_sides() -> None:
    """BERT4Rec's output at a mask depends on the items before and after it."""
    model = make_model("bert4rec")
    items, present = make_batch(5)
    for position in (0, 4):
        changed = items.clone()
        changed[:, position] *= -1

        assert not torch.allclose(model(changed, present)[:, 2], model(items, present)[:, 2], atol=1e-3)


@pytest.mark.parametrize("fill", [0.0, -1.0, 1e4, 1e30])
def test_content_of_the_padding_never_matters(model: SequenceModel, fill: float) -> None:
    """Whatever stands in the padding, outputs at present positions and session vectors stay the same."""
    items, present = make_batch(3, 6, 1)
    filled = torch.where(present.unsqueeze(-1), items, torch.tensor(fill))

    torch.testing.assert_close(model(filled, present)[present], model(items, present)[present], rtol=0, atol=0)
    torch.testing.assert_close(
        model.session_vectors(filled, present), model.session_vectors(items, present), rtol=0, atol=0
    )


def test_last_row_of_the_item_table_is_an_item_like_others(model: SequenceModel) -> None:
    """`PADDING` picks the table's last row in torch; it must not be read there, and no gradient may reach it."""
    table = torch.randn(9, DIM, generator=torch.Generator().manual_seed(2)).requires_grad_()
    rows = torch.tensor([[0, 3, PADDING], [5, PADDING, PADDING], [1, 2, 4]])

    model.session_vectors(table[rows], rows != PADDING).square().sum().backward()

    assert table.grad is not None
    read = (table.grad != 0).any(dim=1)
    assert read.tolist() == [True, True, True, True, True, True, False, False, False]


def test_last_row_of_the_item_table_is_read_where_it_stands_in_a_history(model: SequenceModel) -> None:
    """A history of the table's last row has the session vector that its vector gives, not that of nothing."""
    table = torch.randn(9, DIM, generator=torch.Generator().manual_seed(2))
    rows = torch.tensor([[8, PADDING], [8, 8], [0, 8]])

    vectors = model.session_vectors(table[rows], rows != PADDING)

    alone = model.session_vectors(table[8].view(1, 1, DIM), torch.ones(1, 1, dtype=torch.bool))
    zero = model.session_vectors(torch.zeros(1, 1, DIM), torch.ones(1, 1, dtype=torch.bool))
    torch.testing.assert_close(vectors[:1], alone)
    assert not torch.allclose(alone, zero, atol=1e-3)
    assert not torch.allclose(vectors[1], vectors[2], atol=1e-3)


def test_every_item_of_a_history_counts(model: SequenceModel) -> None:
    """Changing the last item, or any other, changes the session vector; the last position is the one read."""
    items, present = make_batch(4, width=6)
    vector = model.session_vectors(items, present)
    for position in range(4):
        changed = items.clone()
        changed[0, position] *= -1

        assert not torch.allclose(model.session_vectors(changed, present), vector, atol=1e-4)


@pytest.mark.parametrize("name", CAUSAL)
def test_session_vector_is_the_output_at_the_last_item(name: str) -> None:
    """What training predicts the next item from is what serving searches with."""
    model = make_model(name)
    items, present = make_batch(3, 6, 1)

    outputs = model(items, present)

    expected = torch.stack([outputs[0, 2], outputs[1, 5], outputs[2, 0]])
    # Equal but for the order in which sums are made.
    torch.testing.assert_close(model.session_vectors(items, present), expected, rtol=0, atol=1e-6)


def test_session_vector_of_bert4rec_is_the_output_at_a_mask_after_the_last_item() -> None:
    """What training fills in at a mask is what serving searches with."""
    model = make_model("bert4rec")
    items, _ = make_batch(4)
    masked = torch.cat([items[:, :3], model.mask.detach().view(1, 1, DIM)], dim=1)

    expected = model(masked, torch.ones(1, 4, dtype=torch.bool))[:, 3]

    vectors = model.session_vectors(items[:, :3], torch.ones(1, 3, dtype=torch.bool))
    torch.testing.assert_close(vectors, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("length", [1, 3, MAX_LENGTH])
def test_bert4rec_counts_positions_from_the_mask(length: int) -> None:
    """A history of n items reads the first n + 1 position vectors, the mask's always the first."""
    model = make_model("bert4rec")
    items, present = make_batch(length, width=MAX_LENGTH)
    model.session_vectors(items, present).square().sum().backward()
    weight = model.embed.positions.weight
    assert weight.grad is not None

    assert (weight.grad.abs().sum(dim=1) > 0).tolist() == [position <= length for position in range(MAX_LENGTH + 1)]


@pytest.mark.parametrize("lengths", [(1,), (MAX_LENGTH,), (1, MAX_LENGTH, 3, 2, 5)])
def test_neither_width_nor_company_changes_a_session_vector(model: SequenceModel, lengths: tuple[int, ...]) -> None:
    """A history alone, among others, and in a wider batch has one session vector, at any length."""
    items, present = make_batch(*lengths, width=MAX_LENGTH)

    together = model.session_vectors(items, present)

    for row, length in enumerate(lengths):
        alone = model.session_vectors(items[row : row + 1, :length], present[row : row + 1, :length])
        torch.testing.assert_close(together[row : row + 1], alone, rtol=0, atol=1e-5)


def test_order_of_a_history_counts(model: SequenceModel) -> None:
    """The same items in another order make another session."""
    items, present = make_batch(4)

    assert not torch.allclose(
        model.session_vectors(items, present), model.session_vectors(items.flip(1), present), atol=1e-4
    )


def test_saved_weights_give_the_same_answers(model: SequenceModel, tmp_path: Path) -> None:
    """A model built from its spec with the weights of a safetensors file is the same model."""
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(1)
    loaded = build_sequence_model(SequenceModelSpec.model_validate_json(model.spec.model_dump_json())).eval()
    items, present = make_batch(3, 6, 1)
    assert not torch.equal(loaded.session_vectors(items, present), model.session_vectors(items, present))

    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))

    assert torch.equal(loaded.session_vectors(items, present), model.session_vectors(items, present))


def test_same_seed_builds_the_same_model(model: SequenceModel) -> None:
    """Fresh weights come from torch's generator alone."""
    other = make_model(model.spec.name)

    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_gradients_reach_every_parameter(model: SequenceModel) -> None:
    """Training moves all weights, and every position of the longest history."""
    model.train()
    items, present = make_batch(MAX_LENGTH, MAX_LENGTH)

    model.session_vectors(items, present).square().sum().backward()

    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        rows = parameter.grad.abs().flatten(1).sum(1) if "positions" in name else parameter.grad.abs().sum()
        assert (rows > 0).all(), name


def test_gradients_reach_the_items(model: SequenceModel) -> None:
    """The item table learns through the history, at each present position and nowhere else."""
    items, present = make_batch(4, 2, width=6)
    items.requires_grad_()

    model.session_vectors(items, present).square().sum().backward()

    assert items.grad is not None
    assert (items.grad.abs().sum(dim=-1) > 0).tolist() == present.tolist()


def test_training_on_padded_and_empty_rows_is_finite(model: SequenceModel) -> None:
    """Neither outputs nor gradients become NaN, even where a row of the batch holds no item at all."""
    model.train()
    items, present = make_batch(0, 6, 1, 3)
    items = items * present.unsqueeze(-1)
    items.requires_grad_()

    outputs = model(items, present)
    outputs[present].square().sum().backward()

    assert torch.isfinite(outputs).all()
    assert items.grad is not None
    for gradient in (items.grad, *(p.grad for p in model.parameters() if p.grad is not None)):
        assert torch.isfinite(gradient).all()


def test_dropout_acts_in_training_only(model: SequenceModel) -> None:
    """Two passes differ in training and agree in evaluation."""
    items, present = make_batch(5)

    assert torch.equal(model(items, present), model(items, present))
    model.train()
    assert not torch.equal(model(items, present), model(items, present))


@pytest.mark.parametrize("name", ["sasrec", "bert4rec"])
def test_heads_are_used(name: str) -> None:
    """The number of heads changes the answer of the same weights."""
    one, three = make_model(name, heads=1), make_model(name, heads=3)
    three.load_state_dict(one.state_dict())
    items, present = make_batch(5)

    assert not torch.allclose(one(items, present), three(items, present), atol=1e-4)


def test_hide_puts_the_mask_where_told() -> None:
    """BERT4Rec's mask stands at the hidden positions, the items at all others."""
    model = make_model("bert4rec")
    items, _ = make_batch(3, 3)
    hidden = torch.tensor([[True, False, False], [False, False, True]])

    masked = model.hide(items, hidden)

    assert torch.equal(masked[~hidden], items[~hidden])
    assert torch.equal(masked[hidden], model.mask.expand(2, DIM))


@pytest.mark.parametrize("name", CAUSAL)
def test_next_item_model_has_no_mask(name: str) -> None:
    """Asking a next-item model to hide an item is a bug, and says so."""
    with pytest.raises(NotImplementedError, match="has no mask"):
        make_model(name).hide(torch.zeros(1, 2, DIM), torch.zeros(1, 2, dtype=torch.bool))


def test_hidden_item_does_not_show() -> None:
    """BERT4Rec's output at a mask does not depend on the item under it."""
    model = make_model("bert4rec")
    items, present = make_batch(5)
    hidden = torch.tensor([[False, False, True, False, False]])
    changed = items.clone()
    changed[0, 2] *= -1

    assert torch.equal(model(model.hide(changed, hidden), present), model(model.hide(items, hidden), present))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("heads", 5, "dim 12 must be a multiple of heads 5"),
        ("heads", 0, "greater than or equal to 1"),
        ("dim", 0, "greater than or equal to 1"),
        ("layers", 0, "greater than or equal to 1"),
        ("max_length", 0, "greater than or equal to 1"),
        ("dropout", 1.0, "less than 1"),
        ("dropout", -0.1, "greater than or equal to 0"),
        ("head", 2, "not permitted"),
    ],
)
def test_impossible_spec_is_refused(field: str, value: object, message: str) -> None:
    """A spec that cannot be built is refused when it is read, and the error says why."""
    with pytest.raises(ValidationError, match=message):
        SequenceModelSpec.model_validate({"dim": 12, field: value})
