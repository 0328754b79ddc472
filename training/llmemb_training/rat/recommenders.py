"""Trained recommenders on disk: written by `vanilla`, `baselines` and `rat`, read by `evaluate` and `bundle`.

sequence_model.safetensors
item_embeddings.safetensors  semantic (N, d); optional: residual (N, d), profile (N, q), successors (N, q)
recommender.json             scoring, and the semantic term's gamma, history, decay and delta
projection.safetensors       weight (h, d), bias (d,); not for a recommender with free vectors
semantic_term.safetensors    weight (h, q), bias (q,), optional text_map (q, q); only with a semantic term
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from llmemb.files import save_arrays
from llmemb.scoring.item_space import Scoring, compose, join
from llmemb.scoring.projection import Projection
from llmemb.scoring.semantic_term import SemanticTerm, SuccessorArray
from llmemb.sequence_models import SequenceModel, SequenceModelSpec, build_sequence_model

Array = NDArray[np.float32]
VANILLA = "vanilla"
LLMEMB = "llmemb"
_MODEL_FILE = "sequence_model.safetensors"
_EMBEDDINGS_FILE = "item_embeddings.safetensors"
_SETTINGS_FILE = "recommender.json"
_PROJECTION_FILE = "projection.safetensors"
_TERM_FILE = "semantic_term.safetensors"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    scoring: Scoring
    gamma: float | None = None
    history: int | None = None
    decay: float = 1.0
    delta: float = 0.0


@dataclass(frozen=True, slots=True)
class TrainedRecommender:
    """A sequence model and its item table.

    Args:
        model: in evaluation mode, on the CPU.
        semantic: `(N, d)`; for a recommender with free vectors their table, `(W, d)` or `(N, d)`.
        residual: `(N, d)` or None.
        projection: None for a recommender with free vectors.
        scoring: `cosine` scales the sum of both tables to unit length.
        semantic_term: the semantic term, or None.
        profile: the items' semantic profile vectors `(N, q)`; None without a semantic term.
        successors: the items' successor vectors `(N, q)`; None if the semantic term has no delta.
    """

    model: SequenceModel
    semantic: Array
    residual: Array | None = None
    projection: Projection | None = None
    scoring: Scoring = "dot"
    semantic_term: SemanticTerm | None = None
    profile: Array | None = None
    successors: SuccessorArray | None = None

    @property
    def item_embeddings(self) -> Array:
        """The sequence model's input vectors, `(N, d)`."""
        return compose(self.semantic, self.residual, self.scoring)

    @property
    def item_vectors(self) -> Array:
        """The vectors of the scored items, `(N, D)`."""
        return join(self.item_embeddings, self.profile)

    @property
    def history_vectors(self) -> Array:
        """The vectors of items in a history, `(N, D)`, or `(N, D + q)` with successor vectors."""
        return join(self.item_vectors, self.successors)


def write_recommender(folder: Path, recommender: TrainedRecommender) -> None:
    """Write a recommender's files to `folder`."""
    state = {name: tensor.cpu() for name, tensor in recommender.model.state_dict().items()}
    save_tensors(state, folder / _MODEL_FILE)
    tables = {
        "semantic": recommender.semantic,
        "residual": recommender.residual,
        "profile": recommender.profile,
        "successors": recommender.successors,
    }
    save_arrays({name: table for name, table in tables.items() if table is not None}, folder / _EMBEDDINGS_FILE)
    settings = _Settings(scoring=recommender.scoring)
    if recommender.projection is not None:
        save_arrays(recommender.projection.arrays(), folder / _PROJECTION_FILE)
    if (term := recommender.semantic_term) is not None:
        save_arrays(term.arrays(), folder / _TERM_FILE)
        settings = _Settings(
            scoring=recommender.scoring, gamma=term.gamma, history=term.history, decay=term.decay, delta=term.delta
        )
    (folder / _SETTINGS_FILE).write_text(settings.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_item_embeddings(folder: Path) -> Array:
    """Read a recommender's item embeddings, `(N, d)` or `(W, d)`."""
    tables = load_file(folder / _EMBEDDINGS_FILE)
    return compose(tables["semantic"], tables.get("residual"), _read_settings(folder).scoring)


def read_recommender(folder: Path, spec: SequenceModelSpec) -> TrainedRecommender:
    """Read a recommender that `write_recommender` wrote."""
    model = build_sequence_model(spec)
    model.load_state_dict(load_tensors(folder / _MODEL_FILE))
    tables = load_file(folder / _EMBEDDINGS_FILE)
    settings = _read_settings(folder)
    path = folder / _PROJECTION_FILE
    term = None
    if settings.gamma is not None and settings.history is not None:
        arrays = load_file(folder / _TERM_FILE)
        text_map = arrays.pop("text_map", None)
        term = SemanticTerm(
            Projection(**arrays), settings.gamma, settings.history, settings.decay, settings.delta, text_map
        )
    return TrainedRecommender(
        model=model.eval(),
        semantic=tables["semantic"],
        residual=tables.get("residual"),
        projection=Projection(**load_file(path)) if path.is_file() else None,
        scoring=settings.scoring,
        semantic_term=term,
        profile=tables.get("profile"),
        successors=tables.get("successors"),
    )


def _read_settings(folder: Path) -> _Settings:
    return _Settings.model_validate_json((folder / _SETTINGS_FILE).read_text(encoding="utf-8"))
