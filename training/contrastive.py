"""SCFT's inner part: LoRA on an encoder folder, trained so that two views of an item find each other."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, TaskType
from peft.tuners.lora import LoraLayer
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.sentence_transformer.losses import (
    CachedMultipleNegativesRankingLoss,
    MultipleNegativesRankingLoss,
)
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.tensorboard import SummaryWriter
from transformers import (
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

from llmemb.files import write_text_atomically
from training.progress import bar

LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_MARK = "last_checkpoint"

Views = Callable[[int, int], tuple[str, str]]
"""(epoch, item row) -> the prompts of two views, always the same for the same pair."""


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
    base_folder: Path, num_items: int, views: Views, options: ContrastiveOptions, work_folder: Path, log_folder: Path
) -> tuple[PreTrainedModel, float]:
    """Train LoRA weights contrastively and merge them; go on from the last checkpoint in `work_folder`.

    The loss contrasts, in both directions, the two views of the items of a batch by cosine over `temperature`, in
    float32; equal texts are never in one batch, so none is its own negative.

    Args:
        base_folder: an encoder folder, as `Encoder.save` writes it.
        num_items: items 0..num_items-1 are trained on.
        views: draws the two views.
        options: how to train.
        work_folder: takes the checkpoints.
        log_folder: takes the TensorBoard logs.

    Returns:
        The LLM with the update merged into its weights, and the mean loss of the last tenth of the steps.

    Source: LLMEmb, "Supervised contrastive fine-tuning"; gradient caching: Gao et al. 2021, arXiv 2101.06983.
    """
    torch.manual_seed(options.seed)  # draws LoRA's first weights, before the trainer sets a seed of its own
    encoder = SentenceTransformer(str(base_folder), device=None)
    encoder.add_adapter(
        LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=options.lora_rank,
            lora_alpha=options.lora_alpha,
            lora_dropout=options.lora_dropout,
            target_modules=list(LORA_TARGETS),
        )
    )
    drawn = _EpochViews(views, num_items)
    trainer = _Trainer(
        model=encoder,
        args=_arguments(options, num_items, work_folder),
        train_dataset=drawn.dataset,
        loss=_loss(encoder, options),
        callbacks=[drawn, _Marker(work_folder), _Bar(), TensorBoardCallback(SummaryWriter(str(log_folder)))],
    )
    # Our bar stands instead of the library's, which prints a line for each step where there is no terminal.
    trainer.remove_callback(ProgressCallback)
    trainer.remove_callback(PrinterCallback)
    trainer.train(resume_from_checkpoint=_last_checkpoint(work_folder))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    last = losses[-max(1, len(losses) // 10) :]
    return merge_lora(encoder.transformers_model), sum(last) / len(last)


class _Trainer(SentenceTransformerTrainer):  # type: ignore[misc]  # its types are not published
    def add_model_card_callback(self, default_args_dict: Mapping[str, object]) -> None:
        """Make no model card: it would draw from the global random state, and nobody reads a checkpoint's."""


class _EpochViews(TrainerCallback):
    """A dataset whose rows are drawn when they are read, afresh in each epoch."""

    def __init__(self, views: Views, num_items: int) -> None:
        self._views = views
        self._epoch = 0
        self.dataset = Dataset.from_dict({"item_row": range(num_items)}).with_transform(self._draw)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        # A resumed epoch begins at a fraction.
        self._epoch = int(state.epoch or 0)

    def _draw(self, batch: Mapping[str, Sequence[int]]) -> dict[str, list[str]]:
        pairs = [self._views(self._epoch, row) for row in batch["item_row"]]
        return {"first": [first for first, _ in pairs], "second": [second for _, second in pairs]}


class _Marker(TrainerCallback):
    """Notes the newest checkpoint once it is written whole, so that one that was cut off is never gone on from."""

    def __init__(self, work_folder: Path) -> None:
        self._mark = work_folder / _MARK

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object) -> None:
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
        self._bar.set_postfix(loss=state.log_history[-1].get("loss"))

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._bar.close()


def _arguments(options: ContrastiveOptions, num_items: int, work_folder: Path) -> SentenceTransformerTrainingArguments:
    steps = options.max_steps or options.epochs * max(1, num_items // options.batch_items)
    return SentenceTransformerTrainingArguments(
        output_dir=str(work_folder),
        num_train_epochs=options.epochs,
        max_steps=options.max_steps or -1,
        per_device_train_batch_size=options.batch_items,
        dataloader_drop_last=num_items >= options.batch_items,
        batch_sampler="no_duplicates",
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
    )


def _loss(encoder: SentenceTransformer, options: ContrastiveOptions) -> nn.Module:
    shared = {
        "scale": 1.0 / options.temperature,
        "similarity_fct": cosines,
        "directions": ("query_to_doc", "doc_to_query"),
        "partition_mode": "per_direction",
    }
    mini_batch = options.mini_batch_items
    if mini_batch is None or mini_batch >= options.batch_items:
        loss: nn.Module = MultipleNegativesRankingLoss(encoder, **shared)
    else:
        loss = CachedMultipleNegativesRankingLoss(encoder, mini_batch_size=mini_batch, **shared)
    return loss


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines of `(n, h)` with `(m, h)`, `(n, m)`, in float32 under any autocast."""
    with torch.autocast(first.device.type, enabled=False):
        return functional.normalize(first.float(), dim=-1) @ functional.normalize(second.float(), dim=-1).T


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Add every LoRA update to the weight under it and take the LoRA layers out; changes `model` in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    del model.peft_config
    model._hf_peft_config_loaded = False
    return model
