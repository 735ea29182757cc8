"""The loops that numba compiles, for data so large that this takes less time than it saves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from steps.models.recommender import Floats

Function = TypeVar("Function", bound=Callable[..., Any])
LINE = 16
"""Numbers that come from memory at once."""
AHEAD = 8
"""So many pairs before a vector is needed it is asked for."""
GLANCE = 64
"""Scores that are looked at as one before they are looked at one by one."""
NEAR, FOR_READING, DATA = 2, 0, 1
"""How the processor is told to fetch."""


def loop(function: Function) -> Function:
    """Compiles when it is first called, and keeps what comes of it beside this file or in the user's cache."""
    options = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # neither place can be written, as in a container: then each process compiles
        return cast(Function, njit(**options)(function))


def _fetch(typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Tells the processor that a number of an array will be needed soon."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        table, places = context.make_array(signature.args[0])(context, builder, values[0]), values[1:]
        strides = cgutils.unpack_tuple(builder, table.strides)
        address = builder.ptrtoint(table.data, strides[0].type)
        for place, stride in zip(places, strides, strict=True):
            wide = builder.sext(place, stride.type) if place.type != stride.type else place
            address = builder.add(address, builder.mul(wide, stride))
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        told = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        prefetch = cgutils.get_or_insert_function(builder.module, told, "llvm.prefetch.p0i8")
        how = [number(FOR_READING), number(NEAR), number(DATA)]
        builder.call(prefetch, [builder.inttoptr(address, byte), *how])
        return context.get_dummy_value()

    return types.void(array, row, column), build


fetch: Any = intrinsic(_fetch)


@loop
def dot(one: Floats, other: Floats) -> np.float32:
    total = np.float32(0)
    for place in range(len(one)):
        total += one[place] * other[place]
    return total


@loop
def add(into: Floats, factor: np.float32, what: Floats) -> None:
    for place in range(len(into)):
        into[place] += factor * what[place]


@loop
def solve_rows(
    into: Floats,
    begin: int,
    weights: tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], Floats],
    other: Floats,
    spread: Floats,
    strength: Floats,
    unobserved: np.float32,
    limits: tuple[np.float32, int],
) -> npt.NDArray[np.bool_]:
    """What `Block.descend` does, a row at a time: writes the vectors of the rows from `begin`; says which have settled.

    Pairs that weigh just as much as those that never met are only summed up: where purchases count 1, nearly all.
    """
    (starts, columns, confidence), (tolerance, most) = weights, limits
    width, end = other.shape[1], starts[begin + len(into)]
    settled = np.ones(len(into), np.bool_)
    inverse, wanted, product = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    step, rest = np.empty(width, np.float32), np.empty(width, np.float32)
    for row in range(len(into)):
        x, first, last, count = into[row], starts[begin + row], starts[begin + row + 1], 0
        wanted[:] = 0
        for pair in range(first, last):
            if pair + AHEAD < end:
                for column in range(0, width, LINE):
                    fetch(other, columns[pair + AHEAD], column)
            if confidence[pair] > 0:
                add(wanted, confidence[pair], other[columns[pair]])
            if abs(confidence[pair]) != unobserved:
                count += 1
        enough = np.float32(0)
        for place in range(width):
            inverse[place] = np.float32(1) / (unobserved * spread[place] + strength[row])
            enough += wanted[place] * wanted[place] * inverse[place]
        if count == 0 or enough == 0:
            for place in range(width):
                x[place] = inverse[place] * wanted[place]
            continue
        enough *= tolerance * tolerance
        multiply(product, x, first, last, columns, confidence, other, inverse, unobserved)
        size = np.float32(0)
        for place in range(width):
            rest[place] = wanted[place] - product[place]
            step[place] = inverse[place] * rest[place]
            size += rest[place] * step[place]
        steps = 0
        while size > enough and steps < most:
            steps += 1
            multiply(product, step, first, last, columns, confidence, other, inverse, unobserved)
            far, before, size = size / dot(step, product), size, np.float32(0)
            for place in range(width):
                x[place] += far * step[place]
                rest[place] -= far * product[place]
                size += rest[place] * rest[place] * inverse[place]
            for place in range(width):
                step[place] = inverse[place] * rest[place] + size / before * step[place]
        settled[row] = size <= enough
    return settled


@loop
def multiply(
    into: Floats,
    x: Floats,
    first: int,
    last: int,
    columns: npt.NDArray[np.int32],
    confidence: Floats,
    other: Floats,
    inverse: Floats,
    unobserved: np.float32,
) -> None:
    """The left side of a row's system."""
    for place in range(len(x)):
        into[place] = x[place] / inverse[place]
    for pair in range(first, last):
        extra = abs(confidence[pair]) - unobserved
        if extra != 0:
            vector = other[columns[pair]]
            add(into, extra * dot(vector, x), vector)


@loop
def take_best(
    scores: Floats,
    rows: npt.NDArray[np.intp],
    first: int,
    rounding: Floats,
    users: Floats,
    items: tuple[Floats, npt.NDArray[np.int32]],
    hidden: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]],
    best: tuple[npt.NDArray[np.int32], Floats],
) -> None:
    """Takes the items from `first` on into the best of the users in `rows`, by whose scores they may belong there.

    The scores only say which: they may be wrong by `rounding`, and differ by what they were calculated together with.
    """
    (vectors, codes), (starts, marked), (found, values) = items, hidden, best
    last = found.shape[1] - 1
    for row in range(len(rows)):
        user = rows[row]
        enough = values[user, last] - rounding[user]
        for begin in range(0, scores.shape[1], GLANCE):
            end = min(begin + GLANCE, scores.shape[1])
            largest = scores[row, begin]
            for place in range(begin + 1, end):
                largest = max(largest, scores[row, place])
            if largest < enough:
                continue
            for place in range(begin, end):
                if scores[row, place] < enough:
                    continue
                code, score = codes[first + place], dot(users[user], vectors[first + place])
                if score < values[user, last] or (score == values[user, last] and code > found[user, last]):
                    continue
                if is_in(marked, starts[user], starts[user + 1], code):
                    continue
                slot = last
                while slot > 0 and (
                    values[user, slot - 1] < score or (values[user, slot - 1] == score and found[user, slot - 1] > code)
                ):
                    values[user, slot], found[user, slot] = values[user, slot - 1], found[user, slot - 1]
                    slot -= 1
                values[user, slot], found[user, slot] = score, code
                enough = values[user, last] - rounding[user]


@loop
def is_in(numbers: npt.NDArray[np.int32], first: int, end: int, wanted: int) -> bool:
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
