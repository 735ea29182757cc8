"""The solver of `als`: one side's vectors from the other's, exactly, many rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.factors import FoldIn
from steps.models.recommender import Floats

Rows = npt.NDArray[np.int64]

BLOCK_FLOATS = 4 << 20
"""Of gathered vectors, held at once by one worker: they stay near the processor."""


def solve_side(into: Floats, other: Floats, weights: sp.csr_matrix, how: FoldIn, workers: int) -> None:
    """Writes the best vectors of all rows of `weights`, given the vectors of its columns.

    `weights` holds the confidence of every pair that was observed; a negative one is a dislike, whose wanted score is
    zero. What comes out does not depend on the number of workers.
    """
    gram = how.unobserved * (other.T @ other)

    def solve(rows: Rows) -> None:
        into[rows] = solve_rows(rows, other, gram, weights, how)

    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(solve, blocks(weights, other.shape[1])):
            pass


def blocks(weights: sp.csr_matrix, width: int) -> Iterator[Rows]:
    """Rows of about the same length together, so that little is padded, and few enough to fit."""
    lengths = np.diff(weights.indptr)
    order = np.argsort(lengths, kind="stable").astype(np.int64)
    start = 0
    while start < len(order):
        # The last row of a block is its longest; a guess by the first is corrected by what it leads to.
        count = max(1, BLOCK_FLOATS // (width * max(int(lengths[order[start]]), width)))
        longest = int(lengths[order[min(start + count, len(order)) - 1]])
        count = max(1, min(count, BLOCK_FLOATS // (width * max(longest, width))))
        yield order[start : start + count]
        start += count


def solve_rows(rows: Rows, other: Floats, gram: Floats, weights: sp.csr_matrix, how: FoldIn) -> Floats:
    """The vectors of some rows; a row without purchases gets zeros."""
    starts, lengths = weights.indptr[rows], np.diff(weights.indptr)[rows]
    width, longest = other.shape[1], int(lengths.max(initial=0))
    if longest == 0:
        return np.zeros((len(rows), width), np.float32)
    places = starts[:, None] + np.arange(longest)
    there = np.arange(longest) < lengths[:, None]
    places = np.where(there, places, 0)
    confidence = np.where(there, weights.data[places], np.float32(0))
    vectors = other[weights.indices[places]]
    # Of a pair that is not there, neither the extra weight nor the wanted score counts.
    extra = np.where(there, np.abs(confidence) - np.float32(how.unobserved), np.float32(0))
    system = np.matmul((vectors * extra[:, :, None]).transpose(0, 2, 1), vectors)
    system += gram
    diagonal = np.arange(width)
    system[:, diagonal, diagonal] += how.strength(lengths, weights.shape[1]).astype(np.float32)[:, None]
    wanted = np.matmul(np.maximum(confidence, 0)[:, None, :], vectors)[:, 0, :]
    found: Floats = np.linalg.solve(system, wanted[:, :, None])[:, :, 0]
    return found
