"""Writes MovieLens once more without the films that few have rated: as dense as MovieLens 100K is."""

from __future__ import annotations

import argparse
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import polars as pl


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/dense.py",
        description=__doc__,
        epilog="example: python tests/benchmarks/dense.py ml-latest-small.zip dense",
    )
    flags.add_argument("source", type=Path, help="a zip archive or a folder with ratings.csv and movies.csv")
    flags.add_argument("folder", type=Path, help="where ratings.csv and movies.csv are written")
    flags.add_argument("--least", type=int, default=20, help="ratings that a film must have (default: %(default)s)")
    return flags


def content(source: Path, name: str) -> bytes:
    if source.is_dir():
        return (source / name).read_bytes()
    with zipfile.ZipFile(source) as archive:
        [found] = [one for one in archive.namelist() if PurePosixPath(one).name == name]
        return archive.read(found)


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    flags.folder.mkdir(parents=True, exist_ok=True)
    ratings, films = (pl.read_csv(content(flags.source, name)) for name in ("ratings.csv", "movies.csv"))
    rated = ratings.filter(pl.len().over("movieId") >= flags.least)
    rated.write_csv(flags.folder / "ratings.csv")
    films.join(rated, on="movieId", how="semi").write_csv(flags.folder / "movies.csv")
    print(f"{len(rated):,} ratings of {rated['movieId'].n_unique():,} films in {flags.folder}")


if __name__ == "__main__":
    main()
