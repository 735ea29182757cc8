"""The best items of many users by dot products, exactly, although most of the products are never made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.recommender import LEAST, Floats, at_least, ranked
from steps.models.signature import LOWEST

SCORES_AT_ONCE = 1 << 22
"""They stay near the processor."""
FIRST_ITEMS = 1024
"""The longest vectors, by which it is seen what a score must reach; many more than are asked for."""
FIRST_OF_EACH = 32
"""So many of them at least for each item that is asked for."""
PAIRS_AT_ONCE = 1 << 14
LEAST_USERS = 64
"""Fewer are answered one by one, or from all scores where there are few items."""


def pays(users: int, items: int, k: int) -> bool:
    """Whether there are so many users and items that looking at the longest vectors first is worth it."""
    return users >= LEAST_USERS and items >= 4 * max(FIRST_ITEMS, FIRST_OF_EACH * k)


@dataclass(frozen=True)
class Found:
    """The best items of some users, as `best` has them, and how many scores were calculated for that."""

    items: Codes
    scores: Floats
    calculated: int


@dataclass(frozen=True)
class LongestFirst:
    """The vectors of all items, the longest first.

    A product is at most as large as the lengths of both vectors multiplied. So once it is known what the best items
    of a user reach, vectors too short for that need not be looked at: of a shop's items that is nearly all.
    """

    vectors: Floats
    lengths: npt.NDArray[np.float64]
    codes: Codes
    place: Codes
    """Of each code."""

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        lengths = lengths_of(vectors)
        codes = np.argsort(-lengths, kind="stable").astype(np.int32)
        return cls.sorted(np.ascontiguousarray(vectors[codes]), lengths[codes], codes)

    @classmethod
    def sorted(cls, vectors: Floats, lengths: npt.NDArray[np.float64], codes: Codes) -> Self:
        """From what `of` has sorted before. Of arrays that are mapped nothing is copied."""
        place = np.empty(len(codes), np.int32)
        place[codes] = np.arange(len(codes), dtype=np.int32)
        return cls(np.asarray(vectors), np.asarray(lengths), np.asarray(codes), place)

    def best(self, users: Floats, k: int, hidden: sp.csr_matrix | None = None) -> Found:
        """The k best items of each vector of `users` without what `hidden` marks in the same row.

        Ties go to the lower code. The scores do not depend on who else is asked for.
        """
        found = Found(np.empty((len(users), k), np.int32), np.empty((len(users), k), np.float32), 0)
        first = min(len(self.codes), max(FIRST_ITEMS, FIRST_OF_EACH * k))
        step, calculated = max(1, SCORES_AT_ONCE // first), 0
        for start in range(0, len(users), step):
            rows = np.arange(start, min(start + step, len(users)))
            needed = self.needed(users[rows], _rows(hidden, rows), k, first)
            calculated += len(rows) * first
            for group, count in needed.groups():
                own = rows[group]
                lists = self._among(users[own], _rows(hidden, own), k, count, needed.rounding[group])
                found.items[own], found.scores[own] = lists
                calculated += len(own) * count
        return Found(found.items, found.scores, calculated)

    def needed(self, users: Floats, hidden: sp.csr_matrix | None, k: int, first: int) -> Needed:
        """What the k best of each user reach at least, by the scores of the first items, and which can reach that."""
        reached = at_least(self._scores(users, hidden, first), k)
        lengths = lengths_of(users)
        # Sums of products in another order differ by their rounding; no item may be missed for that.
        rounding = 2 * users.shape[1] * np.finfo(np.float32).eps * lengths * self.lengths[0]
        least = np.where(reached > LOWEST, reached - rounding, LEAST)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            shortest = np.where(least > 0, least / lengths, 0)
        counts = np.searchsorted(-self.lengths, -shortest, side="right")
        return Needed(np.asarray(rounding, np.float32), counts)

    def _scores(self, users: Floats, hidden: sp.csr_matrix | None, count: int) -> Floats:
        """Of the first `count` items, LOWEST where they are hidden."""
        scores: Floats = users @ self.vectors[:count].T
        if hidden is not None:
            places = self.place[hidden.indices]
            rows = np.repeat(np.arange(len(users)), np.diff(hidden.indptr))
            near = places < count
            scores[rows[near], places[near]] = LOWEST
        return scores

    def _among(
        self, users: Floats, hidden: sp.csr_matrix | None, k: int, count: int, rounding: Floats
    ) -> tuple[Codes, Floats]:
        """The best of the first `count` items, whose scores may be wrong by so much."""
        scores = self._scores(users, hidden, count)
        reached = at_least(scores, k)
        least = np.where(reached > LOWEST, reached - rounding, LEAST)
        rows, places = np.divmod(np.flatnonzero(scores >= np.maximum(least, LEAST)[:, None]), count)
        codes = self.codes[places]
        order = np.argsort(rows * len(self.codes) + codes)
        rows, places = rows[order], places[order]
        return ranked(rows, codes[order], self.pairs(users, rows, places), len(users), k)

    def pairs(self, users: Floats, rows: npt.NDArray[np.intp], places: npt.NDArray[np.intp]) -> Floats:
        """The scores of single pairs: the same whatever they are calculated together with."""
        values = np.empty(len(rows), np.float32)
        for start in range(0, len(rows), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            values[part] = np.einsum("ij,ij->i", users[rows[part]], self.vectors[places[part]])
        return values


@dataclass(frozen=True)
class Needed:
    """Of each user by how much the scores may be wrong, and how many of the longest vectors may be among the best."""

    rounding: Floats
    counts: npt.NDArray[np.intp]

    def groups(self) -> Iterator[tuple[npt.NDArray[np.intp], int]]:
        """Users who need about as many, as many at once as fit, with how many that is."""
        order = np.argsort(-self.counts, kind="stable")
        start = 0
        while start < len(order):
            count = max(1, int(self.counts[order[start]]))
            end = start + max(1, SCORES_AT_ONCE // count)
            yield order[start:end], count
            start = end


def lengths_of(vectors: Floats) -> npt.NDArray[np.float64]:
    squares: npt.NDArray[np.float64] = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    return np.sqrt(squares)


def _rows(matrix: sp.csr_matrix | None, rows: npt.NDArray[np.intp]) -> sp.csr_matrix | None:
    return None if matrix is None else sp.csr_matrix(matrix[rows])
