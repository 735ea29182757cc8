"""EASE (Steck, 2019): the matrix of items × items that best rebuilds every history from its other items, at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.linalg import lapack

from steps.models.interactions import Interactions
from steps.models.item_to_item import ItemToItem
from steps.models.recommender import Floats, Report
from steps.models.scorer_model import ScorerModel, shared
from steps.runtime.errors import CheckFailedError, UsageError

STRETCHES = (8, 16, 32, 64)
"""Purchases in a row that make a history of their own."""
COLUMNS_AT_ONCE = 512

Square = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EaseSettings:
    """What is kept small, and what takes part."""

    variants: ClassVar[tuple[Mapping[str, object], ...]] = ({"stretches": False}, {"stretches": True})

    regularization: float = 250.0
    """For whole histories; where stretches are learned from too, it grows with the root of what is counted."""
    stretches: bool = False
    """Also learns from every history cut into runs of 8, 16, 32 and 64: what was bought near each other counts more."""
    least_buyers: int = 3
    """An item with fewer takes no part: the matrix grows with the square of the items, its worth does not."""
    most_items: int = 20_000
    """More items than this are refused: 20,000 take 3.2 GB while learning and 1.6 GB afterwards."""

    def __post_init__(self) -> None:
        if not self.regularization > 0:
            raise UsageError(f"ease.regularization is {self.regularization}: it must be above zero")
        if not self.least_buyers >= 1:
            raise UsageError(f"ease.least_buyers is {self.least_buyers}: it must be at least 1")
        if not self.most_items >= 1:
            raise UsageError(f"ease.most_items is {self.most_items}: it must be at least 1")


class Ease(ScorerModel):
    """Closed form: one inverse of a matrix of items × items."""

    name = "ease"
    settings_type = EaseSettings

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        return {"regularization": ("log", 10.0, 5000.0), "stretches": (False, True)}

    def unfit(self, items: int) -> str:
        if items <= self.settings.most_items:
            return ""
        most = self.settings.most_items
        return f"ease needs a matrix of items × items, and {items:,} items are more than ease.most_items={most}"

    def learn(self, interactions: Interactions, seed: int, report: Report) -> ItemToItem:
        settings: EaseSettings = self.settings
        matrix = interactions.matrix
        ones = np.ones(matrix.nnz, np.float32) * (matrix.data > 0)
        # A copy, because taking out the zeros moves the indices, which others learn from too.
        liked = sp.csr_matrix((ones, matrix.indices, matrix.indptr), matrix.shape, copy=True)
        liked.eliminate_zeros()
        buyers = liked.getnnz(axis=0)
        # A shop so small that every item has one buyer still has something to learn from.
        part = np.flatnonzero(buyers >= min(settings.least_buyers, buyers.max(initial=1))).astype(np.int32)
        if not len(part):
            raise CheckFailedError("ease: the matrix is all zero; there was nothing to learn")
        too_many = self.unfit(len(part))
        if too_many:
            raise UsageError(f"{too_many}; leave it out, or raise ease.least_buyers")
        history = sp.csr_matrix(liked[:, part])
        planned = 2 + len(STRETCHES) * settings.stretches
        together = np.zeros((len(part), len(part)))
        add_together(together, history)
        report(1, planned)
        counted = together.trace()
        if settings.stretches:
            for done, runs in enumerate(in_runs(interactions, part, seed), 2):
                add_together(together, runs)
                report(done, planned)
        weights = solve(together, settings.regularization * math.sqrt(together.trace() / counted))
        report(planned, planned)
        return ItemToItem(shared(interactions), part, history, weights)


def add_together(together: Square, histories: sp.csr_matrix) -> None:
    """Adds how often each two items are in one history."""
    transposed = histories.T.tocsr()
    columns = histories.tocsc()
    for start in range(0, together.shape[1], COLUMNS_AT_ONCE):
        block = slice(start, start + COLUMNS_AT_ONCE)
        together[:, block] += (transposed @ columns[:, block]).toarray()


def in_runs(interactions: Interactions, part: npt.NDArray[np.int32], seed: int) -> Iterator[sp.csr_matrix]:
    """The histories cut into runs, one length after another so that only one is in memory: runs × items."""
    history = interactions.history
    place = np.full(len(interactions.items), -1, np.int64)
    place[part] = np.arange(len(part))
    kept = (history.weight > 0) & (place[history.item] >= 0)
    user, item = history.user[kept], place[history.item[kept]]
    if history.time is None:
        order = np.random.default_rng(seed).permutation(len(user))
        order = order[np.argsort(user[order], kind="stable")]
        user, item = user[order], item[order]
    first = np.searchsorted(user, user)
    nth = np.arange(len(user)) - first
    for length in STRETCHES:
        starts = np.flatnonzero((nth % length == 0) | (nth == 0))
        rows = sp.csr_matrix(
            (np.ones(len(item), np.float32), item, np.append(starts, len(item))), (len(starts), len(part))
        )
        rows.sum_duplicates()
        rows.data[:] = 1
        yield rows


def solve(together: Square, regularization: float) -> Floats:
    """The weights with a zero diagonal that rebuild best; `together` is used up."""
    together[np.diag_indices_from(together)] += regularization
    # Symmetric: the other order of its entries is itself, and LAPACK works in place on that.
    factor, failed = lapack.dpotrf(together.T, lower=1, overwrite_a=1)
    inverse, failed_too = lapack.dpotri(factor, lower=1, overwrite_c=1)
    if failed or failed_too:
        raise CheckFailedError("ease: the matrix has no inverse; try more regularization")
    diagonal = inverse.diagonal().copy()
    weights = np.empty(together.shape, np.float32)
    for start in range(0, len(diagonal), COLUMNS_AT_ONCE):
        block = slice(start, start + COLUMNS_AT_ONCE)
        # Only the lower triangle was written.
        weights[start:, block] = inverse[start:, block]
        weights[block, start:] = inverse[start:, block].T
        corner = inverse[block, block]
        weights[block, block] = np.tril(corner) + np.tril(corner, -1).T
    weights /= -diagonal.astype(np.float32)
    np.fill_diagonal(weights, 0)
    return weights
