"""Which kinds of event a source tells apart, and which of them are purchases."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from steps.models.events import Kinds, purchases_among
from steps.runtime.errors import BadDataError, UsageError

MOST_KINDS = 30
"""More kinds of event than this: the column tells something else."""
SHOWN = 3


def kinds_of(
    column: pl.Series, weights: Mapping[str, float], about: str
) -> tuple[Kinds | None, npt.NDArray[np.int8] | None]:
    """The kinds of event and the code of each row's; nothing where all are of one kind, for that is a purchase."""
    seen = column.unique()
    names = sorted(seen.cast(pl.String))
    if len(names) > MOST_KINDS:
        shown = ", ".join(repr(name) for name in names[:SHOWN])
        raise BadDataError(
            f"{about} has {len(names)} kinds of event ({shown}, …), and {MOST_KINDS} are allowed: "
            "name the column of the kind with --columns event=COLUMN, or none with --columns event="
        )
    top = max((weights[name] for name in names), default=0.0) if weights else 0.0
    goals = tuple(name for name in names if weights[name] == top) if weights else purchases_among(names)
    if not goals:
        raise UsageError(
            f"{about} has a column with kinds of event ({', '.join(names)}), of which none is known to be a purchase: "
            "say what each is worth with --event-weights, as in purchase=1,view=0.1, "
            "or leave the column out with --columns event="
        )
    if len(names) == 1:
        return None, None
    place = {name: code for code, name in enumerate(names)}
    numbers = seen.to_physical().to_numpy()
    codes = np.zeros(int(numbers.max(initial=0)) + 1, np.int8)
    codes[numbers] = [place[name] for name in seen.cast(pl.String)]
    return Kinds(tuple(names), goals, dict(weights)), codes[column.to_physical().to_numpy()]
