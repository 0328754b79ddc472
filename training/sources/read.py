"""Find the files of a source and read them."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from llmemb.errors import DataError
from training.sources.generic import read_generic
from training.sources.recbole import read_recbole
from training.sources.source import Source

Format = Literal["recbole", "generic"]
_PATTERNS: dict[Format, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "recbole": (("*.inter",), ("*.item",)),
    "generic": (("interactions.csv", "interactions.csv.gz"), ("items.jsonl", "items.jsonl.gz")),
}


def source_files(folder: Path, wanted: Literal["auto", "recbole", "generic"]) -> tuple[Format, Path, Path]:
    """Return the format of a source and its file of interactions and of items.

    Raises:
        DataError: the files are not there, or there are several.
    """
    for name, (interaction_patterns, item_patterns) in _PATTERNS.items():
        if wanted not in ("auto", name):
            continue
        interactions = _matches(folder, interaction_patterns)
        items = _matches(folder, item_patterns)
        if len(interactions) == 1 and len(items) == 1:
            return name, interactions[0], items[0]
    raise DataError(
        f"{folder} holds no source: it needs one interactions.csv[.gz] and one items.jsonl[.gz], "
        "or one *.inter and one *.item file"
    )


def read_source(
    folder: Path,
    wanted: Literal["auto", "recbole", "generic"],
    columns: Mapping[str, str],
    list_attributes: Collection[str],
) -> Source:
    """Read the source in a folder; see `read_generic` and `read_recbole`.

    Raises:
        DataError: the files are not there or a line cannot be used.
    """
    name, interactions, items = source_files(folder, wanted)
    if name == "recbole":
        return read_recbole(interactions, items, columns, list_attributes)
    return read_generic(interactions, items, columns)


def _matches(folder: Path, patterns: Collection[str]) -> list[Path]:
    return sorted(path for pattern in patterns for path in folder.glob(pattern))
