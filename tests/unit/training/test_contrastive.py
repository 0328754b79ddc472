"""`training.contrastive`: LoRA on the tiny Llama, its views, its loss, and going on after an interruption."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from llmemb.encoder import Encoder, load_llm
from llmemb.errors import ConfigError
from training.contrastive import ContrastiveOptions, fine_tune
from training.pairs import Pair, Pairs

NUM_ITEMS = 16
LLAMA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath")
OPTIONS = ContrastiveOptions(
    epochs=2,
    max_steps=None,
    batch_items=4,
    mini_batch_items=None,
    temperature=0.1,
    learning_rate=1e-2,
    warmup_share=0.1,
    lora_rank=4,
    lora_alpha=8,
    lora_dropout=0.1,
    checkpoint_steps=2,
    seed=5,
)


def draw(epoch: int, row: int) -> Pair:
    """Two texts of an item, other ones in each epoch."""
    name = f"{WORDS[row % 8]} {WORDS[row // 8]} number {row}"
    return Pair(f"item {name}; view {epoch}", f"view {epoch + 3}; item {name}", row, row)


@pytest.fixture(scope="module")
def base(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder folder; read it, never write to it."""
    folder = tmp_path_factory.mktemp("base") / "encoder"
    load_llm(str(tiny_llm), max_tokens=32).save(folder)
    return folder


def tune(
    base: Path, folder: Path, pairs: Pairs = draw, *, num_items: int = NUM_ITEMS, **changes: object
) -> tuple[dict[str, Tensor], float]:
    """Fine-tune; return the weights and the loss."""
    options = replace(OPTIONS, **changes)  # type: ignore[arg-type]
    model, loss = fine_tune(base, num_items, pairs, options, folder / "work", folder / "logs")
    return {name: value.clone() for name, value in model.state_dict().items()}, loss


def assert_equal_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    """The weights of a run that nothing disturbed."""
    return tune(base, tmp_path_factory.mktemp("whole"))[0]


def test_tuned_model_is_a_plain_encoder(base: Path, whole: dict[str, Tensor], tmp_path: Path) -> None:
    """Only the projections change, all of them; what comes out is saved and loaded as any encoder."""
    encoder = Encoder.load(base)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    changed = {name for name, value in before.items() if not torch.equal(value, whole[name])}
    encoder.model.load_state_dict(whole)
    encoder.save(tmp_path / "tuned")

    assert changed == {name for name in before if any(target in name for target in LLAMA_TARGETS)}
    assert (Encoder.load(tmp_path / "tuned").encode(["a", "b c"]) == encoder.encode(["a", "b c"])).all()


def test_views_are_drawn_afresh_each_epoch(base: Path, tmp_path: Path) -> None:
    """Each item is drawn in each epoch, by that epoch's number."""
    drawn: dict[int, set[int]] = defaultdict(set)

    def watch(epoch: int, row: int) -> Pair:
        drawn[epoch].add(row)
        return draw(epoch, row)

    tune(base, tmp_path, watch, epochs=3)

    assert drawn == {epoch: set(range(NUM_ITEMS)) for epoch in range(3)}


def test_steps_may_end_it_earlier(base: Path, tmp_path: Path) -> None:
    """`max_steps` counts optimiser steps, whatever the epochs say."""
    tune(base, tmp_path, max_steps=3, checkpoint_steps=1)

    assert (tmp_path / "work" / "checkpoint-3").is_dir()
    assert not (tmp_path / "work" / "checkpoint-4").exists()


def test_equal_texts_are_not_pushed_apart(base: Path, tmp_path: Path) -> None:
    """Two items of equal text would be each other's negatives: with nothing but pairs of equals, the loss still falls.

    16 items are 8 texts, twice each. Where twins were contrasted their loss could not fall under log 2.
    """

    def twins(epoch: int, row: int) -> Pair:
        return Pair(f"the {WORDS[row % 8]}", f"a {WORDS[row % 8]}", row, row)

    _, loss = tune(base, tmp_path, twins, batch_items=16, epochs=40, lora_dropout=0.0)

    assert loss < 0.05


def test_batch_is_shared_evenly_or_refused(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four items a step cannot be shared by three processes; the error says what can."""
    monkeypatch.setenv("WORLD_SIZE", "3")

    with pytest.raises(ConfigError, match=r"scft\.batch_items is 4, .* choose a multiple of 3"):
        tune(base, tmp_path)


def test_loss_falls(base: Path, tmp_path: Path) -> None:
    """Two views find each other better after some epochs than at first, and better than by chance."""
    (tmp_path / "one").mkdir()
    _, first = tune(base, tmp_path / "one", max_steps=1, lora_dropout=0.0)
    _, last = tune(base, tmp_path, epochs=10)

    assert last < 0.5 * first


@pytest.mark.parametrize("mini_batch", [1, 3, 4, 99])
def test_cached_loss_is_the_plain_loss(base: Path, tmp_path: Path, mini_batch: int) -> None:
    """Without dropout, gradients by parts are the gradients of the whole batch: loss and weights agree."""
    weights, losses = [], []
    for name, mini in (("plain", None), ("cached", mini_batch)):
        tuned, loss = tune(
            base, tmp_path / name, max_steps=2, mini_batch_items=mini, lora_dropout=0.0, learning_rate=1e-3
        )
        weights.append(tuned)
        losses.append(loss)

    assert losses[0] == pytest.approx(losses[1], abs=1e-3)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=1e-4, atol=1e-5)


class Interruption(Exception):
    """Stands for whatever ends a run."""


def interrupt_at(draws: int) -> Pairs:
    """Pairs that raise at a later draw."""
    left = draws

    def pairs(epoch: int, row: int) -> Pair:
        nonlocal left
        left -= 1
        if left < 0:
            raise Interruption
        return draw(epoch, row)

    return pairs


@pytest.mark.parametrize("draws", [10, 20, 30])
def test_interrupted_run_ends_with_the_same_bits(
    base: Path, whole: dict[str, Tensor], tmp_path: Path, draws: int
) -> None:
    """In the first epoch or the second: order, views, dropout, optimiser and learning rate go on where they were."""
    with pytest.raises(Interruption):
        tune(base, tmp_path, interrupt_at(draws))
    torch.manual_seed(99)  # another process would not stand at the same random number either
    resumed, _ = tune(base, tmp_path)

    assert_equal_weights(resumed, whole)


def test_finished_run_is_not_trained_again(base: Path, whole: dict[str, Tensor], tmp_path: Path) -> None:
    """What was cut off after the last step draws no view again."""
    tune(base, tmp_path)
    resumed, loss = tune(base, tmp_path, interrupt_at(0))

    assert_equal_weights(resumed, whole)
    assert loss > 0
