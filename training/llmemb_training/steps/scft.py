"""`scft`: fine-tune the base LLM contrastively on the items; the result is the encoder."""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel

from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.files import new_folder
from llmemb.scoring.projection import Reduction, fit_reduction
from llmemb_training.config import EncoderConfig, ScftConfig
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.embedding.sample import SAMPLE_FILE, read_sample, write_sample
from llmemb_training.scft import processes
from llmemb_training.scft.batches import Batches
from llmemb_training.scft.contrastive import TuningProgress, fine_tune
from llmemb_training.scft.text_gradients import require_generation

ENCODER = "encoder"
LORA = "lora"
_BASE = "base"
_CHECKPOINT = "checkpoint.safetensors"


def run(
    config: ScftConfig, encoder_config: EncoderConfig, seed: int, dataset_folder: Path, output: Path, logs: Path
) -> str:
    """Write `output/encoder`, `output/lora` and `output/sample.safetensors`; return the summary line.

    Only warm items are used. With `enabled = false` the encoder is the base LLM, truncated to its depth, without LoRA.

    Raises:
        ConfigError: `generation_weight` is set, and the LLM cannot generate.
        DataError: all items have the same prompt, or `positives` needs histories of two items and there are none.
    """
    dataset = read_dataset(dataset_folder)
    job = _Job(
        scft=config,
        max_value_characters=encoder_config.max_value_characters,
        seed=seed,
        dataset_folder=dataset_folder,
        output=output,
        logs=logs,
    )
    batches = job.batches(dataset) if config.enabled else None
    base_folder = output / (ENCODER if batches is None else _BASE)
    if not base_folder.is_dir():
        _save_base(encoder_config, base_folder)
    base = Encoder.load(base_folder)
    if batches is not None and config.generation_weight:
        require_generation(base.model, "scft.generation_weight")
    if not (output / SAMPLE_FILE).is_file():
        write_sample(output, dataset, base, encoder_config.max_value_characters, seed)
    if batches is None:
        return "switched off: the encoder is the base LLM"
    processes.summon(job.model_dump_json())
    model, progress = job.run(dataset, batches)
    with new_folder(output / ENCODER) as temporary:
        Encoder(model, base.tokenizer, base.pooling, base.max_tokens).save(temporary)
    # Rename before deleting: a half-deleted folder must not look complete after a kill.
    shutil.rmtree(base_folder.rename(output / f".{_BASE}.tmp"))
    (output / _CHECKPOINT).unlink(missing_ok=True)
    return (
        f"{progress.pairs:,} pairs in {progress.step:,} steps, {progress.pairs / progress.seconds:.1f} pairs/s, "
        f"loss {progress.last_loss:.3f} at the end"
    )


def help_main() -> None:
    """As a worker process, take part in every `run` of the main process; write nothing."""
    for job in map(_Job.model_validate_json, processes.jobs()):
        dataset = read_dataset(job.dataset_folder)
        job.run(dataset, job.batches(dataset))


class _Job(BaseModel):
    """A distributed job; all processes see its folders."""

    model_config = ConfigDict(frozen=True)

    scft: ScftConfig
    max_value_characters: int
    seed: int
    dataset_folder: Path
    output: Path
    logs: Path

    def batches(self, dataset: Dataset) -> Batches:
        """Return the training batches."""
        return Batches(
            dataset.items["attributes"].to_list(),
            dataset.num_warm,
            dataset.train,
            dataset.prompt(self.max_value_characters),
            self.scft,
            self.seed,
        )

    def run(self, dataset: Dataset, batches: Batches) -> tuple[PreTrainedModel, TuningProgress]:
        """Fine-tune the LLM in `output/base`; see `fine_tune`."""
        return fine_tune(
            self.output / _BASE,
            batches,
            self.scft,
            self.seed,
            self.output / _CHECKPOINT,
            self.output / LORA,
            self.logs,
            _whitening(self.scft.whitened_components, dataset, self.output),
        )


def _save_base(config: EncoderConfig, folder: Path) -> None:
    """Write the base LLM, truncated to its depth, atomically."""
    depth = config.depth
    assert depth != "auto"  # `select` has chosen it
    encoder = load_llm(config.base, depth=depth, pooling=config.pooling, max_tokens=config.max_tokens)
    with new_folder(folder) as temporary:
        encoder.save(temporary)


def _whitening(components: int, dataset: Dataset, output: Path) -> Reduction | None:
    """Fit the whitening on the warm items of the sample, embedded before fine-tuning."""
    sample = read_sample(output)
    warm = sample.before[sample.rows < dataset.num_warm]
    components = min(components, len(warm) - 1, warm.shape[1])
    return fit_reduction(warm, components, "whiten") if components > 1 else None
