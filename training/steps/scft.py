"""`scft`: the base LLM -> the encoder, fine-tuned contrastively on its items."""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel

from llmemb.encoder import Encoder, load_llm
from llmemb.files import new_folder
from llmemb.projection import Reduction, fit_reduction
from llmemb.prompt import PromptSpec
from training import processes
from training.co_occurrence import CoOccurrence
from training.config import EncoderConfig, ScftConfig
from training.contrastive import ContrastiveOptions, discard_checkpoints, fine_tune
from training.dataset import Dataset, read_dataset
from training.embedding_sample import SAMPLE_FILE, read_sample, write_sample
from training.pairs import PairDrawer
from training.seeds import derive_seed

ENCODER = "encoder"
_BASE = "base"
_CHECKPOINTS = "checkpoints"


def run(
    config: ScftConfig, encoder_config: EncoderConfig, seed: int, dataset_folder: Path, output: Path, logs: Path
) -> str:
    """Write the encoder folder `output/encoder` and `output/sample.safetensors`; return the summary line.

    Cold items take no part. With `enabled = false` the encoder is the base LLM, cut to its depth.
    """
    dataset = read_dataset(dataset_folder)
    base_folder = output / (_BASE if config.enabled else ENCODER)
    if not base_folder.is_dir():
        _save_base(encoder_config, base_folder)
    base = Encoder.load(base_folder)
    if not (output / SAMPLE_FILE).is_file():
        write_sample(output, dataset, base, encoder_config.max_value_characters, seed)
    if not config.enabled:
        return "switched off: the encoder is the base LLM"
    job = _Job(
        scft=config,
        max_value_characters=encoder_config.max_value_characters,
        seed=seed,
        dataset_folder=dataset_folder,
        output=output,
        logs=logs,
    )
    processes.summon(job.model_dump_json())
    model, loss = job.run(dataset)
    Encoder(model, base.tokenizer, base.pooling, base.max_tokens).save(output / ENCODER)
    discard_checkpoints(output / _CHECKPOINTS)
    # Half-removed under its own name, it would be taken for whole after a kill.
    shutil.rmtree(base_folder.rename(output / f".{_BASE}.tmp"))
    return f"{dataset.num_warm:,} items, {config.epochs} epochs, contrastive loss {loss:.3f} at the end"


def help_main() -> None:
    """Take part in every `run` of the main process, as one of several; write no more than checkpoints need."""
    for job in map(_Job.model_validate_json, processes.jobs()):
        job.run(read_dataset(job.dataset_folder))


class _Job(BaseModel):
    """What all processes do together, on folders that all of them see."""

    model_config = ConfigDict(frozen=True)

    scft: ScftConfig
    max_value_characters: int
    seed: int
    dataset_folder: Path
    output: Path
    logs: Path

    def run(self, dataset: Dataset) -> tuple[PreTrainedModel, float]:
        """Fine-tune the LLM in `output/base`; see `fine_tune`."""
        config = self.scft
        return fine_tune(
            self.output / _BASE,
            dataset.num_warm,
            _pairs(config, dataset, dataset.prompt(self.max_value_characters), self.seed),
            ContrastiveOptions(
                epochs=config.epochs,
                max_steps=config.max_steps,
                batch_items=config.batch_items,
                mini_batch_items=config.mini_batch_items,
                temperature=config.temperature,
                learning_rate=config.learning_rate,
                warmup_share=config.warmup_share,
                lora_rank=config.lora_rank,
                lora_alpha=config.lora_alpha,
                lora_dropout=config.lora_dropout,
                checkpoint_steps=config.checkpoint_steps,
                seed=derive_seed(self.seed, "scft", "order"),
            ),
            self.output / _CHECKPOINTS,
            self.logs,
            _whitening(config.whitened_components, dataset, self.output),
        )


def _save_base(config: EncoderConfig, folder: Path) -> None:
    """Write the base LLM, cut to its depth, whole or not at all."""
    depth = config.depth
    assert depth != "auto"  # has been chosen by now
    encoder = load_llm(config.base, depth=depth, pooling=config.pooling, max_tokens=config.max_tokens)
    with new_folder(folder) as temporary:
        encoder.save(temporary)


def _whitening(components: int, dataset: Dataset, output: Path) -> Reduction | None:
    """Fit the whitening on the warm items of the sample, which the LLM has embedded before its tuning."""
    sample = read_sample(output)
    warm = sample.before[sample.rows < dataset.num_warm]
    components = min(components, len(warm) - 1, warm.shape[1])
    return fit_reduction(warm, components, "whiten") if components > 1 else None


def _pairs(config: ScftConfig, dataset: Dataset, prompt: PromptSpec, seed: int) -> PairDrawer:
    with_near = config.positives != "views"
    return PairDrawer(
        attributes_json=dataset.items["attributes"].to_list(),
        prompt=prompt,
        drop_share=config.drop_share,
        seed=seed,
        near=CoOccurrence(dataset.train, dataset.num_warm, config.co_occurrence_window) if with_near else None,
        in_turn=config.positives == "both",
    )
