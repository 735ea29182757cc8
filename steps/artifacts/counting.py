"""What the manifest of a snapshot tells of its purchases: how many of everything, from when to when, read by what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.artifacts import pairs

if TYPE_CHECKING:
    import polars as pl


def counts(purchases: pl.DataFrame, users: int, items: int, summed: Sequence[sp.csr_matrix] = ()) -> dict[str, int]:
    """Rows of the three tables, who and what is among the purchases, and how often a row is there again.

    `summed` are the pairs of all splits, where they have been put together.
    """
    return {
        "users": users,
        "items": items,
        "purchases": purchases.height,
        "buyers": _distinct(purchases["user"].to_numpy()),
        "bought_items": _distinct(purchases["item"].to_numpy()),
        "pairs": pairs.met(summed).nnz if summed else _pairs(purchases, items),
        "repeated_rows": _repeated(purchases),
    }


def _distinct(codes: npt.NDArray[np.int32]) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _pairs(purchases: pl.DataFrame, items: int) -> int:
    """Distinct pairs of a user and an item."""
    import polars as pl

    return purchases.select(pl.col("user").cast(pl.Int64) * items + pl.col("item")).to_series().n_unique()


def _repeated(purchases: pl.DataFrame) -> int:
    """Rows like the one before in everything but the split; they are ordered, so that such rows meet."""
    same = np.ones(max(purchases.height - 1, 0), bool)
    for name in purchases.columns:
        if name != "split":
            values = purchases[name].to_numpy()
            same &= values[1:] == values[:-1]
    return int(same.sum())


def time_range(purchases: pl.DataFrame) -> dict[str, str] | None:
    """From when to when; None where no times are known."""
    if "time" not in purchases.columns or purchases.is_empty():
        return None
    times = purchases["time"].to_numpy()
    return {"first": moment(int(times.min())), "last": moment(int(times.max()))}


def moment(microseconds: int) -> str:
    """A time as people and JSON write it."""
    return str(np.datetime64(microseconds, "us").astype("datetime64[s]")) + "Z"


def libraries() -> dict[str, str]:
    """The versions of what a snapshot is made with."""
    import platform

    import polars as pl

    return {"python": platform.python_version(), "numpy": np.__version__, "polars": pl.__version__}
