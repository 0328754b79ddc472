"""`prepare`: the source -> the prepared dataset."""

from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from llmemb.item import attributes_to_json
from training.config import PrepareConfig
from training.dataset import Dataset, DatasetInfo, count_train, write_dataset
from training.kcore import k_core
from training.seeds import derive_generator
from training.sources import read_source
from training.sources.source import ITEM, USER
from training.splitting import order_in_time, split


def run(config: PrepareConfig, seed: int, output: Path) -> str:
    """Read, clean, split and write; return the summary line.

    Rules, each counted in `dataset.json`: an interaction that repeats another in user, item and time is dropped;
    so is one whose item has no text; then the k-core is taken.

    Raises:
        DataError: the source cannot be read, or nothing is left of it.
    """
    source = read_source(Path(config.path), config.format, config.attributes, config.list_attributes)
    unique = source.interactions.unique(maintain_order=True)
    with_text = unique.filter(pl.col(ITEM).is_in(list(source.attributes)))
    core = k_core(with_text, config.min_interactions)
    if core.is_empty():
        raise DataError(f"{config.path}: no interaction is left after the {config.min_interactions}-core")
    parts = split(
        order_in_time(core, derive_generator(seed, "prepare", "ties")),
        config.cold_share,
        config.cold_interactions,
        derive_generator(seed, "prepare", "items"),
    )
    items = pl.DataFrame(
        {
            "item_id": parts.item_ids,
            "attributes": [attributes_to_json(source.attributes[item_id]) for item_id in parts.item_ids],
            "train_count": count_train(parts.sequences, len(parts.item_ids)),
        }
    )
    counts = {
        "interactions_read": source.interactions.height,
        "interactions_repeated": source.interactions.height - unique.height,
        "interactions_without_item_text": unique.height - with_text.height,
        "interactions_outside_core": with_text.height - core.height,
        "interactions_kept": core.height,
        "items_with_text_read": len(source.attributes),
        "items_kept": items.height,
        "items_cold": items.height - parts.num_warm,
        "users_kept": core[USER].n_unique(),
        "users_with_targets": parts.sequences.filter(pl.col("item_rows").list.len() >= 3).height,
        "cold_targets": parts.cold_targets.height,
    }
    info = DatasetInfo(
        domain=config.domain, attribute_names=source.attribute_names, num_warm=parts.num_warm, counts=counts
    )
    write_dataset(output, Dataset(info, items, parts.sequences, parts.cold_targets))
    return (
        f"{counts['users_kept']:,} users, {counts['items_kept']:,} items ({counts['items_cold']:,} held out as cold), "
        f"{counts['interactions_kept']:,} interactions; dropped {counts['interactions_repeated']:,} repeated, "
        f"{counts['interactions_without_item_text']:,} without item text, "
        f"{counts['interactions_outside_core']:,} outside the core"
    )
