"""`llmemb_training.rat.batches`: windows, masks and the order of batches."""

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from llmemb.scoring.session import PADDING
from llmemb_training.rat.batches import Batch, Masking, cut_windows, iterate_batches

Histories = list[NDArray[np.int64]]
LENGTHS = st.lists(st.integers(0, 25), max_size=6)


def histories_of(lengths: list[int]) -> Histories:
    """Histories in which every item is another one."""
    numbers = itertools.count()
    return [np.array(list(itertools.islice(numbers, length)), dtype=np.int64) for length in lengths]


def batches(
    windows: Histories, objective: str, *, size: int = 4, mask: float = 0.3, truncated: float = 0.5, seed: int = 0
) -> list[Batch]:
    generator = np.random.default_rng(seed)
    return list(iterate_batches(windows, objective, size, Masking(mask, truncated), generator))  # type: ignore[arg-type]


@given(LENGTHS, st.integers(1, 8))
def test_next_item_windows_make_every_item_but_the_first_a_target_once(lengths: list[int], most: int) -> None:
    """Each target comes once, right after its own history, of at most `max_length` items."""
    histories = histories_of(lengths)
    before = {int(item): history[:i].tolist() for history in histories for i, item in enumerate(history)}
    targets: Counter[int] = Counter()
    for window in cut_windows(histories, most, "next_item"):
        for position in range(1, len(window)):
            target = int(window[position])
            targets[target] += 1
            assert window[:position].tolist() == before[target][-position:]
        assert 2 <= len(window) <= most + 1

    assert targets == Counter(int(item) for history in histories for item in history[1:])


@given(LENGTHS, st.integers(1, 8))
def test_masked_item_windows_hold_every_item_once(lengths: list[int], most: int) -> None:
    """Windows cut a history into parts of a full history and what follows it, none of them empty."""
    histories = histories_of(lengths)
    windows = cut_windows(histories, most, "masked_item")

    assert sorted(int(item) for window in windows for item in window) == list(range(sum(lengths)))
    assert all(1 <= len(window) <= most + 1 for window in windows)


def test_windows_are_cut_from_the_end() -> None:
    """The most recent window is full; the remainder is the oldest."""
    history = [np.arange(8)]

    assert [w.tolist() for w in cut_windows(history, 3, "next_item")] == [[4, 5, 6, 7], [1, 2, 3, 4], [0, 1]]
    assert [w.tolist() for w in cut_windows(history, 3, "masked_item")] == [[4, 5, 6, 7], [0, 1, 2, 3]]


def test_next_item_batch_by_hand() -> None:
    """Targets are the inputs one step later; the padding stands on the right, in both at the same places."""
    (batch,) = batches([np.array([1, 2, 3, 4]), np.array([5, 6])], "next_item")
    order = batch.inputs[:, 0].argsort()

    assert batch.inputs[order].tolist() == [[1, 2, 3], [5, PADDING, PADDING]]
    assert batch.targets[order].tolist() == [[2, 3, 4], [6, PADDING, PADDING]]
    assert batch.hidden is None


@given(LENGTHS.filter(any), st.floats(0.01, 0.99), st.integers(0, 100))
def test_masked_item_batch_hides_its_targets(lengths: list[int], share: float, seed: int) -> None:
    """Masked items are the targets and stay in the inputs; padding is never masked; each window masks an item."""
    windows = cut_windows(histories_of(lengths), 5, "masked_item")
    for batch in batches(windows, "masked_item", mask=share, seed=seed):
        assert batch.hidden is not None
        present = batch.inputs != PADDING

        assert torch.equal(present, torch.arange(present.shape[1]) < present.sum(1, keepdim=True))
        assert not (batch.hidden & ~present).any()
        assert batch.hidden.any(dim=1).all()
        assert torch.equal(batch.targets, torch.where(batch.hidden, batch.inputs, PADDING))


@pytest.mark.parametrize("truncated", [0.1, 0.5])
def test_truncated_windows_end_at_a_random_item_which_alone_is_hidden(truncated: float) -> None:
    """A share of the windows is as in serving, after any length; in the others the mask share is hidden."""
    made = batches([np.arange(10)] * 4000, "masked_item", size=500, truncated=truncated)
    inputs = torch.cat([batch.inputs for batch in made])
    hidden = torch.cat([batch.hidden for batch in made if batch.hidden is not None])
    lengths = (inputs != PADDING).sum(dim=1)
    is_cut = lengths < 10
    at_end = hidden.gather(1, lengths[:, None] - 1).squeeze(1)

    # One in nine of those that are cut ends where the window does.
    assert is_cut.float().mean().item() == pytest.approx(truncated * 8 / 9, abs=0.03)
    ends = torch.bincount(lengths[is_cut], minlength=10).tolist()
    assert ends == pytest.approx([0, 0, *[truncated * 4000 / 9] * 8], abs=60)
    assert (hidden[is_cut].sum(dim=1) == 1).all()
    assert at_end[is_cut].all()
    whole = (1 - truncated) / (1 - truncated * 8 / 9)  # of the windows of full length, those that are not truncated
    assert hidden[~is_cut][:, :-1].float().mean().item() == pytest.approx(0.3 * whole, abs=0.02)


def test_window_of_one_item_hides_it() -> None:
    """There is nothing to cut."""
    (batch,) = batches([np.array([7])], "masked_item")

    assert batch.hidden is not None
    assert (batch.inputs.tolist(), batch.hidden.tolist()) == ([[7]], [[True]])


@pytest.mark.parametrize("objective", ["next_item", "masked_item"])
def test_order_is_the_generator_s(objective: str) -> None:
    """Every window comes once, in an order, and with masks, that the seed decides."""
    windows = histories_of([3] * 11)
    one, same, other = (batches(windows, objective, seed=seed) for seed in (1, 1, 2))

    assert sorted(len(batch.inputs) for batch in one) == [3, 4, 4]
    assert all(torch.equal(a.inputs, b.inputs) for a, b in zip(one, same, strict=True))
    assert all(torch.equal(a.targets, b.targets) for a, b in zip(one, same, strict=True))
    assert not all(torch.equal(a.inputs, b.inputs) for a, b in zip(one, other, strict=True))
    assert sorted(int(first) for batch in one for first in batch.inputs[:, 0]) == list(range(0, 33, 3))


def test_no_windows_make_no_batches() -> None:
    """Nothing to train on is no batch at all."""
    assert batches([], "next_item") == []


def test_batches_hold_about_as_many_items_and_little_padding() -> None:
    """Windows of like length stand together: an item counts alike in short histories and in long ones."""
    windows = histories_of(np.random.default_rng(0).integers(2, 50, 400).tolist())
    made = batches(windows, "next_item", size=16)
    items = [int((batch.inputs != PADDING).sum()) for batch in made]

    assert sum(items) == sum(len(window) - 1 for window in windows)
    assert max(items) < 1.5 * min(items)
    assert sum(batch.inputs.numel() for batch in made) < 1.2 * sum(items)
