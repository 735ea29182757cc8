"""The format of the Kubeflow example: `users.csv`, and `transactions.csv` with customerId and products "a|b|c"."""

from __future__ import annotations

import polars as pl

from steps.sources.folder import Files, catalogue
from steps.sources.found import Found, Part

PURCHASES, USERS = "transactions.csv", "users.csv"
HEADER = ("customerid", "products")


def read(files: Files) -> Found | None:
    """The purchases, where the files have this format; a product that a customer has twice was bought twice."""
    path = files.find(PURCHASES)
    table = files.open(path) if path else None
    header = [name.lower() for name in table.header] if table else []
    if table is None or not set(HEADER) <= set(header):
        return None
    part = table.part({"user": header.index("customerid"), "item": header.index("products")})

    def each_product(part: Part) -> Part:
        repaired = part.repaired
        rows = part.rows.with_row_index("row", offset=1).with_columns(pl.col("item").str.split("|")).explode("item")
        return Part(part.name, rows, (lambda: each_product(repaired())) if repaired else None)

    users = files.find(USERS, beside=True)
    listed = files.open(users) if users else None
    place = [name.lower() for name in listed.header].index("customerid") if listed and _lists(listed.header) else None
    return Found(
        about=f"{files.about} (the Kubeflow example's format)",
        parts=(each_product(part),),
        users=catalogue(listed, place, None) if listed and place is not None else None,
    )


def _lists(header: tuple[str, ...]) -> bool:
    return "customerid" in (name.lower() for name in header)
