"""Cuts what is too much at once into portions."""

from __future__ import annotations

from collections.abc import Iterator


def stretches(count: int, length: int) -> Iterator[slice]:
    """Places that follow each other, so many at once; the last ones may be fewer."""
    for start in range(0, count, length):
        yield slice(start, min(start + length, count))
