"""Times counted in columns: of any number of them percentiles can be told, and those of several processes add up."""

from __future__ import annotations

import math

STEPS = 8
"""Columns for each doubling of the time, which tells percentiles to 9 %."""
COLUMNS = 26 * STEPS
"""From a microsecond to a minute."""


def column(seconds: float) -> int:
    """Where a time is counted."""
    return min(COLUMNS - 1, max(0, int(STEPS * math.log2(seconds * 1e6)))) if seconds > 1e-6 else 0


def upper(place: int) -> float:
    """The longest time that is counted there."""
    return float(2 ** ((place + 1) / STEPS) / 1e6)
