"""What every source gives: purchases as they were written, not yet checked, and what is known of users and items."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import polars as pl

BROKEN = "broken"
"""The column of a part that says what is wrong with a line whose fields cannot be told apart."""


@dataclass(frozen=True)
class Part:
    """The purchases of one file, one table or one query, in the order of its rows.

    `rows` has the columns `user` and `item` and may have `time`, `weight`, `event`, `name` (of the item), of any type;
    `row`, the number of the line that a person would look for, where that is not simply the place; and BROKEN.
    """

    name: str
    rows: pl.LazyFrame
    repaired: Callable[[], Part] | None = None
    """Reads the part again with more patience, where polars cannot read it at all."""


@dataclass(frozen=True)
class Found:
    """A source that was opened; its parts are read only when they are collected."""

    about: str
    """The source for people, without secrets."""
    parts: tuple[Part, ...]
    users: pl.DataFrame | None = None
    """`id` and features, where the source lists its users."""
    items: pl.DataFrame | None = None
    """`id`, `name` where there is one, and features."""
    notes: dict[str, object] = field(default_factory=dict)
    """Anything else that the manifest should tell."""
