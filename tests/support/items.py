"""Items with given attributes, as a dataset without users."""

from collections.abc import Sequence

import polars as pl

from llmemb.item import attributes_to_json, parse_attributes
from llmemb_training.data.dataset import Dataset, DatasetInfo


def dataset_of(attributes: Sequence[dict[str, object]]) -> Dataset:
    """A dataset of items with these attributes and no users."""
    names = tuple(dict.fromkeys(name for item in attributes for name in item))
    items = pl.DataFrame(
        {
            "item_id": [f"i{row}" for row in range(len(attributes))],
            "attributes": [attributes_to_json(parse_attributes(item)) for item in attributes],
            "train_count": [0] * len(attributes),
        }
    )
    info = DatasetInfo(domain="product", attribute_names=names, num_warm=len(attributes), counts={})
    return Dataset(info, items, pl.DataFrame(), pl.DataFrame())
