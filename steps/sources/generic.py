"""Purchases in tables of anybody's making, whose columns are named by `--columns` or by custom."""

from __future__ import annotations

import logging
from pathlib import Path, PurePath

import polars as pl

from steps.sources.columns import Columns, guess
from steps.sources.folder import Files, catalogue
from steps.sources.found import Found
from steps.sources.tables import Table

log = logging.getLogger(__name__)

USERS = ("users", "customers", "members", "clients")
ITEMS = ("items", "products", "articles", "movies", "catalogue", "catalog")


def read(files: Files, columns: Columns) -> Found:
    """Every table is purchases, but for those that are called users or items where there are others."""
    tables = {name: path for name, path in files.main.items() if _stem(path) not in (*USERS, *ITEMS)} or files.main
    parts, said = [], ""
    for path in tables.values():
        table = files.open(path)
        found = columns.find(table.header, table.name)
        chosen = ", ".join(f"{meaning} from {table.header[place]!r}" for meaning, place in found.items())
        if chosen != said:
            log.info("%s: reading %s", table.name, chosen)
            said = chosen
        parts.append(table.part(found))
    listed = {kind: _listed(files, set(files.main) - set(tables), kind) for kind in (USERS, ITEMS)}
    return Found(files.about, tuple(parts), users=listed[USERS], items=listed[ITEMS])


def _listed(files: Files, others: set[str], kind: tuple[str, ...]) -> pl.DataFrame | None:
    """The users or items that a table beside the purchases lists."""
    for name in sorted(others):
        if _stem(files.main[name]) in kind:
            table = files.open(files.main[name])
            place = _id(table, "user" if kind is USERS else "item")
            if place is not None:
                return catalogue(table, place, _name(table) if kind is ITEMS else None)
            log.warning("%s has no column that looks like an id: not used", table.name)
    return None


def _id(table: Table, meaning: str) -> int | None:
    lower = [name.lower() for name in table.header]
    return lower.index("id") if "id" in lower else guess(meaning, table.header)


def _name(table: Table) -> int | None:
    lower = [name.lower() for name in table.header]
    return lower.index("name") if "name" in lower else guess("name", table.header)


def _stem(path: Path) -> str:
    return PurePath(path).name.lower().partition(".")[0]
