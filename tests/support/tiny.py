"""A language model, a catalogue and a bundle made in a second: real in every part, random in weights."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from llmemb.bundle import BundleItems, EncoderInfo, Metric, Provenance, Selection, Trial, write_bundle
from llmemb.encoder.encoder import load_llm
from llmemb.encoder.prompt import PromptSpec
from llmemb.index import IndexKind, choose_spec
from llmemb.item import Item, attributes_to_json, parse_attributes
from llmemb.scoring.item_space import Scoring, compose, join
from llmemb.scoring.projection import fit_reduction, fold
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModelSpec, build_sequence_model

TINY_PROMPT = PromptSpec("movie", ("title", "release_year", "genres"))
TINY_DIM = 16
"""Width of the tiny bundle's item embeddings, d."""
TINY_COMPONENTS = 8
"""Directions that the tiny bundle's whitening keeps, p."""
TINY_TERM_COMPONENTS = 6
"""Width of the tiny semantic term's space, q."""
TINY_TERM_HISTORY = 3
"""Most recent items that make the profile of the tiny semantic term."""
TINY_TERM_DECAY = 0.5
"""Weight of an item of that profile over that of the next one."""
TINY_SELECTION = Selection(
    option="rat.components",
    chosen=TINY_COMPONENTS,
    metric="full NDCG@10",
    trials=(Trial(value=4, score=0.1), Trial(value=TINY_COMPONENTS, score=0.125)),
)

_TITLES = (
    "The Silent Harbour", "Midnight Engine", "A Garden of Glass", "Red Canyon", "The Last Lighthouse",
    "Paper Moons", "Iron Orchard", "The Clockmaker's Daughter", "Below the Ice", "Summer in Lisbon",
    "The Hollow Crown", "Neon Rain", "Farewell, Captain", "The Ninth Planet", "Dancing with Wolves and Foxes",
    "Snowbound", "The Forger", "Two Weeks in April", "Cathedral of Bones", "Out of Orbit",
)  # fmt: skip
_GENRES = (("Drama",), ("Action", "Thriller"), ("Comedy", "Romance"), ("Science Fiction",), ("Horror", "Mystery"))


def tiny_items() -> list[Item]:
    """Make 40 made-up movies, ids "1" to "40": each title twice, the second time as a sequel."""
    items = []
    for row in range(40):
        title = _TITLES[row % len(_TITLES)] + (" II" if row >= len(_TITLES) else "")
        attributes = {"title": title, "release_year": 1950 + 7 * row % 60, "genres": list(_GENRES[row * 3 % 5])}
        items.append(Item(str(row + 1), parse_attributes(attributes)))
    return items


def tiny_prompts() -> list[str]:
    """Render the prompts of `tiny_items`, in their order."""
    return [TINY_PROMPT.render(item.attributes) for item in tiny_items()]


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 400 tokens on the tiny prompts; it adds no special token by itself."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(tiny_prompts(), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


def write_tiny_llm(folder: Path, *, layers: int = 2, hidden: int = 32, seed: int = 0) -> Path:
    """Write a randomly initialised Llama and its tokenizer as an ordinary Hugging Face folder.

    Args:
        folder: made where it does not exist.
        layers: transformer layers.
        hidden: width, a multiple of 8 (4 heads of an even width).
        seed: of the weights; the global random state stays as it was.

    Returns:
        `folder`, which `llmemb.encoder.encoder.load_llm(str(folder))` loads.
    """
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.2,  # ten times the default, so that two prompts get clearly different vectors
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        LlamaModel(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def write_tiny_bundle(
    folder: Path,
    llm: Path,
    *,
    sequence_model: str = "sasrec",
    with_residual: bool = True,
    scoring: Scoring = "dot",
    gamma: float = 0.0,
    delta: float = 0.0,
    index: IndexKind = "flat",
    seed: int = 0,
) -> Path:
    """Write a real bundle of the tiny items with `write_bundle`.

    The encoder is `llm`, the whitening is fitted on its vectors; the adapter, the sequence model and the residual
    are random. The last 4 items have no interactions, hence popularity 0 and no residual.

    Args:
        folder: the bundle's folder, replaced where it exists.
        llm: as `write_tiny_llm` wrote it.
        sequence_model: `sasrec`, `gru4rec` or `bert4rec`; reads the last 10 items of a history.
        with_residual: whether items carry a residual.
        scoring: how item embeddings are composed.
        gamma: weight of the semantic term; 0 leaves it out.
        delta: weight of its successor vectors, which are random; those of the last 4 items are made from their texts.
        index: kind of the index; its recall is measured with the item vectors as queries.
        seed: of all that is random; the global random state stays as it was.

    Returns:
        `folder`, which `llmemb.bundle.read_bundle` reads.
    """
    random = np.random.default_rng(seed)
    items = tiny_items()
    popularity = random.integers(1, 100, len(items))
    popularity[-4:] = 0

    encoder = load_llm(str(llm), max_tokens=128)
    raw = encoder.encode(tiny_prompts())
    widths = (TINY_COMPONENTS, TINY_COMPONENTS // 2, TINY_DIM)
    layers = [
        (random.normal(size=shape).astype(np.float32), random.normal(size=shape[1]).astype(np.float32))
        for shape in pairwise(widths)
    ]
    projection = fold(fit_reduction(raw, TINY_COMPONENTS, "whiten"), layers)
    residual = 0.5 * random.normal(size=(len(items), TINY_DIM)).astype(np.float32) * (popularity > 0)[:, None]
    if not with_residual:
        residual = None

    semantic_term = None
    if gamma:
        whitening = fold(fit_reduction(raw, TINY_TERM_COMPONENTS, "whiten"), [])
        semantic_term = SemanticTerm(whitening, gamma, TINY_TERM_HISTORY, TINY_TERM_DECAY)
        if delta:
            text_map = random.normal(size=(TINY_TERM_COMPONENTS, TINY_TERM_COMPONENTS)).astype(np.float32)
            semantic_term = replace(semantic_term, delta=delta, text_map=text_map)

    semantic = projection.apply(raw)
    profile = None if semantic_term is None else semantic_term.apply(raw)
    successors = None
    if semantic_term is not None and profile is not None and delta:
        drawn = random.normal(size=profile.shape).astype(np.float32)
        drawn[popularity == 0] = semantic_term.successors_of_texts(profile[popularity == 0])
        successors = drawn.astype(np.float16)
    spec = SequenceModelSpec.model_validate({"name": sequence_model, "dim": TINY_DIM, "max_length": 10, "heads": 2})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_sequence_model(spec)
    with tempfile.TemporaryDirectory() as encoder_folder:
        encoder.save(Path(encoder_folder))
        write_bundle(
            folder,
            prompt=TINY_PROMPT,
            encoder_folder=Path(encoder_folder),
            encoder=EncoderInfo(
                base="tiny",
                depth=encoder.depth,
                width=encoder.width,
                pooling=encoder.pooling,
                max_tokens=encoder.max_tokens,
            ),
            projection=projection,
            sequence_model=model,
            items=BundleItems(
                ids=tuple(item.id for item in items),
                attributes_json=tuple(attributes_to_json(item.attributes) for item in items),
                popularity=popularity,
            ),
            semantic=semantic,
            residual=residual,
            scoring=scoring,
            semantic_term=semantic_term,
            profile=profile,
            successors=successors,
            metrics=(Metric(model="llmemb", group="all", name="ndcg@10", value=0.125),),
            selection=(TINY_SELECTION,),
            seed=seed,
            provenance=Provenance(created_at="2025-01-01T00:00:00+00:00", versions={}, config={}),
            index=choose_spec(len(items), index),
            recall_queries=join(compose(semantic, residual, scoring), profile),
            categories_attribute="genres",
            map_positions=random.uniform(-1, 1, (len(items), 2)).astype(np.float32),
        )
    return folder
