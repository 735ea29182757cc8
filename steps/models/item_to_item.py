"""A model that scores by what was bought before: a user's history times a matrix of items × items."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.recommender import Floats, check_learned
from steps.models.scorer import Scorer, Shared, load_array, require_shapes, save_arrays
from steps.runtime.errors import CheckFailedError

Weights = Floats | sp.csr_matrix

PAIRS_AT_ONCE = 1024


@dataclass(frozen=True)
class ItemToItem(Scorer):
    """Row `i` of `weights` is what having bought item `i` adds to the score of every item."""

    kind: ClassVar[str] = "item_to_item"

    shared: Shared
    part: Codes
    """The items that take part, ascending: rows and columns of the two matrices. All others have the score zero."""
    history: sp.csr_matrix
    """Users × these items: what was learned from, weighted as the model weights it."""
    weights: Weights
    """A dense array or, where most of it is zero, a sparse one."""
    bought: float = 1.0
    """The weight in a history of one purchase of which nothing else is known."""

    def __post_init__(self) -> None:
        require_shapes(
            {
                "history": (self.history.shape, (len(self.users), len(self.part))),
                "weights": (self.weights.shape, (len(self.part), len(self.part))),
            }
        )

    def check(self, name: str) -> None:
        check_learned(name, histories=self.history.data)
        # Weights of nothing but zero are what there is to learn where nobody bought two items.
        values = self.weights.data if sp.issparse(self.weights) else self.weights
        if not np.isfinite(np.asarray(values)).all():
            raise CheckFailedError(f"{name}: weights hold values that are not finite; try more regularization")

    def personal(self, users: Codes) -> Floats:
        return self._spread(self.history[users] @ self.weights)

    def pairs(self, users: Codes, items: Codes) -> Floats:
        found = np.zeros(len(users), np.float32)
        place = np.minimum(np.searchsorted(self.part, items), max(len(self.part) - 1, 0))
        takes_part = np.flatnonzero(self.part[place] == items)
        for start in range(0, len(takes_part), PAIRS_AT_ONCE):
            rows = takes_part[start : start + PAIRS_AT_ONCE]
            columns, column = np.unique(place[rows], return_inverse=True)
            scores = _dense(self.history[users[rows]] @ self.weights[:, columns])
            found[rows] = scores[np.arange(len(rows)), column]
        return found

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        known = sp.csr_matrix(histories[:, self.part])
        return self._spread(known @ self.weights * np.float32(self.bought)) if known.nnz else None

    def alike(self, item: int) -> Floats:
        """What having bought each other item says of this one: of `item_knn` the item's own nearest."""
        return np.asarray(self._spread(self._column(item)[None])[0])

    def parts(self, user: int, bought: Codes, item: int) -> Floats:
        """Exactly what the score is the sum of; what was bought since the model was trained adds nothing."""
        learnt = self.history[[user]]
        added = np.zeros(len(self.items), np.float32)
        added[self.part[learnt.indices]] = learnt.data * self._column(item)[learnt.indices]
        return added[bought]

    def _column(self, item: int) -> Floats:
        """What each item that takes part adds to the score of one; zeros for an item that takes none."""
        place = int(np.searchsorted(self.part, item))
        if place == len(self.part) or self.part[place] != item:
            return np.zeros(len(self.part), np.float32)
        return _dense(self._columns[:, [place]])[:, 0]

    @cached_property
    def _columns(self) -> Any:
        """The weights with their columns at hand; made when somebody first asks for one."""
        return self.weights.tocsc() if sp.issparse(self.weights) else self.weights

    def _spread(self, scores: Any) -> Floats:
        """Over all items."""
        if len(self.part) == len(self.items):
            return _dense(scores)
        spread = np.zeros((scores.shape[0], len(self.items)), np.float32)
        spread[:, self.part] = _dense(scores)
        return spread

    def write(self, folder: Path) -> Mapping[str, Any]:
        save_arrays(folder, {"part": self.part.astype(np.int32)})
        save_sparse(folder, "history", self.history)
        if sp.issparse(self.weights):
            save_sparse(folder, "weights", self.weights)
        else:
            save_arrays(folder, {"weights": np.asarray(self.weights, np.float32)})
        return {"bought": self.bought, "sparse": bool(sp.issparse(self.weights))}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        part = load_array(folder, "part")
        square = (len(part), len(part))
        history = load_sparse(folder, "history", (len(shared.users), len(part)))
        weights = load_sparse(folder, "weights", square) if about["sparse"] else load_array(folder, "weights")
        return cls(shared, part, history, weights, float(about["bought"]))


def _dense(scores: Any) -> Floats:
    return np.asarray(scores.toarray() if isinstance(scores, sp.csr_matrix | sp.csc_matrix) else scores, np.float32)


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
