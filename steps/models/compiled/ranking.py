"""The loop that takes the best of many scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from steps.models.compiled.lines import dot, lowest, reaching
from steps.models.compiled.loop import loop
from steps.models.compiled.matrix_unit import SIDE, HalfFloats, give_back, multiply, set_up
from steps.models.memory import LINE
from steps.models.recommender import Floats


@loop
def take_best(
    scores: Floats,
    count: int,
    rows: npt.NDArray[np.intp],
    first: int,
    rounding: Floats,
    users: Floats,
    items: tuple[Floats, npt.NDArray[np.int32]],
    hidden: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    best: tuple[npt.NDArray[np.int32], Floats],
) -> None:
    """Takes `count` items from `first` on into the best of the users in `rows`, by whose scores they may belong there.

    The scores only say which: they may be wrong by `rounding`, and differ by what they were calculated together with.
    Rows of scores are read by lines: what lies behind them must be there to be read.
    """
    (vectors, codes), (_, values) = items, best
    last = values.shape[1] - 1
    for row in range(len(rows)):
        user = rows[row]
        enough = values[user, last] - rounding[user]
        for begin in range(0, count, LINE):
            there = reaching(scores, row, begin, enough)
            while there:
                place = begin + lowest(there)
                there &= there - 1
                if place >= count or scores[row, place] < enough:
                    continue
                code, score = codes[first + place], dot(users[user], vectors[first + place])
                if belongs(score, code, user, hidden, best):
                    insert(score, code, user, best)
                enough = values[user, last] - rounding[user]


@loop
def take_best_in_halves(
    unit: tuple[npt.NDArray[np.uint8], HalfFloats, HalfFloats, Floats],
    count: int,
    rows: npt.NDArray[np.intp],
    first: int,
    rounding: Floats,
    users: Floats,
    items: tuple[Floats, npt.NDArray[np.int32]],
    hidden: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    best: tuple[npt.NDArray[np.int32], Floats],
) -> None:
    """The same for the `count` items from `first` on, whose scores the matrix unit makes for some users at a time."""
    shape, left, right, strip = unit
    set_up(shape)
    for begin in range(0, len(rows), SIDE):
        for column in range(0, count, SIDE):
            multiply(strip, left, begin, right, column)
        some = rows[begin : begin + SIDE]
        take_best(strip, count, some, first, rounding, users, items, hidden, best)
    give_back()


@loop
def take_best_one_by_one(
    users: Floats,
    reach: npt.NDArray[np.float64],
    items: tuple[Floats, npt.NDArray[np.int32], npt.NDArray[np.float64]],
    hidden: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    best: tuple[npt.NDArray[np.int32], Floats],
) -> int:
    """The same for each user alone, from the longest item on until none that follows can be among the best.

    Returns how many scores were made. No score is above a user's `reach` times the length of the item.
    """
    (vectors, codes, lengths), (_, values) = items, best
    last, calculated = values.shape[1] - 1, 0
    for user in range(len(users)):
        for place in range(len(codes)):
            if values[user, last] > reach[user] * lengths[place]:
                break
            calculated += 1
            score = dot(users[user], vectors[place])
            if score >= values[user, last] and belongs(score, codes[place], user, hidden, best):
                insert(score, codes[place], user, best)
    return calculated


@loop
def belongs(
    score: np.float32,
    code: np.int32,
    user: int,
    hidden: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    best: tuple[npt.NDArray[np.int32], Floats],
) -> bool:
    """Whether an item is better than the last of a user's best, and is not hidden; of those alike the first comes."""
    (starts, marked), (found, values) = hidden, best
    last = found.shape[1] - 1
    if score < values[user, last] or (score == values[user, last] and code > found[user, last]):
        return False
    return not is_in(marked, starts[user], starts[user + 1], code)


@loop
def insert(score: np.float32, code: np.int32, user: int, best: tuple[npt.NDArray[np.int32], Floats]) -> None:
    """Puts an item among a user's best, whose last gives way."""
    found, values = best
    slot = found.shape[1] - 1
    while slot > 0 and (
        values[user, slot - 1] < score or (values[user, slot - 1] == score and found[user, slot - 1] > code)
    ):
        values[user, slot], found[user, slot] = values[user, slot - 1], found[user, slot - 1]
        slot -= 1
    values[user, slot], found[user, slot] = score, code


@loop
def is_in(numbers: npt.NDArray[np.int32], first: int, end: int, wanted: int | np.int32) -> bool:
    """Whether a number is in a stretch of numbers that ascend."""
    while first < end:
        middle = (first + end) // 2
        if numbers[middle] < wanted:
            first = middle + 1
        elif numbers[middle] > wanted:
            end = middle
        else:
            return True
    return False
