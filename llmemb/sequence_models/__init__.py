"""Sequence models behind one interface: a history of item vectors `(B, L, d)` -> a session vector `(B, d)`."""

from llmemb.sequence_models.build import (
    ENTRY_POINT_GROUP,
    SEQUENCE_MODELS,
    build_sequence_model,
    sequence_model_class,
)
from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec

__all__ = [
    "ENTRY_POINT_GROUP",
    "SEQUENCE_MODELS",
    "SequenceModel",
    "SequenceModelSpec",
    "build_sequence_model",
    "sequence_model_class",
]
