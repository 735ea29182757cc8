"""Lengths of time as Argo writes them: a number is seconds, `1h30m`, `500ms`."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def seconds(text: str | int | float) -> float:
    """`90`, `"90"`, `"90s"`, `"1m30s"` are all 90."""
    written = str(text).strip()
    if re.fullmatch(r"\d+(\.\d+)?", written):
        return float(written)
    if not written or not re.fullmatch(f"({PART.pattern})+", written):
        raise ValueError(f"{written!r} is no length of time; write seconds, or 90s, 5m, 2h, 1h30m")
    return sum(float(number) * UNITS[unit] for number, unit in PART.findall(written))
