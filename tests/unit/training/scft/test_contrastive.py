"""`scft.contrastive`: LoRA on the tiny Llama, its loss, precision, and going on after an interruption."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.prompt import PromptSpec
from llmemb_training.config import ScftConfig
from llmemb_training.scft.batches import Batch, Batches
from llmemb_training.scft.contrastive import TuningProgress, fine_tune

NUM_ITEMS = 16
LLAMA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WORDS = ("amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "heath")
ITEMS = [
    json.dumps({"title": f"{WORDS[row % 8]} {WORDS[row // 8]}", "number": f"{row}", "kind": WORDS[-1 - row % 8]})
    for row in range(NUM_ITEMS)
]
HISTORIES = [np.array([row, (row + 8) % NUM_ITEMS]) for row in range(NUM_ITEMS)]
OPTIONS: dict[str, object] = {
    "positives": "both",
    "epochs": 2,
    "batch_histories": 4,
    "batch_items": 4,
    "temperature": 0.1,
    "learning_rate": 1e-2,
    "lora_rank": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.1,
    "checkpoint_steps": 2,
    "part_tokens": 100,
    "precision": "float32",
}


@pytest.fixture(scope="module")
def base(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder folder whose LLM could generate; read it, never write to it."""
    folder = tmp_path_factory.mktemp("base") / "encoder"
    load_llm(str(tiny_llm), max_tokens=32).save(folder)
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"tie_word_embeddings": True}))
    return folder


class Interruption(Exception):
    """Stands for whatever ends a run."""


class CutOff(Batches):
    """Batches that raise at a later one."""

    left = 10**9

    def __getitem__(self, step: int) -> Batch:
        self.left -= 1
        if self.left < 0:
            raise Interruption
        return super().__getitem__(step)


def tune(
    base: Path, folder: Path, *, batches: int | None = None, **changes: object
) -> tuple[dict[str, Tensor], TuningProgress]:
    """Fine-tune, perhaps until so many batches are drawn; return the weights and what was trained."""
    config = ScftConfig.model_validate(OPTIONS | changes)
    drawn = CutOff(ITEMS, NUM_ITEMS, HISTORIES, PromptSpec("thing", ("title", "number", "kind")), config, 5)
    if batches is not None:
        drawn.left = batches
    folder.mkdir(exist_ok=True)
    model, progress = fine_tune(base, drawn, config, 5, folder / "checkpoint", folder / "lora", folder / "logs")
    return {name: value.clone() for name, value in model.state_dict().items()}, progress


def assert_equal_weights(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert [name for name, value in first.items() if not torch.equal(value, second[name])] == []


def scalars(folder: Path, tag: str) -> dict[int, float]:
    """Return a TensorBoard curve: step -> value."""
    log = EventAccumulator(str(folder / "logs"))
    log.Reload()
    return {event.step: event.value for event in log.Scalars(tag)}


@pytest.fixture(scope="module")
def whole_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run that nothing disturbed works."""
    return tmp_path_factory.mktemp("whole")


@pytest.fixture(scope="module")
def whole(base: Path, whole_folder: Path) -> tuple[dict[str, Tensor], TuningProgress]:
    """A run that nothing disturbed."""
    return tune(base, whole_folder)


def test_tuned_model_is_a_plain_encoder(
    base: Path, whole: tuple[dict[str, Tensor], TuningProgress], tmp_path: Path
) -> None:
    """Only the projections change, all of them; what comes out is saved and loaded as any encoder."""
    encoder = Encoder.load(base)
    before = {name: value.clone() for name, value in encoder.model.state_dict().items()}
    changed = {name for name, value in before.items() if not torch.equal(value, whole[0][name])}
    encoder.model.load_state_dict(whole[0])
    encoder.save(tmp_path / "tuned")

    assert changed == {name for name in before if any(target in name for target in LLAMA_TARGETS)}
    assert (Encoder.load(tmp_path / "tuned").encode(["a", "b c"]) == encoder.encode(["a", "b c"])).all()


def test_lora_weights_are_kept_in_peft_s_form(
    base: Path, whole: tuple[dict[str, Tensor], TuningProgress], whole_folder: Path
) -> None:
    """Put on the base by PEFT's own loader, they make the tuned LLM."""
    tuned, adapted = Encoder.load(base), Encoder.load(base)
    tuned.model.load_state_dict(whole[0])
    adapted.model.load_adapter(str(whole_folder / "lora"))
    tokens = torch.tensor([[5, 6, 7, 8]])

    assert {path.name for path in (whole_folder / "lora").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
    }
    torch.testing.assert_close(
        adapted.model.eval()(input_ids=tokens).last_hidden_state, tuned.model(input_ids=tokens).last_hidden_state
    )


def test_progress_counts_steps_and_pairs(whole: tuple[dict[str, Tensor], TuningProgress], whole_folder: Path) -> None:
    """8 steps of 4 histories of two items, beside two views of each item; all of it is logged."""
    _, progress = whole
    losses = scalars(whole_folder, "train/loss")
    rates = scalars(whole_folder, "train/learning_rate")

    assert progress.step == len(progress.losses) == 8
    assert 8 * (4 + 4) <= progress.pairs <= 8 * (4 + 8)
    assert progress.seconds > 0
    assert progress.last_loss == progress.losses[-1]
    assert losses == pytest.approx(dict(enumerate(progress.losses, start=1)), rel=1e-6)
    assert list(rates.values()) == pytest.approx([1e-2 * (8 - step) / 8 for step in range(8)])
    assert min(scalars(whole_folder, "train/pairs_per_second").values()) > 0


def test_learning_rate_rises_first(base: Path, tmp_path: Path) -> None:
    """In the first steps, by `warmup_share`; from then on it falls, to zero after the last."""
    tune(base, tmp_path, warmup_share=0.5)
    shares = [1 / 5, 2 / 5, 3 / 5, 4 / 5, 1, 3 / 4, 2 / 4, 1 / 4]

    assert list(scalars(tmp_path, "train/learning_rate").values()) == pytest.approx([1e-2 * s for s in shares])


@pytest.mark.parametrize("positives", ["views", "next", "both"])
def test_loss_falls(base: Path, tmp_path: Path, positives: str) -> None:
    """By any kind of positives the last steps are better than the first, by a fifth at least."""
    options = {"positives": positives, "batch_histories": 8, "batch_items": 8, "drop_share": 0.2}
    _, progress = tune(base, tmp_path, epochs=30, lora_dropout=0.0, **options)

    assert progress.last_loss < 0.8 * sum(progress.losses[:4]) / 4


def test_generation_is_learned_beside_it(base: Path, tmp_path: Path) -> None:
    """Its loss is added by its weight, and falls; a text of one attribute would add nothing."""
    plain = tune(base, tmp_path / "plain", max_pairs=1)[1].losses[0]
    once = tune(base, tmp_path / "once", max_pairs=1, generation_weight=1.0)[1].losses[0] - plain
    twice = tune(base, tmp_path / "twice", max_pairs=1, generation_weight=2.0)[1].losses[0] - plain
    _, trained = tune(base, tmp_path / "trained", epochs=10, generation_weight=1.0, temperature=100.0)

    assert once > 1
    assert twice == pytest.approx(2 * once, rel=1e-4)
    assert trained.last_loss < trained.losses[0] - 1


@pytest.mark.parametrize("generation_weight", [0.0, 0.5])
def test_cached_gradients_are_the_plain_ones(base: Path, tmp_path: Path, generation_weight: float) -> None:
    """Whether the graph of a step is held or the LLM runs twice, dropout and all: the same bits."""
    held, cached = (
        tune(base, tmp_path / name, held_states=bound, generation_weight=generation_weight, epochs=1)
        for name, bound in (("held", 10**6), ("cached", 0))
    )

    assert held[1].losses == pytest.approx(cached[1].losses, rel=1e-5)
    for name, value in held[0].items():
        torch.testing.assert_close(cached[0][name], value, rtol=1e-4, atol=1e-5)


def test_parts_change_nothing_but_the_memory(base: Path, tmp_path: Path) -> None:
    """Without dropout, a batch in one part or each text alone gives the same weights."""
    tuned = [
        tune(base, tmp_path / str(tokens), part_tokens=tokens, lora_dropout=0.0, learning_rate=1e-3, epochs=1)[0]
        for tokens in (1, 10_000)
    ]

    for name, value in tuned[0].items():
        torch.testing.assert_close(tuned[1][name], value, rtol=1e-4, atol=1e-4)


def test_bfloat16_learns_what_float32_does(base: Path, tmp_path: Path) -> None:
    """Losses differ by rounding; the LoRA weights and the merged ones stay float32."""
    exact, rounded = (
        tune(base, tmp_path / precision, precision=precision, lora_dropout=0.0, learning_rate=1e-3)
        for precision in ("float32", "bfloat16")
    )
    lora = load_file(tmp_path / "bfloat16" / "lora" / "adapter_model.safetensors")

    assert rounded[1].losses == pytest.approx(exact[1].losses, rel=0.02)
    assert rounded[1].losses != exact[1].losses
    assert {value.dtype for value in [*rounded[0].values(), *lora.values()]} == {torch.float32}


@pytest.mark.parametrize("batches", [1, 3, 6])
def test_interrupted_run_ends_with_the_same_bits(
    base: Path,
    whole: tuple[dict[str, Tensor], TuningProgress],
    whole_folder: Path,
    tmp_path: Path,
    batches: int,
) -> None:
    """Before the first checkpoint or after one: views, dropout, optimiser and learning rate go on where they were."""
    with pytest.raises(Interruption):
        tune(base, tmp_path, batches=batches)
    torch.manual_seed(99)  # another process would not stand at the same random number either
    resumed, progress = tune(base, tmp_path)

    assert_equal_weights(resumed, whole[0])
    assert progress.losses == whole[1].losses
    assert progress.pairs == whole[1].pairs
    assert scalars(tmp_path, "train/loss") == scalars(whole_folder, "train/loss")


def test_finished_run_is_not_trained_again(
    base: Path, whole: tuple[dict[str, Tensor], TuningProgress], tmp_path: Path
) -> None:
    """What was cut off after the last step draws no batch again."""
    tune(base, tmp_path)
    resumed, progress = tune(base, tmp_path, batches=0)

    assert_equal_weights(resumed, whole[0])
    assert progress.losses == whole[1].losses


def test_time_bounds_the_training(base: Path, tmp_path: Path) -> None:
    """A step that is begun ends; then it is over, and what was trained is an encoder."""
    tuned, progress = tune(base, tmp_path, epochs=10, max_minutes=1e-6)

    assert progress.step == 1
    assert (tmp_path / "lora" / "adapter_model.safetensors").is_file()
    assert not torch.equal(
        tuned["layers.0.mlp.up_proj.weight"], Encoder.load(base).model.state_dict()["layers.0.mlp.up_proj.weight"]
    )


def test_seed_decides_the_weights(base: Path, whole: tuple[dict[str, Tensor], TuningProgress], tmp_path: Path) -> None:
    """The same seed gives the same bits, whatever the process drew before."""
    torch.manual_seed(1234)

    assert_equal_weights(tune(base, tmp_path)[0], whole[0])
