"""Training loop of SCFT: contrastive training of LoRA weights on an encoder."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from peft import LoraConfig, TaskType
from peft.tuners.lora import LoraLayer
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from transformers import PreTrainedModel

from llmemb.encoder.encoder import Encoder
from llmemb.encoder.engines.llama_weights import multiplies_bfloat16
from llmemb.encoder.engines.token_tree import shared_length
from llmemb.files import new_folder
from llmemb.scoring.projection import Reduction
from llmemb_training.config import ScftConfig
from llmemb_training.config.seeds import derive_seed
from llmemb_training.runs.progress import bar
from llmemb_training.scft import processes
from llmemb_training.scft.batches import Batch, Batches
from llmemb_training.scft.loss import ContrastiveLoss
from llmemb_training.scft.text_gradients import Text, TextGradients

ALL_LINEAR = "all-linear"
"""Every linear layer of the LLM: in a Llama q, k, v, o, gate, up and down, as in the paper."""


def add_lora(model: PreTrainedModel, rank: int, alpha: int, dropout: float) -> None:
    """Add LoRA, scaled by `alpha / rank`, to all linear layers, and freeze all other weights of `model`."""
    model.add_adapter(
        LoraConfig(
            task_type=TaskType.FEATURE_EXTRACTION,
            r=rank,
            lora_alpha=alpha,
            lora_dropout=dropout,
            target_modules=ALL_LINEAR,
        )
    )


def train_dropout(model: PreTrainedModel) -> None:
    """Set the model to evaluation mode, except LoRA's dropout."""
    model.eval()
    for module in model.modules():
        if isinstance(module, LoraLayer):
            module.lora_dropout.train()


def save_lora(model: PreTrainedModel, folder: Path) -> None:
    """Write the LoRA weights atomically, in PEFT's format; `load_adapter(folder)` adds them to the LLM."""
    (config,) = model.peft_config.values()
    assert isinstance(config, LoraConfig)
    # The path of the base model and the order of a set would differ between runs.
    config.base_model_name_or_path = None
    config.target_modules = sorted(config.target_modules or ())
    with new_folder(folder) as temporary:
        model.save_pretrained(temporary)


def merge_lora(model: PreTrainedModel) -> PreTrainedModel:
    """Merge every LoRA update into its base weight and remove the LoRA layers; modifies `model` in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, module.get_base_layer())
    model.delete_adapter(list(model.peft_config))  # the layers are gone; this makes `save_pretrained` write the LLM
    return model


_MAX_GRADIENT_NORM = 1.0
"""Maximum gradient norm for clipping, as in sentence-transformers and in the paper's code."""


@dataclass(slots=True)
class TuningProgress:
    """Progress of a training."""

    step: int = 0
    """Number of completed optimiser steps."""
    pairs: int = 0
    """Number of processed positive pairs."""
    seconds: float = 0.0
    """Training time, without interruptions."""
    losses: list[float] = field(default_factory=list)
    """Loss of each step."""

    @property
    def last_loss(self) -> float:
        """Mean loss of the last tenth of the steps."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return sum(last) / len(last)


def fine_tune(
    base_folder: Path,
    batches: Batches,
    config: ScftConfig,
    seed: int,
    checkpoint: Path,
    lora_folder: Path,
    log_folder: Path,
    whitening: Reduction | None = None,
) -> tuple[PreTrainedModel, TuningProgress]:
    """Train LoRA weights contrastively and merge them; resume from `checkpoint` if it exists.

    Every process started by `torchrun` or `accelerate launch` calls this function with the same arguments. The
    processes split the texts of each batch and sum their gradients, so that their number only affects the duration.
    The main process writes the files.

    Args:
        base_folder: an encoder folder, as `Encoder.save` writes it.
        batches: the training batches.
        config: how to train.
        seed: the seed in the configuration.
        checkpoint: the checkpoint file, written every `checkpoint_steps` steps and after the last step.
        lora_folder: folder for the LoRA weights in PEFT's format.
        log_folder: folder for the TensorBoard logs.
        whitening: see `ContrastiveLoss`.

    Returns:
        The LLM with the merged weights, and the training progress.

    Source: LLMEmb, "Supervised contrastive fine-tuning"; see `ContrastiveLoss`. Gradient caching for large batches: Gao
    et al. 2021, arXiv 2101.06983.
    """
    trainer = ContrastiveTrainer(base_folder, config, seed, whitening)
    progress = TuningProgress()
    if checkpoint.is_file():
        progress = trainer.load(checkpoint)
    log = SummaryWriter(str(log_folder), purge_step=progress.step + 1) if processes.is_main() else None
    with bar("scft", "pairs", batches.num_pairs) as shown:
        shown.update(progress.pairs)
        while progress.step < len(batches):
            started = time.perf_counter()
            time_share = progress.seconds / (60 * config.max_minutes) if config.max_minutes is not None else 0.0
            time_share = processes.from_main(time_share)
            if time_share >= 1:
                break
            batch = batches[progress.step]
            rate = config.learning_rate * _rate_share(progress.step, len(batches), config.warmup_share, time_share)
            loss = trainer.step(batch, progress.step, rate)
            progress.losses.append(loss)
            progress.step += 1
            progress.pairs += batch.num_pairs
            seconds = time.perf_counter() - started
            progress.seconds += seconds
            if processes.is_main() and (progress.step % config.checkpoint_steps == 0 or progress.step == len(batches)):
                trainer.save(checkpoint, progress)
            if log is not None:
                log.add_scalar("train/loss", loss, progress.step)
                log.add_scalar("train/learning_rate", rate, progress.step)
                log.add_scalar("train/pairs_per_second", batch.num_pairs / seconds, progress.step)
            shown.set_figures(loss=loss)
            shown.update(batch.num_pairs)
    if log is not None:
        log.close()
    if processes.is_main():
        save_lora(trainer.encoder.model, lora_folder)
    return merge_lora(trainer.encoder.model), progress


def _rate_share(step: int, steps: int, warmup_share: float, time_share: float) -> float:
    """Return the factor of the learning rate in a step: linear warm-up from zero, then linear decay to zero."""
    warmup = int(warmup_share * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return max(0.0, min((steps - step) / (steps - warmup), 1 - time_share))


class ContrastiveTrainer:
    """The LLM with its LoRA weights, the loss and the optimiser; arguments as in `fine_tune`."""

    def __init__(self, base_folder: Path, config: ScftConfig, seed: int, whitening: Reduction | None) -> None:
        self._config = config
        self._seed = seed
        device = _device()
        encoder = Encoder.load(base_folder, str(device))
        max_tokens = min(encoder.max_tokens, config.max_tokens or encoder.max_tokens)
        torch.manual_seed(derive_seed(seed, "scft", "lora"))
        add_lora(encoder.model, config.lora_rank, config.lora_alpha, config.lora_dropout)
        dtype = _dtype(config, device)
        if device.type == "cpu" and dtype == torch.bfloat16:
            # Eager attention runs on oneDNN; the fused attention of torch is slower in bfloat16, above all backwards.
            encoder.model.set_attn_implementation("eager")
        self.encoder = Encoder(encoder.model, encoder.tokenizer, encoder.pooling, max_tokens)
        train_dropout(encoder.model)
        self._texts = TextGradients(encoder.model, encoder.pooling, dtype, config.part_tokens)
        self._loss = ContrastiveLoss(config.temperature, whitening).to(device)
        self._weights = {
            name: parameter for name, parameter in encoder.model.named_parameters() if parameter.requires_grad
        }
        self._optimizer = torch.optim.AdamW(self._weights.values(), lr=config.learning_rate, weight_decay=0.0)

    def step(self, batch: Batch, step: int, rate: float) -> float:
        """Run one optimiser step.

        Args:
            batch: the whole batch, which the processes share.
            step: the step number, which seeds dropout.
            rate: the learning rate.

        Returns:
            The loss of the batch.
        """
        config = self._config
        texts = self._tokenize(batch)
        tokens = sum(len(text.ids) - text.generated for text in texts)
        generation_weight = config.generation_weight / tokens if tokens else 0.0
        parts = list(enumerate(self._texts.parts(texts)))[processes.rank() :: processes.count()]
        states = self.encoder.depth * sum(len(part) * len(texts[part[0]].ids) for _, part in parts)
        held = states <= config.held_states
        embeddings = torch.zeros((len(texts), self.encoder.width), device=self.encoder.model.device)
        outputs = []
        with torch.set_grad_enabled(held):
            for number, part in parts:
                outputs.append(self._run(texts, part, step, number, generate=held and generation_weight > 0))
                embeddings[part] = outputs[-1][0].detach()
        embeddings = processes.sum_up(embeddings).requires_grad_()
        loss = self._loss(embeddings, batch)
        (gradient,) = torch.autograd.grad(loss, embeddings)
        generation_loss = torch.zeros_like(loss)
        for number, part in reversed(parts):
            embedded, generated = outputs.pop()
            if not held:
                embedded, generated = self._run(texts, part, step, number, generate=generation_weight > 0)
            generation_loss += generation_weight * generated.detach()
            ((embedded * gradient[part]).sum() + generation_weight * generated).backward()
        self._update(rate)
        return float(loss.detach() + processes.sum_up(generation_loss))

    def _tokenize(self, batch: Batch) -> list[Text]:
        every = self.encoder.tokenize([*batch.views, *batch.second_views])
        generated = [len(ids) for ids in every]
        if self._config.generation_weight:
            # Generate what follows the first attribute of a view; values never contain ";".
            heads = [view.partition(";")[0] + ";" for view in batch.views]
            for row, (head, ids) in enumerate(zip(self.encoder.tokenize(heads), every, strict=False)):
                generated[row] = shared_length(head[:-1], ids)
        return [Text(ids, start) for ids, start in zip(every, generated, strict=True)]

    def _run(
        self, texts: Sequence[Text], part: list[int], step: int, number: int, *, generate: bool
    ) -> tuple[Tensor, Tensor]:
        # Dropout depends only on the part: it is the same in the second pass, after a resume, and in every process.
        torch.manual_seed(derive_seed(self._seed, "scft", "dropout", step, number))
        return self._texts([texts[i] for i in part], generate=generate)

    def _update(self, rate: float) -> None:
        parameters = list(self._weights.values())
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        summed = processes.sum_up(torch.cat([gradient.flatten() for gradient in gradients]))
        sizes = [parameter.numel() for parameter in parameters]
        for parameter, gradient in zip(parameters, summed.split(sizes), strict=True):
            parameter.grad = gradient.view_as(parameter)
        nn.utils.clip_grad_norm_(parameters, _MAX_GRADIENT_NORM)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()

    def save(self, path: Path, progress: TuningProgress) -> None:
        """Write the weights, the optimiser state and the progress atomically."""
        tensors = dict(self._weights)
        for name, parameter in self._weights.items():
            tensors |= {f"{field}:{name}": value for field, value in self._optimizer.state[parameter].items()}
        tensors["losses"] = torch.tensor(progress.losses, dtype=torch.float64)
        fields = {"step": progress.step, "pairs": progress.pairs, "seconds": progress.seconds}
        temporary = path.with_suffix(".tmp")
        save_file(
            {name: value.detach().cpu().contiguous() for name, value in tensors.items()},
            temporary,
            {"progress": json.dumps(fields)},
        )
        temporary.replace(path)

    def load(self, path: Path) -> TuningProgress:
        """Restore a checkpoint written by `save`."""
        with safe_open(path, framework="pt") as file, torch.no_grad():
            for name, parameter in self._weights.items():
                parameter.copy_(file.get_tensor(name))
                self._optimizer.state[parameter] = {
                    field: file.get_tensor(f"{field}:{name}").to("cpu" if field == "step" else parameter.device)
                    for field in ("step", "exp_avg", "exp_avg_sq")
                }
            losses = file.get_tensor("losses").tolist()
            return TuningProgress(losses=losses, **json.loads(file.metadata()["progress"]))


def _device() -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _dtype(config: ScftConfig, device: torch.device) -> torch.dtype:
    if config.precision == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if config.precision == "bfloat16" else torch.float32
