"""A model whose score is a dot product, as aligned arrays: scored here with numpy, mapped from files by a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import UNKNOWN, Codes, IdTable
from steps.models.recommender import Floats, Recommendations, best, check_learned
from steps.models.signature import LOWEST

BLOCK_BYTES = 64 << 20
"""Scores held at once; more does not make the multiplication faster."""


@dataclass(frozen=True)
class Factors:
    """Everything that answers a request without the framework that trained the model."""

    users: IdTable
    items: IdTable
    user_factors: Floats
    item_factors: Floats
    trained: npt.NDArray[np.bool_]
    """Of each user, whether there was anything to learn from."""
    popularity: Floats
    """Of each item, its share of all purchases: what users get of whom nothing is known."""

    def __post_init__(self) -> None:
        users, items = len(self.users), len(self.items)
        shapes = {
            "user_factors": (self.user_factors.shape, (users, self.user_factors.shape[1])),
            "item_factors": (self.item_factors.shape, (items, self.user_factors.shape[1])),
            "trained": (self.trained.shape, (users,)),
            "popularity": (self.popularity.shape, (items,)),
        }
        for name, (found, wanted) in shapes.items():
            if found != wanted:
                raise ValueError(f"{name} has shape {found}, {wanted} is required")

    def check(self, name: str) -> None:
        check_learned(name, user_factors=self.user_factors, item_factors=self.item_factors)

    def known(self, users: Codes) -> npt.NDArray[np.bool_]:
        """Of each code, whether it is a user that was learned from."""
        return np.asarray((users != UNKNOWN) & self.trained[np.maximum(users, 0)])

    def score(self, users: Codes, items: Codes) -> Floats:
        """One score a pair; popularity for unknown users, zero for unknown items."""
        personal = np.einsum("ij,ij->i", self.user_factors[users], self.item_factors[items])
        scores = np.where(self.known(users), personal, self.popularity[items])
        return np.where(items != UNKNOWN, scores, 0).astype(np.float32)

    def score_all(self, users: Codes) -> Floats:
        """The scores of every item, a row a user."""
        scores = self.user_factors[users] @ self.item_factors.T
        scores[~self.known(users)] = self.popularity
        return np.asarray(scores, np.float32)

    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        """The k best items of each user without what `hidden` marks in the same row."""
        items = np.empty((len(users), k), np.int32)
        values = np.empty((len(users), k), np.float32)
        step = max(1, BLOCK_BYTES // (4 * max(len(self.items), 1)))
        for start in range(0, len(users), step):
            block = users[start : start + step]
            scores = self.score_all(block)
            if hidden is not None:
                hide(scores, hidden[start : start + step])
            items[start : start + step], values[start : start + step] = best(scores, k)
        return Recommendations(items, values, self.known(users))

    def save(self, folder: Path, seen: sp.csr_matrix) -> None:
        """Leaves one file an array; no pickle anywhere."""
        folder.mkdir(parents=True)
        self.users.save(folder, "users")
        self.items.save(folder, "items")
        arrays = {
            "user_factors": np.ascontiguousarray(self.user_factors, np.float32),
            "item_factors": np.ascontiguousarray(self.item_factors, np.float32),
            "trained": self.trained,
            "popularity": self.popularity.astype(np.float32),
            "seen.indptr": seen.indptr.astype(np.int64),
            "seen.indices": seen.indices.astype(np.int32),
        }
        for name, array in arrays.items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> tuple[Factors, sp.csr_matrix]:
        """Maps what `save` left: the factors, and what every user had bought."""

        def array(name: str) -> Any:
            return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

        factors = cls(
            IdTable.load(folder, "users"),
            IdTable.load(folder, "items"),
            array("user_factors"),
            array("item_factors"),
            array("trained"),
            array("popularity"),
        )
        indptr, indices = array("seen.indptr"), array("seen.indices")
        shape = (len(factors.users), len(factors.items))
        return factors, sp.csr_matrix((np.ones(len(indices), np.bool_), indices, indptr), shape)


def hide(scores: Floats, hidden: sp.csr_matrix) -> None:
    """Marks in each row of scores the items that the same row of `hidden` names."""
    rows = np.repeat(np.arange(len(scores)), np.diff(hidden.indptr))
    scores[rows, hidden.indices] = LOWEST


def rows_of(bought: sp.csr_matrix, users: Codes) -> sp.csr_matrix:
    """The rows of some users, an empty one for an unknown user."""
    rows = sp.csr_matrix(bought[np.maximum(users, 0)], copy=True)
    unknown = np.repeat(users == UNKNOWN, np.diff(rows.indptr))
    if unknown.any():
        rows.data[unknown] = 0
        rows.eliminate_zeros()
    return rows
