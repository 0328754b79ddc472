"""SCFT's inner part: LoRA on an encoder folder, trained so that the two texts of a pair find each other."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.base.sampler import DefaultBatchSampler
from torch.utils.tensorboard import SummaryWriter
from transformers import (
    AutoConfig,
    PreTrainedModel,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import TensorBoardCallback
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from llmemb.encoder_base import model_options
from llmemb.errors import ConfigError
from llmemb.files import write_text_atomically
from llmemb.projection import Reduction
from training import processes
from training.contrastive_loss import ContrastiveLoss
from training.lora import lora_config, merge_lora
from training.pairs import Pairs
from training.progress import bar
from training.seeds import derive_generator

_MARK = "last_checkpoint"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastiveOptions:
    """See `training.config.ScftConfig`, whose words these are."""

    epochs: int
    max_steps: int | None
    batch_items: int
    mini_batch_items: int | None
    temperature: float
    learning_rate: float
    warmup_share: float
    lora_rank: int
    lora_alpha: int
    lora_dropout: float
    checkpoint_steps: int
    seed: int


def fine_tune(
    base_folder: Path,
    num_items: int,
    pairs: Pairs,
    options: ContrastiveOptions,
    work_folder: Path,
    log_folder: Path,
    whitening: Reduction | None = None,
) -> tuple[PreTrainedModel, float]:
    """Train LoRA weights contrastively and merge them; go on from the last checkpoint in `work_folder`.

    Every process that `torchrun` or `accelerate launch` started calls this, with the same arguments; they share each
    batch, and the main one writes.

    Args:
        base_folder: an encoder folder, as `Encoder.save` writes it.
        num_items: items 0..num_items-1 are trained on.
        pairs: draws an item's positive pair.
        options: how to train.
        work_folder: takes the checkpoints.
        log_folder: takes the TensorBoard logs.
        whitening: see `ContrastiveLoss`.

    Returns:
        The LLM with the update merged into its weights, and the mean loss of the last tenth of the steps.

    Raises:
        ConfigError: `batch_items` cannot be shared by the processes.

    Source: LLMEmb, "Supervised contrastive fine-tuning"; see `ContrastiveLoss`.
    """
    torch.manual_seed(options.seed)  # draws LoRA's first weights, before the trainer sets a seed of its own
    # A pooler would get LoRA layers that no gradient reaches, and be saved with them.
    model_kwargs = model_options(AutoConfig.from_pretrained(base_folder))
    encoder = SentenceTransformer(str(base_folder), device=None, model_kwargs=model_kwargs)
    encoder.add_adapter(lora_config(options.lora_rank, options.lora_alpha, options.lora_dropout))
    drawn = _Epoch(pairs, num_items, options.seed)
    batch_items = _batch_items(options, num_items)
    trainer = _Trainer(
        epoch=drawn,
        model=encoder,
        args=_arguments(options, num_items // batch_items, batch_items, work_folder),
        train_dataset=drawn.dataset,
        loss=ContrastiveLoss(encoder, options.temperature, whitening, _mini_batch(options, batch_items)),
        callbacks=[drawn, _Marker(work_folder)],
    )
    if processes.is_main():
        trainer.add_callback(_Bar())
        trainer.add_callback(TensorBoardCallback(SummaryWriter(str(log_folder))))
    # Our bar stands instead of the library's, which prints a line for each step where there is no terminal.
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(work_folder))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-max(1, len(losses) // 10) :]
    return merge_lora(encoder.transformers_model), sum(last) / len(last)


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # its types are not published
    def __init__(self, epoch: "_Epoch", **options: object) -> None:
        self._epoch = epoch
        super().__init__(**options)

    def get_batch_sampler(self, dataset: Dataset, batch_size: int, drop_last: bool, **options: object) -> "_Batches":
        """Give the items in an order that hangs on nothing but the seed and the epoch."""
        return _Batches(self._epoch, batch_size)

    def add_model_card_callback(self, default_args_dict: Mapping[str, object]) -> None:
        """Make no model card: it would draw from the global random state, and nobody reads a checkpoint's."""


class _Epoch(TrainerCallback):
    """A dataset whose rows are drawn when they are read, and their order, both afresh in each epoch."""

    def __init__(self, pairs: Pairs, num_items: int, seed: int) -> None:
        self._pairs = pairs
        self._seed = seed
        self._number = 0
        self.dataset = Dataset.from_dict({"item_row": range(num_items)}).with_transform(self._draw)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        # A resumed epoch begins at a fraction.
        self._number = int(state.epoch or 0)

    def order(self) -> list[int]:
        """Return the item rows in this epoch's order."""
        generator = derive_generator(self._seed, "order", self._number)
        return [int(row) for row in generator.permutation(len(self.dataset))]

    def _draw(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[object]]:
        pairs = [self._pairs(self._number, row) for row in batch["item_row"]]
        # Neighbours in a batch go through the LLM together: of one length, they need little padding.
        pairs.sort(key=lambda pair: len(pair.first) + len(pair.second))
        return {
            "first": [pair.first for pair in pairs],
            "second": [pair.second for pair in pairs],
            "label": [pair.identity() for pair in pairs],
        }


class _Batches(DefaultBatchSampler):  # type: ignore[misc]  # its types are not published
    """Whole batches in the epoch's order."""

    def __init__(self, epoch: _Epoch, batch_items: int) -> None:
        super().__init__(epoch.dataset, batch_size=batch_items, drop_last=True)
        self._epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        order = self._epoch.order()
        for start in range(0, len(order) - self.batch_size + 1, self.batch_size):
            yield order[start : start + self.batch_size]


class _Marker(TrainerCallback):
    """Notes the newest checkpoint once it is written whole, so that one that was cut off is never gone on from."""

    def __init__(self, work_folder: Path) -> None:
        self._mark = work_folder / _MARK

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        processes.meet()  # each process writes its random state
        if processes.is_main():
            write_text_atomically(self._mark, f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")


def _last_checkpoint(work_folder: Path) -> str | None:
    mark = work_folder / _MARK
    return str(work_folder / mark.read_text(encoding="utf-8")) if mark.is_file() else None


def discard_checkpoints(work_folder: Path) -> None:
    """Remove the checkpoints, the mark first, so that a half-removed one is never gone on from."""
    (work_folder / _MARK).unlink(missing_ok=True)
    shutil.rmtree(work_folder, ignore_errors=True)


class _Bar(TrainerCallback):
    """The step's bar, with the loss beside it."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._bar = bar("scft", " steps", state.max_steps)
        self._bar.update(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._bar.update(state.global_step - self._bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
        self._bar.set_figures(loss=state.log_history[-1].get("loss"))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._bar.close()


def _arguments(
    options: ContrastiveOptions, epoch_steps: int, batch_items: int, work_folder: Path
) -> SentenceTransformerTrainingArguments:
    steps = options.max_steps or options.epochs * epoch_steps
    arguments = SentenceTransformerTrainingArguments(
        output_dir=str(work_folder),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        per_device_train_batch_size=batch_items,
        dataloader_drop_last=True,
        learning_rate=options.learning_rate,
        warmup_steps=int(options.warmup_share * steps),
        lr_scheduler_type="linear",
        bf16=torch.cuda.is_available() and torch.cuda.is_bf16_supported(),
        logging_steps=1,
        report_to="none",
        disable_tqdm=True,
        save_steps=options.checkpoint_steps,
        save_total_limit=2,
        seed=options.seed % 2**32,
        data_seed=options.seed % 2**32,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        # Without this the library lets processes without a GPU train each for itself.
        use_cpu=processes.count() > 1 and not torch.cuda.is_available(),
        accelerator_config={"split_batches": True},
        ddp_find_unused_parameters=False,
    )
    # One process drives one device; the library would spread a lone process over all it sees, and multiply the batch.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _batch_items(options: ContrastiveOptions, num_items: int) -> int:
    """Return the pairs of a batch, of all processes together."""
    if options.batch_items % processes.count():
        raise ConfigError(
            f"scft.batch_items is {options.batch_items}, which {processes.count()} processes cannot share: "
            f"choose a multiple of {processes.count()}"
        )
    return min(options.batch_items, num_items // processes.count() * processes.count())


def _mini_batch(options: ContrastiveOptions, batch_items: int) -> int | None:
    """Return the pairs that one process passes through the LLM at once, None where that is its whole batch."""
    mini_batch = options.mini_batch_items
    return mini_batch if mini_batch is not None and mini_batch * processes.count() < batch_items else None
