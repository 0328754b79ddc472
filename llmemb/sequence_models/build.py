"""Build a sequence model by name: built in, or from an installed package."""

from importlib.metadata import entry_points

from llmemb.errors import ConfigError
from llmemb.sequence_models.bert4rec import BERT4Rec
from llmemb.sequence_models.gru4rec import GRU4Rec
from llmemb.sequence_models.sasrec import SASRec
from llmemb.sequence_models.sequence_model import SequenceModel, SequenceModelSpec

SEQUENCE_MODELS: dict[str, type[SequenceModel]] = {"sasrec": SASRec, "gru4rec": GRU4Rec, "bert4rec": BERT4Rec}
"""The built-in models, by name."""
ENTRY_POINT_GROUP = "llmemb.sequence_models"
"""Under this group any installed package may name a class of its own, a `SequenceModel`."""


def build_sequence_model(spec: SequenceModelSpec) -> SequenceModel:
    """Build the sequence model that `spec` names, with fresh weights drawn from torch's generator.

    Raises:
        ConfigError: there is no sequence model of that name.
    """
    return sequence_model_class(spec.name)(spec)


def sequence_model_class(name: str) -> type[SequenceModel]:
    """Find a sequence model by its name: ours first, then the entry points of the installed packages.

    Raises:
        ConfigError: there is none, it cannot be imported, or it is no `SequenceModel`.
    """
    if name in SEQUENCE_MODELS:
        return SEQUENCE_MODELS[name]
    found = entry_points(group=ENTRY_POINT_GROUP)
    if name not in found.names:
        known = ", ".join([*SEQUENCE_MODELS, *sorted(found.names)])
        raise ConfigError(f"the sequence model {name!r} is not known; there are {known}")
    entry = found[name]
    try:
        loaded = entry.load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the sequence model {name!r}: {entry.value} cannot be imported: {error}") from error
    if not (isinstance(loaded, type) and issubclass(loaded, SequenceModel)):
        raise ConfigError(f"the sequence model {name!r}: {entry.value} is no llmemb.sequence_models.SequenceModel")
    return loaded
