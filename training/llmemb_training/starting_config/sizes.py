"""Sizes of a first training, by the size of the catalogue, and estimates of its duration on this machine."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from llmemb.encoder.base import read_base
from llmemb.encoder.encoder import Encoder, load_llm
from llmemb.encoder.engines.engine import Pooling
from llmemb.errors import EncoderError
from llmemb.item import attributes_from_json
from llmemb.sequence_models import build_sequence_model
from llmemb_training.config import Config
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset
from llmemb_training.rat.batches import cut_windows
from llmemb_training.rat.fitting import Recommender, train_epoch
from llmemb_training.rat.item_tables import IdTable

SMALL_MODEL = ".cache/models/SmolLM2-135M-Instruct.Q4_1.gguf"
"""The demo's model, where `make model` puts it."""
SMALL_MODEL_ID = "HuggingFaceTB/SmolLM2-135M-Instruct"
SAMPLE_PROMPTS = 256
_SMALL_MODEL_WIDTH, _SMALL_MODEL_DEPTH = 576, 30
_FEW_ITEMS, _SEVERAL_ITEMS, _MANY_ITEMS, _VERY_MANY_ITEMS = 500, 5_000, 50_000, 100_000
DENSE = 30
"""Interactions per item of a dense catalogue; MovieLens 100K has 73, Amazon Beauty 16."""
_MEASURE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Base:
    """The LLM of a configuration.

    Args:
        source: value of `encoder.base`.
        local: whether it is a file or a folder here.
        width: of its vectors; None if it is not here.
        depth: its number of layers; None if it is not here.
        positions: maximum number of tokens of a text, or None.
        pooling: as the folder of a sentence-transformers model says; otherwise `mean`.
        made_for_cosines: whether it is a sentence-transformers model.
    """

    source: str
    local: bool
    width: int | None
    depth: int | None
    positions: int | None = None
    pooling: Pooling = "mean"
    made_for_cosines: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """Values of a first configuration; names as in the configuration's sections."""

    depth: int | None
    max_tokens: int
    dense: bool
    components: int
    term_components: int | None
    positives: str
    max_pairs: int | None
    batch_size: int
    learning_rate: float
    max_epochs: int
    patience: int
    dim: int
    layers: int
    max_length: int
    loss: str


def find_base(source: str | None) -> Base:
    """Read what the sizes depend on, without weights.

    Args:
        source: as in `encoder.base`; None: the demo's small model.

    Raises:
        EncoderError: a file or folder cannot become an encoder.
    """
    if source is None:
        source = SMALL_MODEL if Path(SMALL_MODEL).is_file() else SMALL_MODEL_ID
    path = Path(source)
    if not path.exists():
        known = source == SMALL_MODEL_ID
        return Base(source, False, _SMALL_MODEL_WIDTH if known else None, _SMALL_MODEL_DEPTH if known else None)
    base = read_base(source)
    pooling = path / "1_Pooling" / "config.json"
    return Base(
        source,
        True,
        base.width,
        base.depth,
        base.positions,
        _read_pooling(pooling) if pooling.is_file() else "mean",
        (path / "modules.json").is_file(),
    )


def choose_sizes(dataset: Dataset, base: Base, seed: int) -> Sizes:
    """Choose the sizes for a prepared catalogue; the same catalogue gives the same ones.

    They follow the presets: `demo` for 1,300 items with 73 interactions each, `beauty` for 12,000 with 16.
    """
    warm = dataset.num_warm
    lengths = np.array([len(rows) for rows in dataset.histories])
    dense = int(dataset.train_counts.sum()) >= DENSE * warm
    width = base.width or 256
    few = warm < _FEW_ITEMS
    components = min(32 if few else 128 if warm < _SEVERAL_ITEMS else 256, width, warm - 1)
    tuned_by_views = dense or warm < _SEVERAL_ITEMS
    num_steps = int(sum(max(len(rows) - 1, 0) for rows in dataset.train))
    return Sizes(
        depth=4 if base.depth is not None and base.depth > 12 else None,
        max_tokens=_max_tokens(dataset, base, seed),
        dense=dense,
        components=max(components, 1),
        # Of fewer items, too few are held out to choose the weight of the term by.
        term_components=None if few else min(512, width, warm - 1),
        positives="views" if tuned_by_views else "next",
        max_pairs=None if tuned_by_views else min(110_000, num_steps),
        batch_size=min(512, max(16, 2 ** round(math.log2(max(len(lengths) / 80, 1))))),
        learning_rate=2e-3 if warm < _SEVERAL_ITEMS else 1e-3,
        max_epochs=60,
        patience=10 if few else 4,
        dim=32 if few else 64 if warm < _MANY_ITEMS else 128,
        layers=1 if few else 2,
        max_length=next((length for length in (20, 50, 100) if length >= np.quantile(lengths, 0.9)), 200),
        loss="softmax" if warm < _VERY_MANY_ITEMS else "sampled_softmax",
    )


def sample_prompts(dataset: Dataset, max_value_characters: int, seed: int) -> list[str]:
    """Render the prompts of up to `SAMPLE_PROMPTS` random items."""
    number = min(SAMPLE_PROMPTS, dataset.num_items)
    rows = np.sort(derive_generator(seed, "init", "prompts").choice(dataset.num_items, number, replace=False))
    prompt = dataset.prompt(max_value_characters)
    return [prompt.render(attributes_from_json(text)) for text in dataset.items["attributes"][rows]]


def estimate_minutes(config: Config, dataset: Dataset, base: Base) -> dict[str, tuple[float | None, str]]:
    """Estimate the minutes of each step on this machine, with the rule of each; takes some seconds.

    Rules: fine-tuning costs three times the embedding of its texts; an epoch is extrapolated from some batches, and
    every epoch of `rat.max_epochs` counts. None: the LLM is not on this machine.
    """
    embedding = _seconds_per_item(config, dataset) if base.local else None
    texts = (
        (config.scft.max_pairs or 0) if config.scft.positives == "next" else 2 * config.scft.epochs * dataset.num_warm
    )
    training = config.rat.max_epochs * _epoch_seconds(config, dataset)
    trainings = 2 if config.rat.semantic_term.gamma == "auto" else 1
    ranked = dataset.sequences.height * dataset.num_items
    return {
        "scft": (
            None if embedding is None else 3 * texts * embedding / 60,
            f"at most 3 times the embedding of {texts:,} texts",
        ),
        "embed": (
            None if embedding is None else dataset.num_items * embedding / 60,
            f"{dataset.num_items:,} items, measured on {min(SAMPLE_PROMPTS, dataset.num_items)} at most",
        ),
        "vanilla": (
            training / 60,
            f"{config.rat.max_epochs} epochs, measured on some batches; early stopping ends sooner",
        ),
        "rat": (trainings * training / 60, f"{trainings} times vanilla"),
        "baselines": (2 * training / 60, "2 times vanilla; evaluate.baselines = false leaves them out"),
        "the rest": ((20 + ranked / 1e7) / 60, f"{dataset.sequences.height:,} users times {dataset.num_items:,} items"),
    }


def _max_tokens(dataset: Dataset, base: Base, seed: int) -> int:
    """Return a bound on the tokens of a prompt that 99 % of a sample keep."""
    prompts = sample_prompts(dataset, 100, seed)
    if base.local:
        lengths = [len(ids) for ids in read_base(base.source).tokenizer(prompts)["input_ids"]]
    else:
        lengths = [len(prompt) // 3 for prompt in prompts]
    bound = 16 * math.ceil((np.quantile(lengths, 0.99) + 1) / 16)
    return int(min(max(bound, 32), 512, base.positions or 512))


def _read_pooling(path: Path) -> Pooling:
    try:
        settings = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise EncoderError(f"{path} cannot be read: {error}") from error
    if settings.get("pooling_mode_cls_token"):
        return "cls"
    return "last" if settings.get("pooling_mode_lasttoken") else "mean"


def _seconds_per_item(config: Config, dataset: Dataset) -> float:
    depth = config.encoder.depth
    assert depth != "auto"  # the written configuration has a number or none
    encoder = load_llm(
        config.encoder.base, depth=depth, pooling=config.encoder.pooling, max_tokens=config.encoder.max_tokens
    )
    if torch.cuda.is_available():
        encoder.model.to("cuda")
    prompts = sample_prompts(dataset, config.encoder.max_value_characters, config.seed)
    encoder.expect(dataset.prompt(config.encoder.max_value_characters).beginning)
    encoder.encode(prompts[:8])  # the first call prepares the engine
    return _time_batches(encoder, prompts, config.embed.batch_tokens)


def _time_batches(encoder: Encoder, prompts: Sequence[str], batch_tokens: int) -> float:
    """Return the seconds per prompt, measured for about `_MEASURE_SECONDS` or until all are done."""
    start, done = time.monotonic(), 0
    while done < len(prompts) and time.monotonic() - start < _MEASURE_SECONDS:
        part = prompts[done : done + 32]
        encoder.encode(part, batch_tokens)
        done += len(part)
    return (time.monotonic() - start) / done


def _epoch_seconds(config: Config, dataset: Dataset) -> float:
    """Extrapolate the seconds of an epoch of the sequence model from some batches."""
    model = build_sequence_model(config.rat.model)
    recommender = Recommender(IdTable(dataset.num_warm, config.rat.model.dim, None), model)
    recommender.to("cuda" if torch.cuda.is_available() else "cpu")
    optimizer = torch.optim.AdamW(recommender.parameters(), lr=config.rat.learning_rate)
    windows = cut_windows(dataset.train, config.rat.model.max_length, model.objective)
    sample = derive_generator(config.seed, "init", "windows").permutation(len(windows))[: 2 * config.rat.batch_size]
    part = [windows[i] for i in sample]
    train_epoch("init", recommender, part[:2], optimizer, config.rat, config.seed, 0)  # the first step is slower
    start, rounds = time.monotonic(), 0
    while rounds < 4 and time.monotonic() - start < _MEASURE_SECONDS:
        train_epoch("init", recommender, part, optimizer, config.rat, config.seed, rounds)
        rounds += 1
    return (time.monotonic() - start) / rounds * len(windows) / len(part)
