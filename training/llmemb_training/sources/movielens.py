"""MovieLens: 100K (`u.data`, `u.item`), 1M and 10M (`ratings.dat`, `movies.dat`), 20M and later (`*.csv`)."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl

from llmemb.errors import DataError
from llmemb_training.sources.interactions import check_interactions
from llmemb_training.sources.source import InteractionColumns, ItemColumns, ItemRow
from llmemb_training.sources.table import LINE, read_table

DEFAULT_ATTRIBUTES = {"title": "title", "release_year": "release_year", "genres": "genres"}
# The flags of u.item, in their order.
_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"),
    *("Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_COLUMNS = InteractionColumns("userId", "movieId", "timestamp", "rating")
_RATINGS = ("userId", "movieId", "rating", "timestamp")
_MOVIES = ("movieId", "title", "genres")
_MOVIES_100K = ("movieId", "title", "release_date", "video_release_date", "imdb_url", *_GENRES)
_TITLE = re.compile(r"(.*?)\s*\((\d{4})(?:[-\u2013]\d{0,4})?\)")


def read_movielens_interactions(path: Path, columns: InteractionColumns) -> Iterator[pl.DataFrame]:
    """Read checked interactions.

    Raises:
        DataError: the file or a line cannot be used; names the file and the line.
    """
    frames = read_table(path, ",") if path.suffix == ".csv" else read_table(path, "\t", _RATINGS, _to_tabs)
    return check_interactions(frames, path, _COLUMNS if columns.rating else replace(_COLUMNS, rating=None))


def read_movielens_items(path: Path, columns: ItemColumns) -> Iterator[ItemRow]:
    """Read the movies: `title` without its year, `release_year`, and `genres` as a list.

    Raises:
        DataError: the file, an attribute's column or a line cannot be used; names the file and the line.
    """
    for column in columns.attributes.values():
        if column not in DEFAULT_ATTRIBUTES.values():
            raise DataError(f"{path}: no column {column!r}; it has {', '.join(DEFAULT_ATTRIBUTES.values())}")
    for frame in _read_movies(path):
        for row in frame.iter_rows(named=True):
            values = _movie(row)
            yield (
                f"line {row[LINE]}",
                row["movieId"],
                {name: values[column] for name, column in columns.attributes.items()},
            )


def _read_movies(path: Path) -> Iterator[pl.DataFrame]:
    if path.suffix == ".csv":
        return read_table(path, ",")
    if path.suffix == ".dat":
        return read_table(path, "\t", _MOVIES, _to_tabs)
    return read_table(path, "|", _MOVIES_100K, _to_utf8)


def _movie(row: Mapping[str, str | None]) -> dict[str, str | list[str]]:
    text = row["title"] or ""
    match = _TITLE.fullmatch(text.strip())
    title, year = match.groups() if match else (text, "")
    if "genres" in row:
        genres = [genre for genre in (row["genres"] or "").split("|") if genre != "(no genres listed)"]
    else:
        genres = [genre for genre in _GENRES[1:] if row[genre] == "1"]
    return {"title": title, "release_year": year, "genres": genres}


def _to_utf8(data: bytes) -> bytes:
    """100K and 1M are in Latin-1, 10M is in UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1").encode()
    return data


def _to_tabs(data: bytes) -> bytes:
    return _to_utf8(data).replace(b"::", b"\t")
