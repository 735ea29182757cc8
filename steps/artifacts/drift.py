"""How far the users and items of today are from those that the live model was made for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from steps.artifacts import manifest
from steps.artifacts.dataset import Split, id_table
from steps.artifacts.window import Window
from steps.clients.object_store import Store
from steps.models import online
from steps.models.online import Figures, Flags, Numbers, Stability

GROUPS = 10
"""Of items, by how often they were bought: each has about as many purchases."""
PURCHASES = (0, 1, 2, 3, 6, 11, 21, 51)
"""Where a new class of users begins, by how much they had bought."""
LEAST = 50
"""Fewer than this say nothing of how they lie."""


@dataclass(frozen=True)
class Side:
    """One of the two sides of a purchase, and how its ids are put into classes by how many purchases they had."""

    column: str
    table: str
    classes: Callable[[Numbers], Numbers]
    count: int
    unknown: int
    """The class of an id that is not in the snapshot."""


SIDES = {
    "users": Side(
        "user", manifest.USERS, lambda counts: online.classes(counts, PURCHASES), count=len(PURCHASES), unknown=0
    ),
    "items": Side(
        "item", manifest.ITEMS, lambda counts: online.equal_groups(counts, GROUPS), count=GROUPS + 1, unknown=GROUPS
    ),
}


def since_training(store: Store, snapshot: str, window: Window, cache: Path) -> dict[str, Stability]:
    """How far the purchases of a window are from those of the snapshot's test period; a side is left out where
    either has too few.

    A purchase is told by how much its user, and how often its item, had been bought before: of the test period by what
    was before it, of today by the whole snapshot. So it is no drift that there are new users and new items, but that
    there are more of them than there used to be.
    """
    told = manifest.read(store.data, snapshot)
    # Without the sums of pairs, which are as large again.
    wanted = {name: one for name, one in manifest.records(told, snapshot).items() if "/" not in name}
    folder = store.data.fetch(manifest.prefix(snapshot), wanted, cache)
    found = {}
    for name, side in SIDES.items():
        code, test = _purchases(folder, side, told)
        table = id_table(pl.read_parquet(folder / side.table, columns=["id"])["id"])
        known = table.codes(getattr(window, name)).astype(np.int64)
        now = known[getattr(window.actions, side.column)[window.actions.bought]]
        if len(now) >= LEAST and np.count_nonzero(test) >= LEAST:
            found[name] = moved(side, code[~test], code[test], now, len(table))
    return found


def of_places(now: Figures, before: Figures | None) -> dict[str, Stability]:
    """How far down in its lists a version's items are taken, against when it was first seen enough."""
    if before is None or min(sum(now.taken_at), sum(before.taken_at)) < LEAST:
        return {}
    return {"places": online.stability(np.array(before.taken_at), np.array(now.taken_at))}


def moved(side: Side, before: Numbers, test: Numbers, now: Numbers, size: int) -> Stability:
    """From the codes of the purchases before the test period, in it, and of today, where -1 is unknown."""
    then = side.classes(np.bincount(before, minlength=size))
    today = np.append(side.classes(np.bincount(np.append(before, test), minlength=size)), side.unknown)
    return online.stability(
        np.bincount(then[test], minlength=side.count), np.bincount(today[now], minlength=side.count)
    )


def _purchases(folder: Path, side: Side, told: Mapping[str, Any]) -> tuple[Numbers, Flags]:
    """The code of each purchase of a snapshot, and whether it is of the test period."""
    kinds = manifest.kinds(told)
    columns = [side.column, "split", *(["event"] if kinds else [])]
    rows = pl.read_parquet(folder / manifest.PURCHASES, columns=columns)
    if kinds:
        rows = rows.filter(pl.Series(kinds.goal()[rows["event"].to_numpy()]))
    return rows[side.column].to_numpy().astype(np.int64), rows["split"].to_numpy() == Split.TEST
