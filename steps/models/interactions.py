"""Who bought what: the one value object that every model is fitted on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import UNKNOWN, Codes, IdTable

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
    segment: Codes | None = field(default=None, repr=False, compare=False)
    """Of each user the group of customers that it belongs to, UNKNOWN for none; None where there are no groups."""
    shrink: float = 100.0
    """So many purchases of everybody are added to those of a group: a small one is like all."""

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
            counts = _counted(self.details.history(), self.half_life, None, 1, len(self.items))
            return np.asarray(counts[0], np.float32)
        positive = self.matrix.maximum(0) if (self.matrix.data < 0).any() else self.matrix
        return np.asarray(positive.sum(axis=0), np.float32).ravel()

    @cached_property
    def favourites(self) -> npt.NDArray[np.float32] | None:
        """A row a group of customers: of each item its share of what they buy; None where there are no groups."""
        if self.segment is None:
            return None
        history = self.details.history() if self.details else self.history
        groups = int(self.segment.max(initial=UNKNOWN)) + 1
        counts = _counted(history, self.half_life, self.segment, groups, len(self.items))
        overall = self.popularity / max(float(self.popularity.sum()), 1e-9)
        shares = (counts + self.shrink * overall) / np.maximum(counts.sum(1, keepdims=True) + self.shrink, 1e-9)
        return np.asarray(shares, np.float32)


def _counted(
    history: History, half_life: float, row_of_user: Codes | None, rows: int, items: int
) -> npt.NDArray[np.float64]:
    """Rows × items: what is left of the purchases of each item, seen from the newest of all where they have times."""
    counts = np.zeros(rows * items)
    fades = half_life > 0 and history.time is not None and len(history.time) > 0
    newest = int(history.time.max()) if fades and history.time is not None else 0
    for start in range(0, len(history.item), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        left = np.maximum(history.weight[part], 0).astype(np.float64)
        if fades and history.time is not None:
            left *= 0.5 ** ((newest - history.time[part]) / (DAY * half_life))
        row = np.zeros(len(left), np.int64) if row_of_user is None else row_of_user[history.user[part]].astype(np.int64)
        known = row != UNKNOWN
        counts += np.bincount(row[known] * items + history.item[part][known], left[known], rows * items)
    return counts.reshape(rows, items)


def _nothing(rows: int) -> sp.csr_matrix:
    return sp.csr_matrix(np.zeros((rows, 0), np.float32))
