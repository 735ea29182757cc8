"""The loops of `large_least_squares`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steps.models.compiled.lines import LINE, add, add_line, dot, fetch, sum_lines
from steps.models.compiled.loop import loop
from steps.models.recommender import Floats

AHEAD = 8
"""So many pairs before a vector is needed it is asked for."""
ROWS_AHEAD = 16
"""The same where rows are read one after the other."""
Starts = npt.NDArray[np.int64]
Columns = npt.NDArray[np.int32]


@loop
def sum_of_columns(
    into: Floats, begin: int, starts: Starts, columns: Columns, sure: Floats, lines: Floats, block: int
) -> None:
    """Of each row from `begin` the sum of one line of its columns' vectors, each as often as it is sure."""
    for row in range(len(into)):
        sum_lines(into, row, block * LINE, starts[begin + row], starts[begin + row + 1], columns, sure, lines)


@loop
def sum_of_rows(into: Floats, starts: Starts, columns: Columns, sure: Floats, vectors: Floats, block: int) -> None:
    """Of each column the sum of one line of its rows' vectors, each as often as it is sure."""
    rows = len(starts) - 1
    for row in range(rows):
        if row + ROWS_AHEAD < rows:
            fetch(vectors, row + ROWS_AHEAD, block * LINE)
        for pair in range(starts[row], starts[row + 1]):
            add_line(into, columns[pair], 0, sure[pair], vectors, row, block * LINE)


@loop
def solve_rows(
    into: Floats,
    begin: int,
    wanted: Floats,
    extras: tuple[Starts, Columns, Floats],
    other: Floats,
    spread: Floats,
    strength: Floats,
    unobserved: np.float32,
    limits: tuple[np.float32, int],
    warm: bool,
) -> npt.NDArray[np.bool_]:
    """What `Block.descend` does, a row at a time: writes the vectors of the rows from `begin`; says which have settled.

    Where `warm`, they begin with what they were. A row without pairs that count more than others is only divided.
    """
    (starts, columns, counts), (tolerance, most) = extras, limits
    width, end = len(spread), starts[begin + len(into)]
    settled = np.ones(len(into), np.bool_)
    inverse, product = np.empty(width, np.float32), np.empty(width, np.float32)
    step, rest = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(len(into)):
        x, right, first, last = into[row], wanted[row], starts[begin + row], starts[begin + row + 1]
        enough = np.float32(0)
        for place in range(width):
            inverse[place] = np.float32(1) / (unobserved * spread[place] + strength[row])
            enough += right[place] * right[place] * inverse[place]
        if first == last or enough == 0 or not warm:
            for place in range(width):
                x[place] = inverse[place] * right[place]
        if first == last or enough == 0:
            continue
        for pair in range(last, min(last + AHEAD, end)):
            for column in range(0, width, LINE):
                fetch(other, columns[pair], column)
        enough *= tolerance * tolerance
        multiply(product, x, first, last, columns, counts, other, inverse)
        size = np.float32(0)
        for place in range(width):
            rest[place] = right[place] - product[place]
            step[place] = inverse[place] * rest[place]
            size += rest[place] * step[place]
        steps = 0
        while size > enough and steps < most:
            steps += 1
            multiply(product, step, first, last, columns, counts, other, inverse)
            far, before, size = size / dot(step, product), size, np.float32(0)
            for place in range(width):
                x[place] += far * step[place]
                rest[place] -= far * product[place]
                size += rest[place] * rest[place] * inverse[place]
            for place in range(width):
                step[place] = inverse[place] * rest[place] + size / before * step[place]
        settled[row] = size <= enough
    return settled


@loop
def multiply(
    into: Floats, x: Floats, first: int, last: int, columns: Columns, counts: Floats, other: Floats, inverse: Floats
) -> None:
    """The left side of a row's system."""
    width = len(inverse)
    for place in range(width):
        into[place] = x[place] / inverse[place]
    for pair in range(first, last):
        vector = other[columns[pair], :width]
        add(into, counts[pair] * dot(vector, x), vector)
