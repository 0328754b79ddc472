"""`scft`: the base LLM -> the encoder, fine-tuned contrastively on two views of each item."""

import shutil
from pathlib import Path

from llmemb.encoder import Encoder, load_llm
from llmemb.files import new_folder
from llmemb.prompt import PromptSpec
from training.augmentation import draw_view
from training.config import EncoderConfig, ScftConfig
from training.contrastive import ContrastiveOptions, Views, discard_checkpoints, fine_tune
from training.dataset import Dataset, read_dataset
from training.seeds import derive_generator, derive_seed

ENCODER = "encoder"


def run(
    config: ScftConfig, encoder_config: EncoderConfig, seed: int, dataset_folder: Path, output: Path, logs: Path
) -> str:
    """Write the encoder folder `output/encoder`; return the summary line.

    Cold items take no part. With `enabled = false` the encoder is the base LLM, cut to its depth.
    """
    dataset = read_dataset(dataset_folder)
    base_folder, work_folder = output / "base", output / "checkpoints"
    if not config.enabled:
        _save_base(encoder_config, output / ENCODER)
        return "switched off: the encoder is the base LLM"
    if not base_folder.is_dir():
        _save_base(encoder_config, base_folder)
    model, loss = fine_tune(
        base_folder,
        dataset.num_warm,
        _views(dataset, dataset.prompt(encoder_config.max_value_characters), config.drop_share, seed),
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
            seed=derive_seed(seed, "scft", "order"),
        ),
        work_folder,
        logs,
    )
    base = Encoder.load(base_folder)
    Encoder(model, base.tokenizer, base.pooling, base.max_tokens).save(output / ENCODER)
    discard_checkpoints(work_folder)
    shutil.rmtree(base_folder)
    return f"{dataset.num_warm:,} items, {config.epochs} epochs, contrastive loss {loss:.3f} at the end"


def _save_base(config: EncoderConfig, folder: Path) -> None:
    """Write the base LLM, cut to its depth, whole or not at all."""
    encoder = load_llm(config.base, depth=config.depth, pooling=config.pooling, max_tokens=config.max_tokens)
    with new_folder(folder) as temporary:
        encoder.save(temporary)


def _views(dataset: Dataset, prompt: PromptSpec, drop_share: float, seed: int) -> Views:
    attributes = dataset.attributes()

    def draw(epoch: int, row: int) -> tuple[str, str]:
        generator = derive_generator(seed, "scft", "views", epoch, row)
        names = [name for name in prompt.attribute_names if name in attributes[row]]
        first, second = (
            prompt.render_in_order(attributes[row], draw_view(names, drop_share, generator)) for _ in range(2)
        )
        return first, second

    return draw
