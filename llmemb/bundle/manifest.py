"""`manifest.json`: the bundle's description and provenance, and the hash of every other file.

`N` items; `h` is the LLM's width, `d` the recommender's width, `q` the semantic term's.
"""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    JsonValue,
    PositiveInt,
    model_validator,
)

from llmemb.encoder.prompt import INSTRUCTION, PromptSpec, check_instruction
from llmemb.index import IndexSpec
from llmemb.scoring.item_space import Scoring
from llmemb.scoring.semantic_term import SemanticTerm
from llmemb.sequence_models import SequenceModelSpec

FORMAT_VERSION = 4
MANIFEST_FILE = "manifest.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class PromptInfo(_Part):
    """The prompt spec, as JSON."""

    domain: str
    attribute_names: tuple[str, ...]
    max_value_characters: int
    instruction: Annotated[str, AfterValidator(check_instruction)] = INSTRUCTION
    """The text before the attributes, in which `{domain}` stands for the domain."""

    def spec(self) -> PromptSpec:
        """Return the prompt spec itself."""
        return PromptSpec(self.domain, self.attribute_names, self.max_value_characters, self.instruction)


class EncoderInfo(_Part):
    """The encoder in `encoder/`."""

    base: str
    """Name of the language model it was made of."""
    depth: int
    """Layers that run."""
    width: int
    """Width of the raw embeddings, h."""
    pooling: Literal["mean", "last", "cls"]
    max_tokens: int
    """The longest prompt, in tokens."""


class SemanticTermInfo(_Part):
    """The semantic term; its whitening is in `semantic_term.safetensors`."""

    gamma: Annotated[FiniteFloat, Field(gt=0)]
    """Its weight."""
    history: PositiveInt
    """Most recent items that make a history's profile."""
    decay: Annotated[FiniteFloat, Field(gt=0, le=1)]
    """Weight of a history's item over that of the next one."""
    components: PositiveInt
    """Width of the whitened space, q."""
    delta: Annotated[FiniteFloat, Field(ge=0)]
    """Weight of the successor vectors; 0: items have none."""
    text_map: bool
    """Whether an item without training interactions gets a successor vector made from its text."""

    @model_validator(mode="after")
    def _map_needs_delta(self) -> "SemanticTermInfo":
        if self.text_map and not self.delta:
            raise ValueError("text_map is true, but delta is 0")
        return self

    @classmethod
    def of(cls, term: SemanticTerm) -> "SemanticTermInfo":
        """Describe a semantic term."""
        return cls(
            gamma=term.gamma,
            history=term.history,
            decay=term.decay,
            components=term.components,
            delta=term.delta,
            text_map=term.text_map is not None,
        )


class Trial(_Part):
    """One candidate for an option, and its score."""

    value: int | float | str
    score: FiniteFloat


class Selection(_Part):
    """An option that the configuration left open, and what was chosen for it on validation."""

    option: str
    """Its key in the configuration, such as `rat.components`."""
    chosen: int | float | str
    metric: str
    """What the scores are; higher is better."""
    trials: tuple[Trial, ...]
    """Every candidate that was tried."""


class FileInfo(_Part):
    """One file of the bundle."""

    sha256: str
    bytes: int


class Metric(_Part):
    """One figure of the evaluation, over test targets, ranked among the whole catalogue."""

    model: str
    group: str
    name: str
    value: float


class Provenance(_Part):
    """Where the bundle comes from; takes no part in its id."""

    created_at: str
    """UTC, ISO 8601."""
    versions: dict[str, str]
    """Versions of Python and of the libraries that made it."""
    config: dict[str, JsonValue]
    """The resolved configuration."""


class Manifest(_Part):
    """The whole manifest."""

    format_version: Annotated[int, Field(ge=1)]
    id: str
    """Hash of the content: the same content has the same id wherever it was made."""
    seed: int
    prompt: PromptInfo
    encoder: EncoderInfo
    sequence_model: SequenceModelSpec
    num_items: int
    """Items of the catalogue, N."""
    dim: int
    """Width of the item embeddings, d."""
    has_residual: bool
    """Whether items carry a learned collaborative residual."""
    scoring: Scoring
    """`dot`: item embeddings are used as they are; `cosine`: scaled to unit length."""
    semantic_term: SemanticTermInfo | None
    """None where scores have no such term."""
    index: IndexSpec
    """The FAISS index in `index.faiss`, over the inner product."""
    categories_attribute: str | None
    """The attribute whose values are an item's categories for filters; None: items have no categories of their own."""
    metrics: tuple[Metric, ...]
    selection: tuple[Selection, ...]
    """What was chosen on validation, with the figures behind it; empty where nothing was left open."""
    files: dict[str, FileInfo]
    """Path in the bundle -> hash and size, for every file but this one."""
    provenance: Provenance
    checksum: str
    """Hash of all the rest of the manifest."""

    @property
    def items_read(self) -> int:
        """How many of a history's most recent items decide its session vector."""
        return max(self.sequence_model.max_length, 0 if self.semantic_term is None else self.semantic_term.history)

    def content_id(self) -> str:
        """Hash all that decides an answer: neither the figures nor the provenance."""
        return self._hash_without("id", "metrics", "selection", "provenance", "checksum")[:16]

    def content_checksum(self) -> str:
        """Hash everything but the checksum itself."""
        return self._hash_without("checksum")

    def _hash_without(self, *excluded: str) -> str:
        content = self.model_dump(mode="json", exclude=set(excluded))
        canonical = json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
        return hashlib.sha256(canonical).hexdigest()
