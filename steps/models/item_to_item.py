"""A model that scores by what was bought before: a user's history times a matrix of items × items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.recommender import Floats, check_learned
from steps.models.scorer import Scorer, Shared, load_array, require_shapes, save_arrays

Weights = Floats | sp.csr_matrix

PAIRS_AT_ONCE = 1024


@dataclass(frozen=True)
class ItemToItem(Scorer):
    """Row `i` of `weights` is what having bought item `i` adds to the score of every item."""

    kind: ClassVar[str] = "item_to_item"

    shared: Shared
    history: sp.csr_matrix
    """Users × items: what was learned from, weighted as the model weights it."""
    weights: Weights
    """A dense array or, where most of it is zero, a sparse one."""
    bought: float = 1.0
    """The weight in a history of one purchase of which nothing else is known."""

    def __post_init__(self) -> None:
        users, items = len(self.users), len(self.items)
        require_shapes(
            {
                "history": (self.history.shape, (users, items)),
                "weights": (self.weights.shape, (items, items)),
            }
        )

    def check(self, name: str) -> None:
        values = self.weights.data if sp.issparse(self.weights) else self.weights
        check_learned(name, history=self.history.data, weights=np.asarray(values))

    def personal(self, users: Codes) -> Floats:
        return self._times_weights(self.history[users])

    def pairs(self, users: Codes, items: Codes) -> Floats:
        found = np.empty(len(users), np.float32)
        for start in range(0, len(users), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            columns, place = np.unique(items[part], return_inverse=True)
            scores = self.history[users[part]] @ self.weights[:, columns]
            dense = scores.toarray() if sp.issparse(scores) else scores
            found[part] = dense[np.arange(len(place)), place]
        return found

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        return self._times_weights(histories * np.float32(self.bought))

    def _times_weights(self, histories: sp.csr_matrix) -> Floats:
        scores = histories @ self.weights
        return np.asarray(scores.toarray() if sp.issparse(scores) else scores, np.float32)

    def write(self, folder: Path) -> Mapping[str, Any]:
        save_sparse(folder, "history", self.history)
        if sp.issparse(self.weights):
            save_sparse(folder, "weights", self.weights)
        else:
            save_arrays(folder, {"weights": np.asarray(self.weights, np.float32)})
        return {"bought": self.bought, "sparse": bool(sp.issparse(self.weights))}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        items = len(shared.items)
        history = load_sparse(folder, "history", (len(shared.users), items))
        weights = load_sparse(folder, "weights", (items, items)) if about["sparse"] else load_array(folder, "weights")
        return cls(shared, history, weights, float(about["bought"]))


def save_sparse(folder: Path, name: str, matrix: sp.csr_matrix) -> None:
    save_arrays(
        folder,
        {
            f"{name}.indptr": matrix.indptr.astype(np.int64),
            f"{name}.indices": matrix.indices.astype(np.int32),
            f"{name}.data": matrix.data.astype(np.float32),
        },
    )


def load_sparse(folder: Path, name: str, shape: tuple[int, int]) -> sp.csr_matrix:
    data, indices, indptr = (load_array(folder, f"{name}.{part}") for part in ("data", "indices", "indptr"))
    return sp.csr_matrix((data, indices, indptr), shape)
