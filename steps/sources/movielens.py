"""MovieLens in its three formats: `u.data` (100K), `ratings.dat` (1M, 10M) and `ratings.csv` (the later ones)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from steps.sources.folder import Files, catalogue
from steps.sources.found import Found, Part
from steps.sources.tables import as_utf8

RATINGS = ("user", "item", "weight", "time")
GENRES = (
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
CSV_HEADER = ("userId", "movieId", "rating", "timestamp")
NOT_IN_TEXT = "\x1f"


def read(files: Files) -> Found | None:
    """The ratings, where the files have one of the formats; a rating is the weight of what was watched."""
    for name, reader in (("u.data", _100k), ("ratings.dat", _1m), ("ratings.csv", _latest)):
        path = files.find(name)
        if path and (found := reader(files, path)):
            return found
    return None


def _100k(files: Files, path: Path) -> Found:
    items, users = files.find("u.item", beside=True), files.find("u.user", beside=True)
    return Found(
        about=f"{files.about} (MovieLens 100K)",
        parts=(Part(path.name, _lines(files, path, "\t", RATINGS)),),
        users=_lines(files, users, "|", ("id", "age", "gender", "occupation", "zip")).collect() if users else None,
        items=_movies_100k(files, items) if items else None,
    )


def _movies_100k(files: Files, path: Path) -> pl.DataFrame:
    """Nineteen columns of 0 and 1 become the list of genres that the later formats have."""
    rows = _lines(files, path, "|", ("id", "name", "released", "video", "url", *GENRES))
    flags = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in GENRES]
    return rows.select(
        "id", "name", "released", pl.concat_str(flags, separator="|", ignore_nulls=True).alias("genres")
    ).collect()


def _1m(files: Files, path: Path) -> Found:
    items, users = files.find("movies.dat", beside=True), files.find("users.dat", beside=True)
    return Found(
        about=f"{files.about} (MovieLens, ratings.dat)",
        parts=(Part(path.name, _lines(files, path, "::", RATINGS)),),
        users=_lines(files, users, "::", ("id", "gender", "age", "occupation", "zip")).collect() if users else None,
        items=_lines(files, items, "::", ("id", "name", "genres")).collect() if items else None,
    )


def _latest(files: Files, path: Path) -> Found | None:
    table = files.open(path)
    if not set(CSV_HEADER) <= set(table.header):
        return None
    movies = files.find("movies.csv", beside=True)
    listed = files.open(movies) if movies else None
    return Found(
        about=f"{files.about} (MovieLens, ratings.csv)",
        parts=(
            table.part({meaning: table.header.index(name) for meaning, name in zip(RATINGS, CSV_HEADER, strict=True)}),
        ),
        items=catalogue(listed, listed.header.index("movieId"), listed.header.index("title")) if listed else None,
    )


def _lines(files: Files, path: Path, separator: str, names: Sequence[str]) -> pl.LazyFrame:
    """A file without header or quotes; the older ones are Latin-1, and their separator may be two characters."""
    text = as_utf8(path, files.scratch, path.name, "latin-1")
    lines = pl.scan_csv(
        text,
        has_header=False,
        separator=NOT_IN_TEXT,
        quote_char=None,
        infer_schema=False,
        new_columns=["line"],
        glob=False,
    )
    fields = pl.col("line").str.split_exact(separator, len(names) - 1)
    return lines.select(fields.struct.rename_fields(list(names)).alias("fields")).unnest("fields")
