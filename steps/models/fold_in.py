"""Somebody's vector from what they bought, the items' vectors being fixed: by least squares, without a training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

LEAST_SHARE = 1e-9
"""Of the widest axis; what is narrower is left to a solver that does not divide by it."""


@dataclass(frozen=True)
class FoldIn:
    """How a least-squares model finds the vector of somebody from what they bought, with the items' vectors fixed."""

    confidence: float
    """How much a purchase counts."""
    unobserved: float
    """How much every other pair counts, its wanted score being zero."""
    regularization: float
    exponent: float = 0.0
    """The regularisation grows with this power of how much is known of somebody; 0 for not at all."""

    def strength(self, purchases: Any, items: int) -> Any:
        """The regularisation of somebody with so many purchases in a shop of so many items."""
        return self.regularization * (purchases + self.unobserved * items) ** self.exponent

    @property
    def more(self) -> float:
        """How much more a purchase counts than any other pair."""
        return self.confidence - self.unobserved


@dataclass(frozen=True)
class Folding:
    """The least squares of all items, solved once; a few purchases change them by as many dimensions, and no more.

    So a vector of 200 numbers takes a system of five equations for five purchases, instead of one of 200.
    """

    how: FoldIn
    items: int
    spread: Doubles
    axes: Doubles
    """Along these all products of the items' vectors with each other add up to `spread`, and across them to nothing."""

    @classmethod
    def of(cls, vectors: npt.NDArray[np.float32], how: FoldIn) -> Self:
        return cls(how, len(vectors), *np.linalg.eigh((vectors.T @ vectors).astype(np.float64)))

    def vector(self, bought: Doubles) -> Doubles:
        """Of somebody who bought just these, a row each."""
        return self.solved(bought, self.how.confidence * bought.sum(0))

    def solved(self, bought: Doubles, wanted: Doubles) -> Doubles:
        """What the least squares of somebody who bought these make of what is wanted."""
        diagonal = self.how.unobserved * self.spread + self.how.strength(len(bought), self.items)
        turned, more = bought @ self.axes, self.how.more
        narrow = diagonal.min() <= LEAST_SHARE * diagonal.max()
        if narrow or more <= 0 or len(bought) >= len(diagonal):
            system = (self.axes * diagonal) @ self.axes.T + more * bought.T @ bought
            return np.asarray(np.linalg.solve(system, wanted), np.float64)
        # The inverse of a matrix to which a few products of vectors were added, by its own inverse (Woodbury).
        alone = (wanted @ self.axes) / diagonal
        scaled = turned / diagonal
        change = np.linalg.solve(np.eye(len(bought)) / more + scaled @ turned.T, turned @ alone)
        return np.asarray(self.axes @ (alone - change @ scaled), np.float64)
