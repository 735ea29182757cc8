"""The solver of `least_squares` for long trainings, by loops that numba compiles.

What every row wants is the sum of the vectors of its pairs. It is made line by line: of all vectors only sixteen
numbers at a time, so that those of the items stay in the processor while millions of pairs ask for them. Pairs that
weigh just as much as those that never met need nothing else: where purchases count 1, nearly all.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise, starmap
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.fold_in import FoldIn
from steps.models.least_squares import (
    MOST_STEPS,
    ROWS_AT_ONCE,
    TOLERANCE,
    main_axes,
    require_determined,
    solved_directly,
    strengths,
    turn,
)
from steps.models.memory import LINE, zeros
from steps.models.portions import stretches
from steps.models.recommender import Floats

COMPILING_PAYS = 100_000_000
"""Numbers of vectors that are looked up in a training; without a compiler it is 40 million a second."""
SHARES = 64
"""Into which the rows are cut for workers."""
MANY = 0.5
"""Share of the pairs that do not count like others, from which on a row rather begins with its last vector."""


def compiling_pays(pairs: int, factors: int, passes: int) -> bool:
    """Whether a training takes so long that a few seconds for numba to compile the loops are won back."""
    return pairs * factors * passes >= COMPILING_PAYS


@dataclass(frozen=True)
class Pairs:
    """A value for some pairs of a row and a column, as the loops want it."""

    starts: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int32]
    values: Floats

    @classmethod
    def of(cls, matrix: sp.csr_matrix) -> Self:
        columns, starts = matrix.indices.astype(np.int32, copy=False), matrix.indptr.astype(np.int64)
        return cls(starts, columns, matrix.data.astype(np.float32, copy=False))

    def __len__(self) -> int:
        return len(self.columns)


@dataclass(frozen=True)
class LargeSides:
    """The vectors of users and items while they are learned, in whole lines, and how sure each pair is."""

    width: int
    users: Floats
    items: Floats
    sure: Pairs
    """How much each pair of a user and an item is wanted; a dislike is not at all."""
    extras: Pairs
    """The pairs that do not count just as much as those that never met, and how much more they do."""
    transposed: Pairs
    """The extras of items and users."""
    lengths: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    """How many pairs every user has, and every item."""

    @classmethod
    def of(cls, weights: sp.csr_matrix, items: Floats, unobserved: float) -> Self:
        """From the first vectors of the items; below zero a weight is a dislike, wanted at zero."""
        sure = Pairs.of(weights)
        if (sure.values < 0).any():
            sure = Pairs(sure.starts, sure.columns, np.maximum(sure.values, 0))
        extras = counting_otherwise(weights, unobserved)
        return cls(
            width=items.shape[1],
            users=in_lines(np.zeros((weights.shape[0], 0), np.float32), items.shape[1]),
            items=in_lines(items, items.shape[1]),
            sure=sure,
            extras=Pairs.of(extras),
            transposed=Pairs.of(extras.T.tocsr()),
            lengths=(np.diff(sure.starts), np.bincount(sure.columns, minlength=weights.shape[1])),
        )

    def improve(self, how: FoldIn, workers: int) -> None:
        """One pass: all users' vectors from the items', then the other way."""
        with ThreadPoolExecutor(workers) as pool:
            self.improve_users(how, pool)
            self.improve_items(how, pool)

    def improve_users(self, how: FoldIn, pool: ThreadPoolExecutor) -> None:
        from steps.models.compiled.solving import sum_of_columns

        side = Side.of(self.users, self.items, self.extras, self.lengths[0], how, self.width, pool)
        lines, sure = by_lines(self.items), (self.sure.starts, self.sure.columns, self.sure.values)

        def solve(rows: slice) -> None:
            wanted = zeros(self.users[rows].shape)
            for block, of_items in enumerate(lines):
                sum_of_columns(wanted, rows.start, *sure, of_items, block)
            side.solve(rows, wanted)

        for _ in pool.map(solve, shares(self.sure.starts)):
            pass

    def improve_items(self, how: FoldIn, pool: ThreadPoolExecutor) -> None:
        from steps.models.compiled.solving import sum_of_rows

        side = Side.of(self.items, self.users, self.transposed, self.lengths[1], how, self.width, pool)
        wanted, sure = zeros(self.items.shape), (self.sure.starts, self.sure.columns, self.sure.values)

        def add_up(block: int) -> None:
            line = zeros((len(wanted), LINE))
            sum_of_rows(line, *sure, self.users, block)
            wanted[:, block * LINE : (block + 1) * LINE] = line

        for _ in pool.map(add_up, range(wanted.shape[1] // LINE)):
            pass
        for _ in pool.map(lambda rows: side.solve(rows, wanted[rows]), shares(self.transposed.starts)):
            pass

    def vectors(self) -> tuple[Floats, Floats]:
        """Of users and items, without what fills the lines."""
        return self.users[:, : self.width].copy(), self.items[:, : self.width].copy()


@dataclass(frozen=True)
class Side:
    """What the rows of one side have in common while they are solved."""

    into: Floats
    other: Floats
    extras: Pairs
    axes: Floats
    spread: Floats
    strength: Floats
    how: FoldIn
    warm: bool
    """Whether a row begins with its last vector. Where little but sums is asked for, turning that costs more."""

    @classmethod
    def of(
        cls,
        into: Floats,
        other: Floats,
        extras: Pairs,
        lengths: npt.NDArray[np.int64],
        how: FoldIn,
        width: int,
        pool: ThreadPoolExecutor,
    ) -> Self:
        """Turns the vectors of the other side to their main axes; see `least_squares.solve_side`."""
        own, warm = other[:, :width], len(extras) > MANY * lengths.sum()
        spread, axes = main_axes(own, pool)
        for _ in pool.map(lambda rows: turn(own, rows, axes), stretches(len(own), ROWS_AT_ONCE)):
            pass
        strength = strengths(lengths, len(other), how)
        require_determined(spread, strength, how)
        return cls(into, other, extras, axes, spread, strength, how, warm)

    def solve(self, rows: slice, wanted: Floats) -> None:
        """The vectors of some rows from the sums of what they want."""
        from steps.models.compiled.solving import solve_rows

        found, strength, width = self.into[rows], self.strength[rows], len(self.spread)
        if self.warm:
            turn(found[:, :width], slice(None), self.axes)
        extras = self.extras.starts, self.extras.columns, self.extras.values
        weights, limits = (self.spread, strength, np.float32(self.how.unobserved)), (np.float32(TOLERANCE), MOST_STEPS)
        settled = solve_rows(found, rows.start, wanted, extras, self.other, *weights, limits, self.warm)
        for row in np.flatnonzero(~settled):
            own = slice(*self.extras.starts[rows.start + row : rows.start + row + 2])
            diagonal = np.float32(self.how.unobserved) * self.spread + strength[row]
            columns, counts = self.extras.columns[own], self.extras.values[own]
            found[row, :width] = solved_directly(diagonal, columns, counts, wanted[row, :width], self.other[:, :width])


def counting_otherwise(weights: sp.csr_matrix, unobserved: float) -> sp.csr_matrix:
    """What pairs count more than those that never met, without those that count the same."""
    extra = np.abs(weights.data) - np.float32(unobserved)
    there = extra != 0
    if there.all():
        return sp.csr_matrix((extra, weights.indices, weights.indptr), weights.shape)
    starts = np.zeros(len(extra) + 1, np.int64)
    np.cumsum(there, out=starts[1:])
    return sp.csr_matrix((extra[there], weights.indices[there], starts[weights.indptr]), weights.shape)


def in_lines(vectors: Floats, width: int) -> Floats:
    """A copy whose rows are filled up with zeros to whole lines."""
    found = zeros((len(vectors), -(-width // LINE) * LINE))
    found[:, : vectors.shape[1]] = vectors
    return found


def by_lines(vectors: Floats) -> Floats:
    """The same numbers line by line: the first line of all rows, then the second."""
    found = zeros((vectors.shape[1] // LINE, len(vectors), LINE))
    found[:] = vectors.reshape(len(vectors), -1, LINE).swapaxes(0, 1)
    return found


def shares(starts: npt.NDArray[np.integer]) -> Iterator[slice]:
    """Rows that follow each other, cut where the work is about the same."""
    rows = len(starts) - 1
    work = starts.astype(np.int64) + np.arange(rows + 1)
    cuts = np.unique(np.append(np.searchsorted(work, np.linspace(0, work[-1], SHARES + 1)[:-1]), rows))
    yield from starmap(slice, pairwise(cuts.tolist()))
