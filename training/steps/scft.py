"""`scft`: the base LLM -> the encoder, fine-tuned contrastively on its items."""

import shutil
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from transformers import PreTrainedModel

from llmemb.encoder import Encoder, load_llm
from llmemb.files import new_folder
from llmemb.projection import Reduction, fit_reduction
from training import processes
from training.config import EncoderConfig, ScftConfig
from training.contrastive import TuningProgress, fine_tune
from training.dataset import Dataset, read_dataset
from training.embedding_sample import SAMPLE_FILE, read_sample, write_sample
from training.scft_batches import Batches

ENCODER = "encoder"
_BASE = "base"
_CHECKPOINT = "checkpoint.safetensors"


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
    model, progress = job.run(dataset)
    with new_folder(output / ENCODER) as temporary:
        Encoder(model, base.tokenizer, base.pooling, base.max_tokens).save(temporary)
    (output / _CHECKPOINT).unlink(missing_ok=True)
    # Half-removed under its own name, it would be taken for whole after a kill.
    shutil.rmtree(base_folder.rename(output / f".{_BASE}.tmp"))
    return (
        f"{progress.pairs:,} pairs in {progress.step:,} steps, {progress.pairs / progress.seconds:.1f} pairs/s, "
        f"contrastive loss {progress.last_loss:.3f} at the end"
    )


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

    def run(self, dataset: Dataset) -> tuple[PreTrainedModel, TuningProgress]:
        """Fine-tune the LLM in `output/base`; see `fine_tune`."""
        batches = Batches(
            dataset.items["attributes"].to_list(),
            dataset.num_warm,
            dataset.train,
            dataset.prompt(self.max_value_characters),
            self.scft,
            self.seed,
        )
        return fine_tune(
            self.output / _BASE,
            batches,
            self.scft,
            self.seed,
            self.output / _CHECKPOINT,
            self.logs,
            _whitening(self.scft.whitened_components, dataset, self.output),
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
