"""Items that the same people bought: each item's nearest, and of a history those nearest to it together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.interactions import Interactions
from steps.models.item_to_item import ItemToItem
from steps.models.recommender import Floats, Places, Report
from steps.models.scorer_model import ScorerModel, shared
from steps.runtime.errors import UsageError

WEIGHTINGS = ("cosine", "tfidf", "bm25")
PAIRS_AT_ONCE = 1 << 20
"""So many pairs of items are compared together, about; the most popular item alone may make more."""
BM25_K1, BM25_B = 1.2, 0.75


@dataclass(frozen=True)
class ItemKNNSettings:
    """What makes two items near, and how many near ones count."""

    variants: ClassVar[tuple[Mapping[str, object], ...]] = ({"weighting": "cosine"}, {"weighting": "tfidf"})

    neighbours: int = 100
    weighting: str = "cosine"
    """cosine: every buyer counts alike; tfidf and bm25: one who buys everything says less of what goes together."""
    shrink: float = 10.0
    """Takes nearness from items with few buyers, where it may be chance."""

    def __post_init__(self) -> None:
        if not 1 <= self.neighbours <= 10_000:
            raise UsageError(f"item_knn.neighbours is {self.neighbours}: 1 to 10000 are allowed")
        if self.weighting not in WEIGHTINGS:
            raise UsageError(f"item_knn.weighting is {self.weighting!r}: one of {', '.join(WEIGHTINGS)}")
        if not self.shrink >= 0:
            raise UsageError(f"item_knn.shrink is {self.shrink}: it must not be negative")


class ItemKNN(ScorerModel):
    """A sparse matrix of nearness, for catalogues of any size."""

    name = "item_knn"
    settings_type = ItemKNNSettings

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        return {"neighbours": (20, 50, 100, 200, 400), "weighting": WEIGHTINGS, "shrink": ("log", 0.1, 200.0)}

    def learn(self, interactions: Interactions, seed: int, report: Report) -> ItemToItem:
        settings: ItemKNNSettings = self.settings
        liked = sp.csr_matrix(interactions.matrix.maximum(0))
        liked.eliminate_zeros()
        liked.data[:] = 1
        nearness = nearest(weighted(liked, settings.weighting), settings.neighbours, settings.shrink, report)
        part = np.arange(liked.shape[1], dtype=np.int32)
        return ItemToItem(shared(interactions), part, liked, nearness)


def weighted(liked: sp.csr_matrix, weighting: str) -> sp.csr_matrix:
    """What each purchase says: of somebody who bought much, each says less."""
    lengths = np.diff(liked.indptr)
    if weighting == "cosine":
        return liked
    items = liked.shape[1]
    rarity = np.log1p(items / np.maximum(lengths, 1))
    if weighting == "bm25":
        mean = max(float(lengths.mean()), 1e-9)
        rarity = rarity * (BM25_K1 + 1) / (1 + BM25_K1 * (1 - BM25_B + BM25_B * lengths / mean))
    return sp.csr_matrix(sp.diags_array(rarity.astype(np.float32)) @ liked)


def nearest(matrix: sp.csr_matrix, count: int, shrink: float, report: Report) -> sp.csr_matrix:
    """Of each item its nearest others by the shrunk cosine; `nearest[i, j]` is what having bought `i` says of `j`."""
    items = matrix.shape[1]
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=0), np.float64)).ravel()
    transposed = sp.csr_matrix(matrix.T)
    parts = []
    for block in blocks(matrix):
        together = sp.csr_matrix(transposed[block] @ matrix)
        rows = np.repeat(block, np.diff(together.indptr))
        near = together.data / (norms[rows] * norms[together.indices] + shrink)
        near[rows == together.indices] = 0
        parts.append(largest(near.astype(np.float32), together.indices, together.indptr, count, items))
        report(int(block[-1]) + 1, items)
    # A row holds the neighbours of one item: what was bought adds to whose neighbour it is.
    return sp.csr_matrix(sp.vstack(parts, format="csr").T)


def blocks(matrix: sp.csr_matrix) -> list[Places]:
    """The items in turn, as many at once as have about so many pairs with others; of popular ones that is a few."""
    users, items = matrix.shape
    lengths = np.diff(matrix.indptr)
    met = np.bincount(matrix.indices, lengths[np.repeat(np.arange(users), lengths)], items)
    number = np.cumsum(np.minimum(met, items)) // PAIRS_AT_ONCE
    return np.split(np.arange(items), np.flatnonzero(np.diff(number)) + 1)


def largest(
    values: Floats, columns: npt.NDArray[np.int32], starts: npt.NDArray[np.int32], count: int, width: int
) -> sp.csr_matrix:
    """The matrix with only the `count` largest positive values of each row; of equals those of the lower columns."""
    kept = values > 0
    for row in np.flatnonzero(np.diff(starts) > count):
        part = slice(starts[row], starts[row + 1])
        kept[part] &= first(values[part], columns[part], count)
    left = np.concatenate([[0], np.cumsum(kept)])[starts]
    return sp.csr_matrix((values[kept], columns[kept], left), (len(starts) - 1, width))


def first(values: Floats, columns: npt.NDArray[np.int32], count: int) -> npt.NDArray[np.bool_]:
    """Which of one row are the `count` largest: to sort all of a row takes many times longer than to part it."""
    least = np.partition(values, len(values) - count)[len(values) - count]
    chosen = values > least
    ties = np.flatnonzero(values == least)
    chosen[ties[np.argsort(columns[ties])[: count - np.count_nonzero(chosen)]]] = True
    return np.asarray(chosen)
