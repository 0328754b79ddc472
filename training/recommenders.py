"""Trained recommenders on disk: what `vanilla` and `rat` write, `evaluate` and `bundle` read.

sequence_model.safetensors
item_embeddings.safetensors  semantic (N, d), and residual (N, d) where there is one
projection.safetensors       weight (h, d), bias (d,); not for the vanilla recommender
vanilla/                     the vanilla recommender, in the same form
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_tensors
from safetensors.torch import save_file as save_tensors

from llmemb.files import save_arrays
from llmemb.projection import Projection
from llmemb.sequence_models import SequenceModel, SequenceModelSpec, build_sequence_model

Array = NDArray[np.float32]
VANILLA = "vanilla"
LLMEMB = "llmemb"
_MODEL_FILE = "sequence_model.safetensors"
_EMBEDDINGS_FILE = "item_embeddings.safetensors"
_PROJECTION_FILE = "projection.safetensors"


@dataclass(frozen=True, slots=True)
class TrainedRecommender:
    """A sequence model and the item table it was trained with.

    Args:
        model: in evaluation mode, on the CPU.
        semantic: `(N, d)`, or `(W, d)` ids for the vanilla recommender.
        residual: `(N, d)` or None.
        projection: None for the vanilla recommender.
    """

    model: SequenceModel
    semantic: Array
    residual: Array | None
    projection: Projection | None

    @property
    def item_embeddings(self) -> Array:
        """Semantic part plus residual."""
        return self.semantic if self.residual is None else self.semantic + self.residual


def write_recommender(folder: Path, recommender: TrainedRecommender) -> None:
    """Write a recommender's files into `folder`."""
    state = {name: tensor.cpu() for name, tensor in recommender.model.state_dict().items()}
    save_tensors(state, folder / _MODEL_FILE)
    tables = {"semantic": recommender.semantic}
    if recommender.residual is not None:
        tables["residual"] = recommender.residual
    save_arrays(tables, folder / _EMBEDDINGS_FILE)
    if recommender.projection is not None:
        arrays = {"weight": recommender.projection.weight, "bias": recommender.projection.bias}
        save_arrays(arrays, folder / _PROJECTION_FILE)


def read_recommender(folder: Path, spec: SequenceModelSpec) -> TrainedRecommender:
    """Read what `write_recommender` wrote."""
    model = build_sequence_model(spec)
    model.load_state_dict(load_tensors(folder / _MODEL_FILE))
    tables = load_file(folder / _EMBEDDINGS_FILE)
    path = folder / _PROJECTION_FILE
    projection = Projection(**load_file(path)) if path.is_file() else None
    return TrainedRecommender(model.eval(), tables["semantic"], tables.get("residual"), projection)
