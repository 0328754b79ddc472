"""Find the files of a source and read them in their format."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmemb.errors import DataError
from llmemb_training.sources import amazon, generic, movielens, recbole, yelp
from llmemb_training.sources.interactions import Interactions, code_interactions
from llmemb_training.sources.items import Items, collect_items
from llmemb_training.sources.source import InteractionColumns, ItemColumns, ItemRow

Format = Literal["generic", "recbole", "movielens", "amazon_2014", "amazon_2018", "amazon_2023", "yelp"]


@dataclass(frozen=True, slots=True)
class _Form:
    """How the files of a format are named and read.

    Args:
        interactions: pattern of the file name of the interactions.
        items: pattern of the file name of the items.
        read_interactions: reads checked frames.
        read_items: reads the items.
        attributes: default attributes; empty: every column except the id.
        raw: whether the files are the publisher's originals, in which repeated items are counted, not an error.
    """

    interactions: str
    items: str
    read_interactions: Callable[[Path, InteractionColumns], Iterator[pl.DataFrame]]
    read_items: Callable[[Path, ItemColumns], Iterator[ItemRow]]
    attributes: Mapping[str, str] = field(default_factory=dict)
    raw: bool = True


# The first format that matches is used; Amazon's patterns come last because they match almost any name.
_FORMS: dict[Format, _Form] = {
    "generic": _Form(
        r"interactions\.(csv|csv\.gz|jsonl|jsonl\.gz|parquet)",
        r"items\.(csv|csv\.gz|jsonl|jsonl\.gz|parquet)",
        generic.read_generic_interactions,
        generic.read_generic_items,
        raw=False,
    ),
    "recbole": _Form(
        r".*\.inter", r".*\.item", recbole.read_recbole_interactions, recbole.read_recbole_items, raw=False
    ),
    "movielens": _Form(
        r"u\.data|ratings\.(dat|csv)",
        r"u\.item|movies\.(dat|csv)",
        movielens.read_movielens_interactions,
        movielens.read_movielens_items,
        movielens.DEFAULT_ATTRIBUTES,
    ),
    "yelp": _Form(
        r"yelp_academic_dataset_review\.json(\.gz)?",
        r"yelp_academic_dataset_business\.json(\.gz)?",
        yelp.read_yelp_interactions,
        yelp.read_yelp_items,
        yelp.DEFAULT_ATTRIBUTES,
    ),
    "amazon_2014": _Form(
        r"reviews_.+\.json(\.gz)?",
        r"meta_.+\.json(\.gz)?",
        amazon.read_reviews,
        amazon.read_metadata_2014,
        amazon.ATTRIBUTES_2014,
    ),
    "amazon_2018": _Form(
        r"(?!meta_|reviews_|yelp_).+\.json(\.gz)?",
        r"meta_.+\.json(\.gz)?",
        amazon.read_reviews,
        amazon.read_metadata_2018,
        amazon.ATTRIBUTES_2018,
    ),
    "amazon_2023": _Form(
        r"(?!meta_|interactions\.|items\.).+\.jsonl(\.gz)?",
        r"meta_.+\.jsonl(\.gz)?",
        amazon.read_reviews_2023,
        amazon.read_metadata_2023,
        amazon.ATTRIBUTES_2023,
    ),
}


class SourceFiles(NamedTuple):
    """The format of a source, its file of interactions, or the parts of a split RecBole one, and its file of items."""

    format: Format
    interactions: tuple[Path, ...]
    items: Path

    @property
    def interactions_names(self) -> str:
        """Names of the files of interactions, for messages."""
        return ", ".join(path.name for path in self.interactions)


def source_files(folder: Path, wanted: Format | Literal["auto"]) -> SourceFiles:
    """Return the format of a source and its files.

    Raises:
        DataError: a file is missing, or several files match.
    """
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    for name, form in _FORMS.items():
        if wanted not in ("auto", name):
            continue
        interactions = [found for found in names if re.fullmatch(form.interactions, found)]
        items = [found for found in names if re.fullmatch(form.items, found)]
        if one_source := _one_source(interactions, items):
            return SourceFiles(name, tuple(folder / found for found in one_source), folder / items[0])
        if wanted == name:
            raise DataError(
                f"{folder} holds no {name} source: one file of interactions is needed, and there are "
                f"{', '.join(interactions) or 'none'}; one of items, and there are {', '.join(items) or 'none'}; "
                "docs/data.md says how they are named"
            )
    raise DataError(
        f"{folder} holds no source, or several: one file of interactions and one of items are needed, named as "
        f"docs/data.md says for {', '.join(get_args(Format))}"
    )


def _one_source(interactions: list[str], items: list[str]) -> list[str]:
    """Return the files of interactions of the one source among the names; none if there is no source, or several.

    RecBole splits `x.inter` into parts such as `x.train.inter`: they are one source, and the whole alone is used if it
    is there.
    """
    if len(items) != 1 or len(interactions) < 2:
        return interactions if len(items) == 1 else []
    stem = items[0].removesuffix("item")
    if not all(found.startswith(stem) for found in interactions):
        return []
    return [f"{stem}inter"] if f"{stem}inter" in interactions else interactions


def read_interactions(files: SourceFiles, columns: InteractionColumns, min_rating: float | None) -> Interactions:
    """Read the interactions and drop those rated lower than `min_rating`.

    Raises:
        DataError: the file or a line cannot be used, or there is no rating to compare; names the file and the line.
    """
    read = _FORMS[files.format].read_interactions
    return code_interactions(chain.from_iterable(read(path, columns) for path in files.interactions), min_rating)


def read_items(
    files: SourceFiles,
    item_column: str,
    attributes: Mapping[str, str],
    list_attributes: Collection[str],
    item_ids: pl.Series,
    keep: NDArray[np.bool_],
) -> Items:
    """Read the items.

    Args:
        files: the source.
        item_column: id column of a generic source.
        attributes: attribute name -> column; empty: the defaults of the format.
        list_attributes: attributes whose cells contain several values.
        item_ids: ids of the items with interactions; their positions are the codes.
        keep: for each code, whether its attributes are stored.

    Raises:
        DataError: the file, a column or a line cannot be used; names the file and the line.
    """
    form = _FORMS[files.format]
    codes = {item_id: code for code, item_id in enumerate(item_ids)}
    columns = ItemColumns(item_column, attributes or form.attributes, list_attributes, codes)
    rows = form.read_items(files.items, columns)
    items = collect_items(files.items, rows, columns.attributes, codes, keep, first_counts=form.raw)
    lacking = [name for name in attributes if name not in items.found]
    if items.found and lacking:
        raise DataError(f"{files.items}: no item has a value of {attributes[lacking[0]]!r}, the column of {lacking[0]}")
    return items
