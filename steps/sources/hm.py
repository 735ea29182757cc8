"""The format of the H&M competition: transactions_train, customers and articles, as CSV or Parquet."""

from __future__ import annotations

import polars as pl

from steps.runtime.errors import BadDataError
from steps.sources.columns import listed
from steps.sources.folder import Files, catalogue
from steps.sources.found import Found, Part
from steps.sources.tables import Table

PURCHASES = ("transactions_train.csv", "transactions_train.parquet")
USERS = ("customers.csv", "customers.parquet")
ITEMS = ("articles.csv", "articles.parquet")
DIGITS = 10
COLUMNS = {"user": "customer_id", "item": "article_id", "time": "t_dat"}


def read(files: Files) -> Found | None:
    """The purchases, where the files have this format; one row is one piece, and the same row twice is two pieces."""
    path = files.find(*PURCHASES)
    if path is None:
        return None
    table = files.open(path)
    part = table.part({meaning: _place(table, column) for meaning, column in COLUMNS.items()})
    users, items = files.find(*USERS, beside=True), files.find(*ITEMS, beside=True)
    return Found(
        about=f"{files.about} (the H&M competition's format)",
        parts=(_with_zeros(part),),
        users=_users(files.open(users)) if users else None,
        items=_items(files.open(items)) if items else None,
    )


def _users(table: Table) -> pl.DataFrame:
    return catalogue(table, _place(table, "customer_id"), None)


def _items(table: Table) -> pl.DataFrame:
    name = table.header.index("prod_name") if "prod_name" in table.header else None
    items = catalogue(table, _place(table, "article_id"), name)
    return items.with_columns(_ten_digits(items.schema["id"], "id"))


def _with_zeros(part: Part) -> Part:
    kind = part.rows.collect_schema()["item"]
    return part if kind == pl.String else Part(part.name, part.rows.with_columns(_ten_digits(kind, "item")))


def _ten_digits(kind: pl.DataType, name: str) -> pl.Expr:
    """Article ids have ten digits; a tool that took them for numbers has lost the zeros in front."""
    return pl.col(name).cast(pl.String).str.zfill(DIGITS) if kind.is_integer() else pl.col(name)


def _place(table: Table, column: str) -> int:
    if column not in table.header:
        raise BadDataError(f"{table.name} has no column {column!r}; it has {listed(table.header)}")
    return table.header.index(column)
