"""Read a folder of raw files as `prepare` does, into plain values that a test can compare."""

import gzip
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from llmemb.item import AttributeValue, attributes_from_json
from llmemb_training.sources import SourceFiles, read_interactions, read_items, source_files
from llmemb_training.sources.read import Format
from llmemb_training.sources.source import ITEM, TIME, USER, InteractionColumns


@dataclass(frozen=True, slots=True)
class Source:
    """What was read, with ids in place of codes."""

    files: SourceFiles
    interactions: list[tuple[str, str, float]]
    low_rated: int
    attributes: dict[str, dict[str, AttributeValue]]
    attribute_names: tuple[str, ...]
    counts: dict[str, int]


def write_file(path: Path, content: str | bytes) -> Path:
    """Write a file, gzipped where its name says so."""
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def read_folder(
    folder: Path,
    wanted: Format | Literal["auto"] = "auto",
    *,
    columns: InteractionColumns | None = None,
    attributes: Mapping[str, str] | None = None,
    lists: Collection[str] = (),
    min_rating: float | None = None,
    ids: Iterable[str] | None = None,
) -> Source:
    """Read a source; `ids` are the items that count as interacted with, by default those that are."""
    files = source_files(folder, wanted)
    columns = columns or InteractionColumns(rating=None if min_rating is None else "rating")
    read = read_interactions(files, columns, min_rating)
    item_ids = read.item_ids if ids is None else pl.Series(sorted(ids), dtype=pl.String)
    items = read_items(files, columns.item, attributes or {}, lists, item_ids, np.ones(len(item_ids), dtype=np.bool_))
    users, meets = read.user_ids.gather(read.frame[USER]), read.item_ids.gather(read.frame[ITEM])
    return Source(
        files=files,
        interactions=list(zip(users, meets, read.frame[TIME], strict=True)),
        low_rated=read.low_rated,
        attributes={item_ids[code]: attributes_from_json(text) for code, text in items.attributes.rows()},
        attribute_names=items.attribute_names,
        counts=items.counts,
    )
