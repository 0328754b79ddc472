"""Conversion of our options to RecBole's."""

from llmemb_training.config import RatConfig

RECBOLE_MODELS = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec"}
"""Our name of a sequence model -> RecBole's."""


def recbole_options(config: RatConfig, batch_size: int) -> dict[str, float | str]:
    """Return RecBole's options for its model of the same name and sizes.

    There is no dropout on attention weights, as in ours. RecBole's BERT4Rec masks the last item alone in every
    second batch, and hidden layers of the GRU have the width of the items, as ours have.

    Args:
        config: our configuration.
        batch_size: RecBole's batch size, in targets.
    """
    model = config.model
    common: dict[str, float | str] = {
        "model": RECBOLE_MODELS[model.name],
        "MAX_ITEM_LIST_LENGTH": model.max_length,
        "hidden_size": model.dim,
        "learning_rate": config.learning_rate,
        "train_batch_size": batch_size,
    }
    if model.name == "gru4rec":
        return common | {"embedding_size": model.dim, "num_layers": model.layers, "dropout_prob": model.dropout}
    common |= {
        "n_layers": model.layers,
        "n_heads": model.heads,
        "hidden_dropout_prob": model.dropout,
        "attn_dropout_prob": 0.0,
    }
    if model.name == "bert4rec":
        return common | {"inner_size": 4 * model.dim, "mask_ratio": config.mask_share, "ft_ratio": 0.5}
    return common | {"inner_size": model.dim}
