"""The best items of a user or a few, exactly, by a few thousand dot products: what a single request is answered by."""

from __future__ import annotations

from bisect import bisect_right
from operator import neg

import numpy as np
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.pruning import FIRST_OF_EACH, Found, LongestFirst
from steps.models.recommender import LEAST, NOBODY, Floats
from steps.models.signature import LOWEST

FIRST_ITEMS = 2048
"""The longest vectors, which are looked at in any case. Twice as many are next, as long as those may be needed."""


def pays_for_one(items: int, k: int) -> bool:
    """Whether there are so many items that looking at the longest vectors first is worth it."""
    return items >= 2 * max(FIRST_ITEMS, FIRST_OF_EACH * k)


def best_one_by_one(items: LongestFirst, users: Floats, k: int, hidden: sp.csr_matrix | None = None) -> Found:
    """As `LongestFirst.best` has it, to the bit, without what many users at once are worth."""
    found = np.full((len(users), k), NOBODY, np.int32), np.full((len(users), k), LOWEST, np.float32)
    calculated = 0
    for row, user in enumerate(np.asarray(users)):
        marked = NONE if hidden is None else hidden.indices[hidden.indptr[row] : hidden.indptr[row + 1]]
        codes, scores, count = _best(items, user, k, items.place[marked])
        found[0][row, : len(codes)], found[1][row, : len(codes)] = codes, scores
        calculated += count
    return Found(*found, calculated)


NONE = np.zeros(0, np.int32)


def _best(items: LongestFirst, user: Floats, k: int, hidden: Codes) -> tuple[Codes, Floats, int]:
    """The best items, their scores, and how many scores were calculated; `hidden` are places."""
    length = float(np.sqrt(np.einsum("i,i", user, user, dtype=np.float64)))
    # Sums of products in another order differ by their rounding; no item may be missed for that.
    rounding = 2 * len(user) * float(np.finfo(np.float32).eps) * length * float(items.lengths[0])
    scores, top = np.empty(len(items.codes), np.float32), np.empty(0, np.float32)
    start, end, reached = 0, min(len(items.codes), max(FIRST_ITEMS, FIRST_OF_EACH * k)), LOWEST
    while start < end:
        block = scores[start:end]
        np.matmul(items.vectors[start:end], user, out=block)
        block[hidden[(hidden >= start) & (hidden < end)] - start] = LOWEST
        top = np.append(top, block[block > reached])
        if len(top) >= k:
            top = np.partition(top, len(top) - k)[len(top) - k :]
            reached = float(top[0])
        start, end = end, min(_needed(items, reached - rounding, length), 2 * end)
    least = max(reached - rounding, float(LEAST))
    places = np.flatnonzero(scores[:start] >= least)
    values = items.pairs(user[None], np.zeros(len(places), np.intp), places)
    codes = items.codes[places]
    order = np.lexsort((codes, -values))[:k]
    return codes[order], values[order], start


def _needed(items: LongestFirst, least: float, length: float) -> int:
    """How many of the longest vectors can reach a score."""
    if least <= 0:  # also the shortest can
        return len(items.codes)
    return bisect_right(items.lengths, -least / length, key=neg)
