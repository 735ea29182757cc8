"""Who bought what: the one value object that every model is fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import Codes, IdTable

DAY = 24 * 3600 * 1_000_000
"""In microseconds."""
AT_ONCE = 1 << 20
"""Purchases that are counted together."""


@dataclass(frozen=True)
class History:
    """One entry a purchase, by user, and each user's in the order in which they were made."""

    user: Codes
    item: Codes
    weight: npt.NDArray[np.float32]
    time: npt.NDArray[np.int64] | None
    """Microseconds since 1970; None where the order of the purchases is not known."""


@dataclass(frozen=True)
class Details:
    """What only some families ask for: each is made when it is asked for."""

    history: Callable[[], History]
    user_features: Callable[[], sp.csr_matrix]
    """A row a user and a column a word, as `features.bags` makes it."""
    item_features: Callable[[], sp.csr_matrix]


@dataclass(frozen=True)
class Interactions:
    """Users × items with the summed weight of their purchases, and the ids behind rows and columns.

    Rows and columns cover every id of the snapshot; a user without purchases in the chosen split is an empty row.
    """

    users: IdTable
    items: IdTable
    matrix: sp.csr_matrix
    """float32, int32 indices, sorted, without duplicates or explicit zeros."""
    details: Details | None = field(default=None, repr=False, compare=False)
    half_life: float = 0.0
    """Days after which a purchase counts half towards what is popular; 0 for never."""

    def __post_init__(self) -> None:
        if self.matrix.shape != (len(self.users), len(self.items)):
            raise ValueError(
                f"the matrix has shape {self.matrix.shape}, but there are {len(self.users)} users "
                f"and {len(self.items)} items"
            )
        if self.matrix.dtype != np.float32:
            raise ValueError(f"weights are {self.matrix.dtype}: float32 is required")
        if not np.isfinite(self.matrix.data).all():
            raise ValueError("a weight is not finite")

    @classmethod
    def of(
        cls,
        users: IdTable,
        items: IdTable,
        user: npt.NDArray[np.integer],
        item: npt.NDArray[np.integer],
        weight: npt.NDArray[np.floating],
        details: Details | None = None,
    ) -> Interactions:
        """From one entry a purchase; the weights of a user's purchases of one item are summed."""
        if not len(user) == len(item) == len(weight):
            raise ValueError(f"{len(user)} users, {len(item)} items and {len(weight)} weights: lengths differ")
        shape = (len(users), len(items))
        matrix = sp.csr_matrix((np.asarray(weight, np.float32), (user.astype(np.int32), item.astype(np.int32))), shape)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        return cls(users, items, matrix, details)

    @cached_property
    def history(self) -> History:
        """The single purchases; from the matrix, in no known order, where nothing more is known."""
        if self.details:
            return self.details.history()
        pairs = self.matrix.tocoo()
        return History(pairs.row.astype(np.int32), pairs.col.astype(np.int32), pairs.data, None)

    @cached_property
    def user_features(self) -> sp.csr_matrix:
        """What is known of each user, a row each; without columns where nothing is."""
        return self.details.user_features() if self.details else _nothing(len(self.users))

    @cached_property
    def item_features(self) -> sp.csr_matrix:
        return self.details.item_features() if self.details else _nothing(len(self.items))

    @cached_property
    def popularity(self) -> npt.NDArray[np.float32]:
        """Of each item how much it is bought: the positive weight of its purchases, the older the less."""
        if self.half_life and self.details:
            # The history is asked for anew and not kept: of a large shop it takes more room than all else.
            faded = _faded(self.details.history(), self.half_life, len(self.items))
            if faded is not None:
                return faded
        positive = self.matrix.maximum(0) if (self.matrix.data < 0).any() else self.matrix
        return np.asarray(positive.sum(axis=0), np.float32).ravel()


def _faded(history: History, half_life: float, items: int) -> npt.NDArray[np.float32] | None:
    """What is left of the purchases of each item, seen from the newest of all; None where they have no times."""
    if history.time is None or not len(history.time):
        return None
    newest = int(history.time.max())
    left = np.zeros(items)
    for start in range(0, len(history.item), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        age = (newest - history.time[part]) / (DAY * half_life)
        left += np.bincount(history.item[part], np.maximum(history.weight[part], 0) * 0.5**age, items)
    return left.astype(np.float32)


def _nothing(rows: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.zeros((rows, 0), np.float32))
