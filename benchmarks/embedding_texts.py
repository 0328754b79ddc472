"""Real prompts of three lengths, rendered with the configurations of the runs."""

from itertools import islice
from pathlib import Path

from benchmarks.results import REPOSITORY, WORK
from llmemb.item import attributes_from_json
from llmemb_training.config import Config, config_file, load_config
from llmemb_training.data.dataset import read_dataset
from llmemb_training.steps import prepare

CONFIGS = {"MovieLens": "demo", "Beauty": "beauty", "Scientific": "scientific"}
"""Name of the texts -> configuration; the prompts have about 32, 45 and 90 tokens."""


def source_folder(name: str, data: Path | None) -> Path:
    """Return the folder of a source, which may not exist.

    Args:
        name: one of `CONFIGS`.
        data: folder of the Amazon sources; None: the paths in the configurations.
    """
    configured = Path(_config(name).prepare.path)
    return data / configured.name if data and "amazon" in configured.name else REPOSITORY / configured


def read_prompts(name: str, number: int, source: Path) -> tuple[str, list[str]]:
    """Return the common prefix of a source's prompts, and the first prompts in catalogue order.

    Args:
        name: one of `CONFIGS`.
        number: number of prompts.
        source: see `source_folder`.
    """
    config = _config(name)
    folder = WORK / "embedding" / name
    if not (folder / "dataset.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        prepare.run(config.prepare.model_copy(update={"path": str(source)}), config.seed, folder)
    dataset = read_dataset(folder)
    spec = dataset.prompt(config.encoder.max_value_characters)
    texts = islice(dataset.items["attributes"], number)
    return spec.beginning, [spec.render(attributes_from_json(text)) for text in texts]


def _config(name: str) -> Config:
    return load_config(config_file(CONFIGS[name]))
