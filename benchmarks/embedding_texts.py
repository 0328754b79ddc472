"""Real prompts of three lengths, as the configurations of the runs make them."""

from itertools import islice
from pathlib import Path

from benchmarks.results import REPOSITORY, WORK
from llmemb.item import attributes_from_json
from training.config import Config, load_config
from training.data.dataset import read_dataset
from training.steps import prepare

CONFIGS = {"MovieLens": "demo", "Beauty": "beauty", "Scientific": "scientific"}
"""Name of the texts -> its configuration; prompts of about 32, 45 and 90 tokens."""


def source_folder(name: str, data: Path | None) -> Path:
    """Return the folder of a source; it need not be there.

    Args:
        name: one of `CONFIGS`.
        data: where the Amazon sources lie, if not where the configurations say.
    """
    configured = Path(_config(name).prepare.path)
    return data / configured.name if data and "amazon" in configured.name else REPOSITORY / configured


def read_prompts(name: str, number: int, source: Path) -> tuple[str, list[str]]:
    """Return how all prompts of a source begin, and its first ones, in the order of its catalogue.

    Args:
        name: one of `CONFIGS`.
        number: of prompts.
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
    return load_config(REPOSITORY / "training" / "configs" / f"{CONFIGS[name]}.toml")
