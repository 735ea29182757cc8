"""The solver of `als`: one side's vectors from the other's, many rows at once, by conjugate gradients."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.fold_in import FoldIn
from steps.models.portions import stretches
from steps.models.recommender import Floats

Rows = npt.NDArray[np.int64]

BLOCK_FLOATS = 1 << 18
"""Of gathered vectors, held at once by one worker: they stay near the processor."""
LONGEST = 1 << 24
"""A row whose vectors hold more numbers than this is summed up piece by piece."""
ROWS_AT_ONCE = 1 << 14
"""Of a side that is multiplied as a whole."""
TOLERANCE = 1e-5
"""How much of what is asked for may be left over when the steps end."""
MOST_STEPS = 30
"""A row that has not settled by then is solved directly."""


@dataclass(frozen=True)
class Sides:
    """The vectors of users and items while they are learned, and how sure each pair is.

    Both are kept in the order of how many pairs they have: rows of one length are solved together without padding,
    and the vectors that are asked for most lie next to each other.
    """

    users: Floats
    items: Floats
    weights: sp.csr_matrix
    """Users × items: the confidence of every pair that was observed; below zero it is a dislike, wanted at zero."""
    transposed: sp.csr_matrix
    user_order: Rows
    item_order: Rows

    @classmethod
    def of(cls, weights: sp.csr_matrix, items: Floats) -> Self:
        """From the first vectors of the items, in the order of the columns."""
        user_order = np.argsort(np.diff(weights.indptr), kind="stable")
        item_order = np.argsort(weights.getnnz(axis=0), kind="stable")
        place = np.empty(len(item_order), np.int32)
        place[item_order] = np.arange(len(item_order), dtype=np.int32)
        rows = weights[user_order]
        ordered = sp.csr_matrix((rows.data, place[rows.indices], rows.indptr), rows.shape)
        users = np.zeros((len(user_order), items.shape[1]), np.float32)
        return cls(users, items[item_order], ordered, ordered.T.tocsr(), user_order, item_order)

    def improve(self, how: FoldIn, workers: int) -> None:
        """One pass: all users' vectors from the items', then the other way."""
        with ThreadPoolExecutor(workers) as pool:
            solve_side(self.users, self.items, self.weights, how, pool)
            solve_side(self.items, self.users, self.transposed, how, pool)

    def vectors(self) -> tuple[Floats, Floats]:
        """Of users and items, in the order of the matrix that this was made of."""
        users, items = np.empty_like(self.users), np.empty_like(self.items)
        users[self.user_order], items[self.item_order] = self.users, self.items
        return users, items


def solve_side(into: Floats, other: Floats, weights: sp.csr_matrix, how: FoldIn, pool: ThreadPoolExecutor) -> None:
    """Writes the best vectors of all rows of `weights`, given the vectors of its columns.

    Both sides are first turned to the main axes of `other`, which changes no score. There the part of every row's
    system that stems from the pairs that never met is a diagonal, and conjugate gradients divide by it: what is left
    to find are the few pairs of the row itself, in a few steps from where the last pass ended.

    What comes out does not depend on the number of workers.
    """
    spread, axes = main_axes(other, pool)
    for _ in pool.map(lambda rows: turn(other, rows, axes), stretches(len(other), ROWS_AT_ONCE)):
        pass

    lengths = np.diff(weights.indptr)
    strength = strengths(lengths, weights.shape[1], how)
    require_determined(spread, strength, how)

    def solve(rows: slice) -> None:
        turn(into, rows, axes)
        into[rows] = solve_rows(into[rows], rows, other, weights, how, spread, strength[rows])

    for _ in pool.map(solve, blocks(lengths, other.shape[1])):
        pass


def main_axes(vectors: Floats, pool: ThreadPoolExecutor) -> tuple[Floats, Floats]:
    """The axes along which all products of the vectors with each other add up to nothing, and their own sums."""

    def part(rows: slice) -> npt.NDArray[np.float64]:
        return np.asarray(vectors[rows].T @ vectors[rows], np.float64)

    gram = sum(pool.map(part, stretches(len(vectors), ROWS_AT_ONCE)), np.zeros((vectors.shape[1],) * 2))
    spread, axes = np.linalg.eigh(gram)
    # What lies below the rounding of the products is nothing.
    spread[spread < np.finfo(np.float32).eps * spread[-1]] = 0
    return spread.astype(np.float32), axes.astype(np.float32)


def turn(vectors: Floats, rows: slice, axes: Floats) -> None:
    vectors[rows] = vectors[rows] @ axes


def blocks(lengths: npt.NDArray[np.integer], width: int) -> Iterator[slice]:
    """Rows that follow each other: few enough to fit, and little is padded where they go by length."""
    start = 0
    while start < len(lengths):
        # As many as fit by the first, then by the longest of those.
        count = max(1, BLOCK_FLOATS // (width * max(int(lengths[start]), 1)))
        longest = int(lengths[start : start + count].max())
        count = max(1, min(count, BLOCK_FLOATS // (width * max(longest, 1))))
        yield slice(start, min(start + count, len(lengths)))
        start += count


def require_determined(spread: Floats, strength: Floats, how: FoldIn) -> None:
    if not how.unobserved * spread.min() + strength.min(initial=1) > 0:
        raise np.linalg.LinAlgError("pairs that never met leave a vector open, and nothing else keeps it small")


def strengths(lengths: npt.NDArray[np.integer], columns: int, how: FoldIn) -> Floats:
    """How strongly the vector of each row is kept small."""
    # Without pairs nothing is wanted, and zeros are the answer, however strongly they are asked for.
    return np.where(lengths > 0, how.strength(lengths, columns), 1).astype(np.float32)


def solve_rows(
    guess: Floats, rows: slice, other: Floats, weights: sp.csr_matrix, how: FoldIn, spread: Floats, strength: Floats
) -> Floats:
    """The vectors of some rows, along the main axes of `other`; a row without pairs gets zeros."""
    starts = weights.indptr[rows.start : rows.stop + 1]
    lengths, pairs = np.diff(starts), slice(starts[0], starts[-1])
    if pairs.start == pairs.stop:
        return np.zeros_like(guess)
    diagonal = np.float32(how.unobserved) * spread + strength[:, None]
    columns, confidence = weights.indices[pairs], weights.data[pairs]
    if len(lengths) == 1 and len(columns) * other.shape[1] > LONGEST:
        return solve_directly(diagonal[0], columns, confidence, other, how)[None]
    block = Block.of(lengths, columns, confidence, diagonal, other, how)
    found, settled = block.descend(guess)
    for row in np.flatnonzero(~settled):
        own = slice(starts[row], starts[row + 1])
        found[row] = solve_directly(diagonal[row], weights.indices[own], weights.data[own], other, how)
    return found


@dataclass(frozen=True)
class Block:
    """The systems of some rows: of each the diagonal, and the vectors of its pairs with what they weigh."""

    diagonal: Floats
    vectors: Floats
    """Rows × pairs × width; where a row has fewer pairs than the longest, the rest weighs nothing."""
    extra: Floats
    """Of each pair, what it counts more than one that never met."""
    wanted: Floats
    """The right side, a row each."""

    @classmethod
    def of(
        cls,
        lengths: npt.NDArray[np.integer],
        columns: npt.NDArray[np.integer],
        confidence: Floats,
        diagonal: Floats,
        other: Floats,
        how: FoldIn,
    ) -> Self:
        extra, sure = np.abs(confidence) - np.float32(how.unobserved), np.maximum(confidence, 0)
        longest = int(lengths.max())
        if lengths.min() < longest:
            there = np.arange(longest) < lengths[:, None]
            columns, extra, sure = (_padded(values, there) for values in (columns, extra, sure))
        shape = (len(lengths), longest)
        vectors = other[columns].reshape(*shape, other.shape[1])
        wanted = np.matmul(sure.reshape(len(lengths), 1, longest), vectors)[:, 0]
        return cls(diagonal, vectors, extra.reshape(shape), wanted)

    def times(self, x: Floats) -> Floats:
        """The left side."""
        products = np.matmul(self.vectors, x[:, :, None])[:, :, 0]
        products *= self.extra
        found: Floats = np.matmul(products[:, None, :], self.vectors)[:, 0]
        found += self.diagonal * x
        return found

    def descend(self, guess: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Conjugate gradients from a guess, until every row has settled; says which have."""
        inverse = np.reciprocal(self.diagonal)
        enough = TOLERANCE**2 * dot(self.wanted, inverse * self.wanted)
        if not self.extra.any():
            return inverse * self.wanted, np.ones(len(guess), np.bool_)
        # Where nothing is wanted the answer is zero, and no rest is small beside it.
        x = guess * (enough > 0)[:, None]
        rest = self.wanted - self.times(x)
        step = inverse * rest
        size = dot(rest, step)
        for _ in range(MOST_STEPS):
            if (size <= enough).all():
                break
            product = self.times(step)
            far = _divided(size, dot(step, product))[:, None]
            x += far * step
            rest -= far * product
            towards = inverse * rest
            before, size = size, dot(rest, towards)
            step *= _divided(size, before)[:, None]
            step += towards
        return x, size <= enough


def solve_directly(
    diagonal: Floats, columns: npt.NDArray[np.integer], confidence: Floats, other: Floats, how: FoldIn
) -> Floats:
    """The vector of one row, however long it is."""
    wanted = np.zeros(len(diagonal))
    for part in stretches(len(columns), ROWS_AT_ONCE):
        wanted += np.maximum(confidence[part], 0) @ other[columns[part]]
    return solved_directly(diagonal, columns, np.abs(confidence) - np.float32(how.unobserved), wanted, other)


def solved_directly(
    diagonal: Floats, columns: npt.NDArray[np.integer], extra: Floats, wanted: npt.NDArray[Any], other: Floats
) -> Floats:
    """What is wanted, divided by the system of one row."""
    system = np.diag(diagonal).astype(np.float64)
    for part in stretches(len(columns), ROWS_AT_ONCE):
        vectors = other[columns[part]]
        system += (vectors * extra[part][:, None]).T @ vectors
    return np.asarray(np.linalg.solve(system, wanted), np.float32)


def dot(one: Floats, other: Floats) -> Floats:
    """Of each row of one with the same row of the other."""
    found: Floats = np.einsum("ij,ij->i", one, other)
    return found


def _padded(values: npt.NDArray[Any], there: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    """What follows each other in rows of different lengths, as rows of one length that end in zeros."""
    rows = np.zeros(there.shape, values.dtype)
    rows[there] = values
    return rows


def _divided(one: Floats, by: Floats) -> Floats:
    """Zero where nothing is left to divide."""
    return np.divide(one, by, out=np.zeros_like(one), where=by > 0)
