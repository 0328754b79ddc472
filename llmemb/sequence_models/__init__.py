"""Sequence models behind one interface: a history of item vectors `(B, L, d)` -> a session vector `(B, d)`."""

from llmemb.sequence_models.build import SEQUENCE_MODELS, build_sequence_model
from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec

__all__ = ["SEQUENCE_MODELS", "SequenceModel", "SequenceModelSpec", "build_sequence_model"]
