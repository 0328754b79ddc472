"""Our sizes in RecBole's words."""

from training.config import RatConfig


def recbole_options(config: RatConfig, batch_size: int) -> dict[str, float | str]:
    """Return RecBole's options for SASRec of the same sizes.

    Attention weights are not dropped, as they are not by ours.

    Args:
        config: of ours.
        batch_size: of RecBole, in targets.
    """
    return {
        "hidden_size": config.model.dim,
        "inner_size": config.model.dim,
        "n_layers": config.model.layers,
        "n_heads": config.model.heads,
        "hidden_dropout_prob": config.model.dropout,
        "attn_dropout_prob": 0.0,
        "MAX_ITEM_LIST_LENGTH": config.model.max_length,
        "learning_rate": config.learning_rate,
        "train_batch_size": batch_size,
    }
