"""The loops of `large_least_squares`."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steps.models.compiled.lines import add, add_line, dot, fetch, sum_lines
from steps.models.compiled.loop import loop
from steps.models.memory import LINE
from steps.models.recommender import Floats

AHEAD = 8
"""So many pairs before a vector is needed it is asked for."""
ROWS_AHEAD = 16
"""The same where rows are read one after the other."""
FEW = 16
"""Pairs of a row that are solved for at once: of more, some steps towards the answer are quicker."""
DISTINCT = 1e-3
"""How much of a pair must be left when what it has in common with those before it is taken off."""
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

    Where `warm`, they begin with what they were. A row without pairs that count more than others is only divided, and
    one with few of them is solved at once.
    """
    (starts, columns, counts), (tolerance, most) = extras, limits
    width, end = len(spread), starts[begin + len(into)]
    settled = np.ones(len(into), np.bool_)
    inverse, product = np.empty(width, np.float32), np.empty(width, np.float32)
    step, rest = np.empty(width, np.float32), np.empty(width, np.float32)
    scaled, system = np.empty((FEW, width), np.float32), np.empty((FEW, FEW + 1), np.float32)
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
        if last - first <= FEW and solve_few(x, right, inverse, first, last, columns, counts, other, scaled, system):
            continue
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
def solve_few(
    x: Floats,
    right: Floats,
    inverse: Floats,
    first: int,
    last: int,
    columns: Columns,
    counts: Floats,
    other: Floats,
    scaled: Floats,
    system: Floats,
) -> bool:
    """The vector of a row by a system as large as it has pairs, not as wide as vectors (Woodbury); says if it could.

    It cannot where some pairs count less than those that never met, nor where they count so much, and their vectors are
    so alike, that rounding would decide.
    """
    width, many = len(inverse), last - first
    for pair in range(many):
        if counts[first + pair] < 0:
            return False
        vector, total = other[columns[first + pair], :width], np.float32(0)
        for place in range(width):
            scaled[pair, place] = inverse[place] * vector[place]
            total += scaled[pair, place] * right[place]
        for before in range(pair + 1):
            system[pair, before] = dot(scaled[pair], other[columns[first + before], :width])
        system[pair, pair] += np.float32(1) / counts[first + pair]
        system[pair, FEW] = total
    for pair in range(many):
        for before in range(pair + 1):
            value = system[pair, before]
            for place in range(before):
                value -= system[pair, place] * system[before, place]
            if before < pair:
                system[pair, before] = value / system[before, before]
            elif value > DISTINCT * system[pair, pair]:
                system[pair, pair] = np.sqrt(value)
            else:
                return False
        for before in range(pair):
            system[pair, FEW] -= system[pair, before] * system[before, FEW]
        system[pair, FEW] /= system[pair, pair]
    for place in range(width):
        x[place] = inverse[place] * right[place]
    for pair in range(many - 1, -1, -1):
        for after in range(pair + 1, many):
            system[pair, FEW] -= system[after, pair] * system[after, FEW]
        system[pair, FEW] /= system[pair, pair]
        add(x, -system[pair, FEW], scaled[pair])
    return True


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
