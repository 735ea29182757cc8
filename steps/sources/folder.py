"""The files of a source by name, wherever they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from steps.runtime.errors import BadDataError, UsageError
from steps.sources.archive import is_table, is_zip, unpack
from steps.sources.tables import Table, open_table

PARQUET = ("parquet", "pq")


@dataclass(frozen=True)
class Files:
    """Tables by their lower-case names, in the order of these."""

    about: str
    main: Mapping[str, Path]
    scratch: Path
    beside: Mapping[str, Path] = field(default_factory=dict)
    """What lies beside a single file: never read as purchases, but it may hold names for the products."""

    def find(self, *names: str, beside: bool = False) -> Path | None:
        """The first of some names that is there."""
        for name in names:
            path = self.main.get(name) or (self.beside.get(name) if beside else None)
            if path:
                return path
        return None

    def open(self, path: Path) -> Table:
        return open_table(path, self.scratch)


def gather(path: Path, scratch: Path, about: str) -> Files:
    """The tables at a path: a file, a folder, or a zip archive of either."""
    if path.is_dir():
        return Files(about, _tables(path, about), scratch)
    if not path.exists():
        raise UsageError(f"--source {about}: there is no such file or folder")
    if not path.is_file():
        raise UsageError(f"--source {about} is neither a file nor a folder")
    if is_zip(path):
        folder = scratch / "unpacked"
        folder.mkdir()
        unpack(path, folder, about)
        return Files(about, _tables(folder, about), scratch)
    beside = {one.name.lower(): one for one in path.parent.iterdir() if one.is_file() and is_table(one.name)}
    return Files(about, {path.name.lower(): path}, scratch, beside)


def _tables(folder: Path, about: str) -> dict[str, Path]:
    """The tables directly in a folder, or in its only subfolder, as archives often have one."""
    inside = sorted(folder.iterdir(), key=lambda one: one.name)
    tables = [one for one in inside if one.is_file() and is_table(one.name)]
    folders = [one for one in inside if one.is_dir() and not one.name.startswith((".", "_"))]
    if not tables and len(folders) == 1:
        return _tables(folders[0], about)
    if not tables:
        raise BadDataError(f"{about} holds no CSV or Parquet file")
    return {one.name.lower(): one for one in tables}


def catalogue(table: Table, id_place: int, name_place: int | None) -> pl.DataFrame:
    """A table of users or items: its id, its name where it has one, and the further columns as they are."""
    rows = table.whole()
    columns = rows.columns
    # Columns of the file that are themselves called id or name make way for those that have this meaning.
    renamed = {columns[place]: f"{column}_" for place, column in enumerate(columns) if column in ("id", "name")}
    if name_place is not None:
        renamed[columns[name_place]] = "name"
    renamed[columns[id_place]] = "id"
    rows = rows.rename(renamed)
    first = [name for name in ("id", "name") if name in rows.columns]
    return rows.select(*first, pl.exclude(first))
