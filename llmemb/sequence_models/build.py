"""From a name to a sequence model."""

from llmemb.sequence_models.bert4rec import BERT4Rec
from llmemb.sequence_models.gru4rec import GRU4Rec
from llmemb.sequence_models.sasrec import SASRec
from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec

SEQUENCE_MODELS: dict[str, type[SequenceModel]] = {"sasrec": SASRec, "gru4rec": GRU4Rec, "bert4rec": BERT4Rec}


def build_sequence_model(spec: SequenceModelSpec) -> SequenceModel:
    """Build the sequence model that `spec` names, with fresh weights drawn from torch's generator."""
    return SEQUENCE_MODELS[spec.name](spec)
