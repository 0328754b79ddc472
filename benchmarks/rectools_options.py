"""Conversion of our options to RecTools'."""

from llmemb_training.config import RatConfig

RECTOOLS_MODELS = {"sasrec": "SASRecModel", "bert4rec": "BERT4RecModel"}
"""Our name of a sequence model -> RecTools' class; it has no GRU4Rec."""


def rectools_options(config: RatConfig) -> dict[str, float]:
    """Return RecTools' options for its model of the same name and sizes; its batch has as many windows as ours.

    RecTools drops attention weights too, by the same share: it has no option for them.
    """
    masking = {"mask_prob": config.mask_share} if config.model.name == "bert4rec" else {}
    return masking | {
        "n_factors": config.model.dim,
        "n_blocks": config.model.layers,
        "n_heads": config.model.heads,
        "dropout_rate": config.model.dropout,
        "session_max_len": config.model.max_length,
        "lr": config.learning_rate,
        "batch_size": config.batch_size,
    }
