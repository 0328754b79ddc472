"""`prepare`: the source -> the prepared dataset."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb_training.config import PrepareConfig
from llmemb_training.config.seeds import derive_generator
from llmemb_training.data.dataset import Dataset, DatasetInfo, count_train, write_dataset
from llmemb_training.data.splitting import Split, k_core, order_in_time, split
from llmemb_training.sources import SourceFiles, read_interactions, read_items, source_files
from llmemb_training.sources.interactions import Interactions, drop_repeated, mixed_units
from llmemb_training.sources.items import ATTRIBUTES, NUM_EXAMPLES, Items
from llmemb_training.sources.source import ITEM, TIME, USER, InteractionColumns


def run(config: PrepareConfig, seed: int, output: Path) -> str:
    """Read, clean, split and write; return the summary line.

    Interactions are dropped if they are rated lower than `min_rating`, repeat another in user, item and time, or have
    an item without text; then the k-core is computed. `dataset.json` has the count of each rule.

    Raises:
        DataError: the source cannot be read, its two files have no item in common, no interaction is left, or all items
            have the same text.
    """
    files = source_files(Path(config.path), config.format)
    read = _read_interactions(files, config)
    unique = drop_repeated(read.frame)
    # This core contains the later core of the interactions with text: attributes of other items are not needed.
    candidates = np.zeros(len(read.item_ids), dtype=np.bool_)
    candidates[k_core(unique, config.min_interactions)[ITEM].to_numpy()] = True
    items = read_items(
        files, config.columns.item_id, config.attributes, config.list_attributes, read.item_ids, candidates
    )
    notes = [_compare_ids(files, read.item_ids, items), mixed_units(read.frame[TIME]), _join_parts(files)]
    with_text = unique.filter(items.with_text[unique[ITEM].to_numpy()])
    core = k_core(with_text, config.min_interactions)
    if core.is_empty():
        raise DataError(f"{config.path}: no interaction is left after the {config.min_interactions}-core")
    dropped = {
        "interactions_read": read.read,
        "interactions_rated_low": read.low_rated,
        "interactions_repeated": read.frame.height - unique.height,
        "interactions_without_item_text": unique.height - with_text.height,
        "interactions_outside_core": with_text.height - core.height,
    }
    ids = (read.user_ids, read.item_ids)
    # With 100 million interactions, each of these takes gigabytes, and sorting needs as much again.
    del read, unique, with_text
    parts = split(
        order_in_time(core, derive_generator(seed, "prepare", "ties")),
        config.cold_share,
        config.cold_interactions,
        derive_generator(seed, "prepare", "items"),
    )
    counts = dropped | _count_kept(core, items, parts)
    info = DatasetInfo(
        domain=config.domain,
        instruction=config.instruction,
        attribute_names=items.attribute_names,
        num_warm=parts.num_warm,
        counts=counts,
    )
    dataset = _dataset(info, *ids, items.attributes, parts)
    _check_texts(dataset, config)
    write_dataset(output, dataset)
    return "; ".join((_summary(counts), *filter(None, notes)))


def _read_interactions(files: SourceFiles, config: PrepareConfig) -> Interactions:
    columns = InteractionColumns(
        user=config.columns.user_id,
        item=config.columns.item_id,
        time=config.columns.timestamp,
        rating=None if config.min_rating is None else config.columns.rating,
    )
    return read_interactions(files, columns, config.min_rating)


def _compare_ids(files: SourceFiles, item_ids: pl.Series, items: Items) -> str | None:
    """Return a warning if most items of the interactions are not in the file of items, otherwise None.

    Raises:
        DataError: none is.
    """
    listed = int(items.listed.sum())
    if 2 * listed >= len(item_ids):
        return None
    num_items = items.counts["items_read"] - items.counts["items_repeated"]
    missing = item_ids.filter(~items.listed).head(NUM_EXAMPLES)
    examples = [(missing, files.interactions_names), (items.without_interactions, files.items.name)]
    report = (
        f"{listed:,} of the {len(item_ids):,} item ids in {files.interactions_names} are among the {num_items:,} in "
        f"{files.items.name}; not in the other file are, for example, "
        + " and ".join(f"{', '.join(map(repr, ids))} of {name}" for ids, name in examples if len(ids))
    )
    if not listed:
        raise DataError(f"{files.items.parent}: {report}: write each id alike in both files")
    return f"warning: {report}"


def _join_parts(files: SourceFiles) -> str | None:
    """Return a sentence about the parts of a split source, if it is one."""
    if len(files.interactions) == 1:
        return None
    return f"joined {files.interactions_names}, whose split is ignored"


def _check_texts(dataset: Dataset, config: PrepareConfig) -> None:
    texts = dataset.items["attributes"]
    if dataset.num_items > 1 and texts.n_unique() == 1:
        raise DataError(
            f"{config.path}: all {dataset.num_items:,} items have the same attributes, {texts[0][:200]}: their "
            "texts tell none from another; name the columns that do in prepare.attributes"
        )


def _count_kept(core: pl.DataFrame, items: Items, parts: Split) -> dict[str, int]:
    num_items = len(parts.item_codes)
    return {
        "interactions_kept": core.height,
        "interactions_cold": core.height - int(parts.sequences["item_rows"].list.len().sum()),
        **items.counts,
        "items_outside_core": int(items.with_text.sum()) - num_items,
        "items_kept": num_items,
        "items_cold": num_items - parts.num_warm,
        "users_kept": core[USER].n_unique(),
        "users_with_targets": parts.sequences.filter(pl.col("item_rows").list.len() >= 3).height,
        "cold_targets": parts.cold_targets.height,
    }


def _dataset(
    info: DatasetInfo, user_ids: pl.Series, item_ids: pl.Series, attributes: pl.DataFrame, parts: Split
) -> Dataset:
    """Replace the codes by the ids of the source."""
    row_of_code: NDArray[np.int64] = np.empty(len(item_ids), dtype=np.int64)
    row_of_code[attributes[ITEM].to_numpy()] = np.arange(attributes.height)
    items = pl.DataFrame(
        {
            "item_id": item_ids.gather(parts.item_codes),
            "attributes": attributes[ATTRIBUTES].gather(row_of_code[parts.item_codes]),
            "train_count": count_train(parts.sequences, len(parts.item_codes)),
        }
    )
    sequences, cold = (
        frame.with_columns(user_ids.gather(frame[USER]).alias(USER)) for frame in (parts.sequences, parts.cold_targets)
    )
    return Dataset(info, items, sequences, cold)


def _summary(counts: dict[str, int]) -> str:
    reasons = {
        "interactions_rated_low": "rated low",
        "interactions_repeated": "repeated",
        "interactions_without_item_text": "without item text",
        "interactions_outside_core": "outside the core",
    }
    dropped = ", ".join(f"{counts[name]:,} {reason}" for name, reason in reasons.items() if counts[name])
    return (
        f"{counts['users_kept']:,} users, {counts['items_kept']:,} items ({counts['items_cold']:,} held out as cold), "
        f"{counts['interactions_kept']:,} of {counts['interactions_read']:,} interactions; dropped {dropped or 'none'}"
    )
