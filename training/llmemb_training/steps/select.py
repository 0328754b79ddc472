"""`select`: choose the options set to `auto` on validation, before fine-tuning.

Depth, components and residual mode are chosen one after another, each by training the recommender for a few epochs on
embeddings of the untuned LLM. Gamma is chosen by `rat`, since that needs the trained recommender.
"""

import shutil
from functools import partial
from pathlib import Path

from llmemb.bundle import Selection
from llmemb.encoder.encoder import load_llm
from llmemb.files import new_folder
from llmemb_training.config import Config, EncoderConfig
from llmemb_training.data.dataset import Dataset, read_dataset
from llmemb_training.embedding.raw_embeddings import load_raw_embeddings, save_raw_embeddings
from llmemb_training.rat.adapting import Array, adapt
from llmemb_training.rat.selection import choose, open_options, with_choices, write_selections
from llmemb_training.runs.progress import bar

_BASE = "base"


def run(config: Config, dataset_folder: Path, output: Path, logs: Path) -> str:
    """Choose and write `selection.json`; return the summary line. Resumes after an interruption.

    Args:
        config: the whole configuration, with its "auto" options.
        dataset_folder: output of `prepare`.
        output: the step's folder.
        logs: folder for the TensorBoard logs.
    """
    options = open_options(config)
    if not options:
        write_selections(output, ())
        return "nothing is left open"
    dataset = read_dataset(dataset_folder)
    deepest = max(config.select.depth) if config.encoder.depth == "auto" else config.encoder.depth
    chosen: dict[str, int | float | str] = {option: candidates[0] for option, candidates in options.items()}
    selections: list[Selection] = []

    def score(option: str, value: int | str) -> float:
        tried = with_choices(config, {**chosen, option: value})
        raw = _raw(tried, deepest, dataset, output)
        name = f"depth-{tried.encoder.depth}-components-{tried.rat.components}-residual-{tried.rat.residual.mode}"
        rat = tried.rat.model_copy(update={"max_epochs": config.select.max_epochs})
        _, progress = adapt(rat, config.seed, dataset, raw, None, output / f"{name}.safetensors", logs / name)
        return progress.best_score

    for option, candidates in options.items():
        selections.append(choose(option, candidates, partial(score, option)))
        chosen[option] = selections[-1].chosen
    shutil.rmtree(output / _BASE, ignore_errors=True)
    write_selections(output, selections)
    return ", ".join(f"{selection.option} {selection.chosen}" for selection in selections)


def _raw(config: Config, deepest: int | None, dataset: Dataset, output: Path) -> Array:
    """Return the raw embeddings `(N, h)` of the untuned LLM at the configuration's depth, computed once."""
    depth = config.encoder.depth
    assert depth != "auto"
    path = output / f"raw-depth-{depth}.safetensors"
    if not path.is_file():
        encoder = load_llm(
            str(_base(config.encoder, deepest, output)),
            depth=depth,
            pooling=config.encoder.pooling,
            max_tokens=config.encoder.max_tokens,
        )
        prompt = dataset.prompt(config.encoder.max_value_characters)
        prompts = [prompt.render(attributes) for attributes in dataset.attributes()]
        with bar(f"select, depth {depth}", "items", len(prompts)) as progress:
            raw = encoder.encode(prompts, config.embed.batch_tokens, progress.update)
        save_raw_embeddings(raw, path)
    return load_raw_embeddings(path)


def _base(config: EncoderConfig, deepest: int | None, output: Path) -> Path:
    """Return a folder with the LLM truncated to the deepest candidate, which loads faster than some sources."""
    folder = output / _BASE
    if not folder.is_dir():
        encoder = load_llm(config.base, depth=deepest, max_tokens=config.max_tokens)
        with new_folder(folder) as temporary:
            encoder.save(temporary)
    return folder
