"""Our sizes in RecTools' words."""

from training.config import RatConfig


def rectools_options(config: RatConfig) -> dict[str, float]:
    """Return RecTools' options for SASRec of the same sizes; its batch has as many windows as ours."""
    return {
        "n_factors": config.model.dim,
        "n_blocks": config.model.layers,
        "n_heads": config.model.heads,
        "dropout_rate": config.model.dropout,
        "session_max_len": config.model.max_length,
        "lr": config.learning_rate,
        "batch_size": config.batch_size,
    }
