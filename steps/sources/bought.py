"""Purchases that feedback told of, beside those of a source: in the columns that the source has, and none twice."""

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
SAME = 24 * 3600 * 1_000_000
"""Microseconds that two reports of one purchase may be apart: a shop's books and its site have clocks of their own."""


def beside(found: Found, bought: pl.DataFrame, event_weights: Mapping[str, float]) -> Found:
    """The source with one part more, its last: `bought` has the columns user, item and time."""
    if not bought.height:
        return found
    schema = found.parts[0].rows.collect_schema()
    rows = bought if "time" in schema else bought.drop("time")
    if "name" in schema:
        rows = rows.with_columns(pl.lit(None, pl.String).alias("name"))
    if "event" in schema:
        rows = rows.with_columns(pl.lit(_purchase(found, event_weights)).alias("event"))
    return replace(found, parts=(*found.parts, Part(NAME, rows.lazy())))


def once(clean: Clean, count: int) -> Clean:
    """Without those of the last `count` purchases, which feedback told of, that the source tells of as well.

    Of a source without times, that is every pair which it has already.
    """
    rows, first = clean.purchases, clean.purchases.height - count
    known, told = rows.head(first), rows.tail(count)
    pair = ["user", "item"]
    # Nearly all purchases are by others, and are not looked at any further.
    known = known.join(told.select(pair).unique(), on=pair, how="semi")
    told = told.with_row_index("place")
    both = told.join(known, on=pair, how="inner", suffix="_known")
    if "time" in rows.columns:
        both = both.filter((pl.col("time") - pl.col("time_known")).abs() <= SAME)
    kept = np.ones(rows.height, bool)
    kept[first + both["place"].to_numpy().astype(np.int64)] = False
    return replace(clean, purchases=rows.filter(pl.Series(kept))) if not kept.all() else clean


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
