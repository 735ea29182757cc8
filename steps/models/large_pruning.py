"""The search of `pruning` for very many users at once, by loops that numba compiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.memory import LINE, zeros
from steps.models.portions import stretches
from steps.models.pruning import Found, LongestFirst, lengths_of, pays
from steps.models.recommender import NOBODY, Floats
from steps.models.signature import LOWEST

USERS_AT_ONCE, ITEMS_AT_ONCE = 2048, 1024
"""Of one worker; the items by 32, as the matrix unit takes them."""
ALONE = 4
"""So few users are quicker answered one after the other than together."""
FEW_USERS, MORE_ITEMS = 64, 4 * ITEMS_AT_ONCE
"""For so few users, so many items are looked at at once after the first: to begin a tile costs more than they do."""
COMPILING_PAYS = 50_000_000_000
"""Products that all scores would take."""

Lengths = npt.NDArray[np.float64]
Hidden = tuple[npt.NDArray[np.int64], Codes]
"""Where the items of each user begin, and the items, which ascend."""
Best = tuple[Codes, Floats]
Rows = npt.NDArray[np.intp]
Look = Callable[[slice, Rows, Hidden, Best], None]
"""Takes what belongs there from a tile of items into the best of the users in some rows."""


def compiling_pays(users: int, items: int, width: int, k: int) -> bool:
    """Whether so much is asked for that a few seconds for numba to compile the loops are won back."""
    return pays(users, items, k) and users * items * width >= COMPILING_PAYS


def search_of(items: LongestFirst) -> InFloats | InHalves:
    """The quicker way that this processor has."""
    from steps.models.compiled import matrix_unit

    return InHalves.of(items) if matrix_unit.ready() else InFloats(items)


def best_of_many(
    search: InFloats | InHalves, users: Floats, k: int, hidden: sp.csr_matrix | None, workers: int
) -> Found:
    """What `LongestFirst.best` finds: tile after tile of items, and whoever can find no better is asked no more.

    Scores are exact, and do not depend on who else is asked for: a pair that may be among the best is calculated alone.
    """
    found = np.full((len(users), k), NOBODY, np.int32), np.full((len(users), k), LOWEST, np.float32)
    starts, marked = np.zeros(len(users) + 1, np.int64), np.zeros(0, np.int32)
    if hidden is not None:
        ascending = hidden if hidden.has_sorted_indices else hidden.sorted_indices()
        starts, marked = ascending.indptr.astype(np.int64), ascending.indices.astype(np.int32)

    def part(rows: slice) -> int:
        own = starts[rows.start : rows.stop + 1]
        return _tiles(search, users[rows], (own, marked), (found[0][rows], found[1][rows]))

    if len(users) <= ALONE:
        return Found(*found, _one_by_one(search.items, users, (starts, marked), found))
    parts = stretches(len(users), USERS_AT_ONCE)
    if workers == 1:  # to make a thread takes longer than to answer a request
        return Found(*found, sum(map(part, parts)))
    with ThreadPoolExecutor(workers) as pool:
        return Found(*found, sum(pool.map(part, parts)))


def _one_by_one(items: LongestFirst, users: Floats, hidden: Hidden, best: Best) -> int:
    """Fills the lists of a few users, and returns how many scores were made for that."""
    from steps.models.compiled.ranking import take_best_one_by_one

    sorted_items = items.vectors, items.codes, items.lengths
    return take_best_one_by_one(users, _reach(users, lengths_of(users)), sorted_items, hidden, best)


def _reach(users: Floats, lengths: Lengths) -> Lengths:
    """With what no score of a user is above an item's length times this, however its products are added up."""
    return np.asarray(lengths * (1 + 2 * users.shape[1] * np.finfo(np.float32).eps), np.float64)


def _tiles(search: InFloats | InHalves, users: Floats, hidden: Hidden, best: Best) -> int:
    """Fills the lists of some users, and returns how many scores were made for that."""
    items, look = search.items, search.among(users)
    calculated, rows, lengths = 0, np.arange(len(users)), lengths_of(users)
    reach = _reach(users, lengths)
    for tile in _tiles_of(len(items.codes), len(users)):
        rows = rows[best[1][rows, -1] <= reach[rows] * items.lengths[tile.start]]
        if not len(rows):
            break
        look(tile, rows, hidden, best)
        calculated += len(rows) * len(items.codes[tile])
    return calculated


def _tiles_of(items: int, users: int) -> Iterator[slice]:
    if users > FEW_USERS:
        yield from stretches(items, ITEMS_AT_ONCE)
        return
    yield slice(0, min(ITEMS_AT_ONCE, items))  # the longest vectors, whose rounding all others would have to bear
    for tile in stretches(items, MORE_ITEMS):
        if tile.stop > ITEMS_AT_ONCE:
            yield slice(max(tile.start, ITEMS_AT_ONCE), tile.stop)


def _most_items(users: int) -> int:
    """In a tile."""
    return MORE_ITEMS if users <= FEW_USERS else ITEMS_AT_ONCE


@dataclass(frozen=True)
class InFloats:
    """Looks at scores as floats have them, but for the order in which products are added."""

    items: LongestFirst

    def among(self, users: Floats) -> Look:
        """Looks for the best of these users among the items of a tile."""
        from steps.models.compiled.ranking import take_best

        items, room = self.items, np.empty(len(users) * _most_items(len(users)) + LINE, np.float32)
        rounding = 2 * users.shape[1] * np.finfo(np.float32).eps * lengths_of(users)

        def look(tile: slice, rows: Rows, hidden: Hidden, best: Best) -> None:
            vectors, margin = items.vectors[tile], rounding * items.lengths[tile.start]
            scores = room[: len(rows) * len(vectors)].reshape(len(rows), len(vectors))
            np.matmul(users[rows], vectors.T, out=scores)
            whole = items.vectors, items.codes
            take_best(scores, len(vectors), rows, tile.start, margin.astype(np.float32), users, whole, hidden, best)

        return look


@dataclass(frozen=True)
class InHalves:
    """Looks at scores as the matrix unit makes them, of numbers with eight bits."""

    items: LongestFirst
    packed: npt.NDArray[np.uint16]
    lengths: Lengths
    lost: Lengths

    @classmethod
    def of(cls, items: LongestFirst) -> Self:
        from steps.models.compiled.matrix_unit import Halves, ready

        if not ready():  # who has not asked for the unit is ended by its first instruction
            raise RuntimeError("this processor has no matrix unit, or the system does not give it")
        halves = Halves.of(items.vectors)
        return cls(items, halves.packed(), halves.lengths, halves.lost)

    def among(self, users: Floats) -> Look:
        """Looks for the best of these users among the items of a tile."""
        from steps.models.compiled.matrix_unit import SHAPE, SIDE, TILE, Halves
        from steps.models.compiled.ranking import take_best_in_halves

        items, halves, lengths = self.items, Halves.of(users), lengths_of(users)
        asked, strip = zeros(halves.values.shape, np.uint16), zeros((SIDE, _most_items(len(users)) + TILE))
        rounding = 2 * users.shape[1] * np.finfo(np.float32).eps * lengths

        def look(tile: slice, rows: Rows, hidden: Hidden, best: Best) -> None:
            # x·y - x'·y' = (x - x')·y' + x·(y - y'), and no product is larger than both lengths.
            margin = halves.lost * self.lengths[tile].max() + (lengths + rounding) * self.lost[tile].max()
            margin += rounding * items.lengths[tile.start]
            asked[: len(rows)] = halves.values[rows]
            right, whole = self.packed[tile.start // TILE :], (items.vectors, items.codes)
            count = len(items.codes[tile])
            take_best_in_halves(
                (SHAPE, asked, right, strip),
                count,
                rows,
                tile.start,
                margin.astype(np.float32),
                users,
                whole,
                hidden,
                best,
            )

        return look
