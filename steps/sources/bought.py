"""Purchases that feedback told of, beside those of a source: in the columns that the source has, and none twice.

Some of them came from lists that a model had made. They say what users like, and are learned from; but a user buys what
is shown, so they speak for the model that showed it, and no model is judged by them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import polars as pl

from steps.models.events import purchases_among
from steps.sources.clean import Clean
from steps.sources.found import Found, Part

NAME = "feedback"
KIND = "bought"
"""What such a purchase is called where the source tells kinds of event apart, and calls no purchase one."""
PAIR = ["user", "item"]
SAME = 24 * 3600 * 1_000_000
"""Microseconds that two reports of one purchase may be apart: a shop's books and its site have clocks of their own."""


def beside(found: Found, bought: pl.DataFrame, event_weights: Mapping[str, float]) -> Found:
    """The source with one part more, its last: `bought` has the columns user, item and time, and `led`."""
    if not bought.height:
        return found
    schema = found.parts[0].rows.collect_schema()
    rows = bought.drop("led") if "time" in schema else bought.drop("led", "time")
    if "name" in schema:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("name"))
    if "event" in schema:
        rows = rows.with_columns(pl.lit(_purchase(found, event_weights)).alias("event"))
    return replace(found, parts=(*found.parts, Part(NAME, rows.lazy())))


def once(clean: Clean, led: pl.Series) -> Clean:
    """Without those of the last purchases, which feedback told of, that the source tells of as well.

    Of a source without times, that is every pair which it has already. `led` says of each that feedback told of whether
    it came from a list; where the same user has bought the same item without one too, it needed none.
    """
    rows, first = clean.purchases, clean.purchases.height - len(led)
    told = rows.tail(len(led)).with_columns(led.alias("led")).with_row_index("place", first)
    # Nearly all purchases are by others, and are not looked at any further.
    known = rows.head(first).join(told.select(PAIR).unique(), on=PAIR, how="semi").filter(_is_purchase(clean))
    both = told.join(known, on=PAIR, how="inner", suffix="_known")
    if "time" in rows.columns:
        both = both.filter((pl.col("time") - pl.col("time_known")).abs() <= SAME)
    without_list = pl.concat([known.select(PAIR), told.filter(~pl.col("led")).select(PAIR)])
    by_list = told.filter("led").join(without_list, on=PAIR, how="anti")
    kept, marks = np.ones(rows.height, bool), np.zeros(rows.height, bool)
    kept[both["place"].to_numpy()] = False
    marks[by_list["place"].to_numpy()] = True
    return replace(
        clean,
        purchases=rows if kept.all() else rows.filter(pl.Series(kept)),
        led=marks[kept] if by_list.height else None,
    )


def _is_purchase(clean: Clean) -> pl.Expr:
    """A view or a dislike of a product is no purchase of it."""
    positive = pl.col("weight") > 0
    if clean.kinds is None:
        return positive
    return positive & pl.col("event").is_in(np.flatnonzero(clean.kinds.goal()).tolist())


def _purchase(found: Found, event_weights: Mapping[str, float]) -> str:
    """What the source calls a purchase."""
    if event_weights:
        return max(event_weights, key=lambda name: event_weights[name])
    names: set[str] = set()
    for part in found.parts:
        try:
            column = part.rows.select(pl.col("event").cast(pl.String).str.strip_chars()).unique()
            names.update(column.collect(engine="streaming")["event"].drop_nulls())
        except pl.exceptions.PolarsError:  # reading it for good finds out what is wrong with it
            continue
    return next(iter(purchases_among(sorted(names))), KIND)
