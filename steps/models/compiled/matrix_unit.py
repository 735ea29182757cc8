"""Scores by the matrix unit that some processors have: a dozen times as fast, of numbers with eight bits each.

What that leaves out is known: `Halves.lost` says how far a product may be from that of the whole numbers. So the scores
tell which pairs to look at, and those are calculated again.
"""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass
from functools import cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from steps.models.compiled.lines import BYTE, LONG
from steps.models.memory import zeros
from steps.models.pruning import lengths_of
from steps.models.recommender import Floats

HalfFloats = npt.NDArray[np.uint16]
"""The upper halves of floats, which are floats with eight bits."""
TILE = 16
"""Rows of a register of the matrix unit; in each are as many floats, or twice as many halves."""
SIDE, DEPTH = 2 * TILE, 2 * TILE
"""Rows and columns of scores that are made at once, and numbers of each vector that take part in a step."""
ARCH_PRCTL, REQUEST, TILE_DATA = 158, 0x1023, 18
"""How Linux is asked for the registers, which it saves for those only who asked."""
SHAPE = np.zeros(64, np.uint8)
"""Eight registers of sixteen rows of 64 bytes."""
SHAPE[0] = 1
SHAPE[16:32:2] = 64
SHAPE[48:56] = TILE


@cache
def ready() -> bool:
    """Whether this processor has one, and this process may use it."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    if not {"+amx-tile", "+amx-bf16"} <= compiled_for():
        return False
    return int(ctypes.CDLL(None).syscall(ARCH_PRCTL, REQUEST, TILE_DATA)) == 0


def compiled_for() -> set[str]:
    """The features of the processor that numba compiles for: this one, unless its settings name another."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return set(features.split(","))


@dataclass(frozen=True)
class Halves:
    """Vectors with eight bits a number, filled up with zeros to what is made at once."""

    values: HalfFloats
    lengths: npt.NDArray[np.float64]
    """Of the vectors as they are here."""
    lost: npt.NDArray[np.float64]
    """The length of what was rounded away from each."""

    @classmethod
    def of(cls, vectors: Floats) -> Self:
        rows, width = vectors.shape
        values = zeros((_filled(rows, SIDE), _filled(width, DEPTH)), np.uint16)
        bits = vectors.view(np.uint32)
        # To the nearest, and from the middle to the even one; what is too large for a float becomes infinite, as there.
        values[:rows, :width] = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
        kept = (values[:rows, :width].astype(np.uint32) << 16).view(np.float32)
        return cls(values, lengths_of(kept), lengths_of(vectors - kept))

    def packed(self) -> HalfFloats:
        """In the order in which the unit wants the right side: sixteen vectors, each step of all of them together."""
        rows, width = self.values.shape
        tiles = self.values.reshape(rows // TILE, TILE, width // DEPTH, TILE, 2)
        found = zeros((rows // TILE, width // DEPTH, TILE, TILE, 2), np.uint16)
        found[:] = tiles.transpose(0, 2, 3, 1, 4)
        return found


def _filled(count: int, by: int) -> int:
    return -(-count // by) * by


def _set_up(typing: Any, shape: Any) -> Any:
    """Says what the registers hold, once for each thread and call."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _tell(builder, "ldtilecfg", _bytes(context, builder, signature.args[0], values[0]))
        return context.get_dummy_value()

    return types.void(shape), build


def _give_back(typing: Any) -> Any:
    """Clears the registers: a thread with none in use is quicker to switch to."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _tell(builder, "tilerelease")
        return context.get_dummy_value()

    return types.void(), build


def _multiply(typing: Any, scores: Any, left: Any, row: Any, right: Any, column: Any) -> Any:
    """Writes the scores of 32 vectors from `row` and 32 packed ones from `column`, at that column."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        into, users, items = (_bytes(context, builder, signature.args[place], values[place]) for place in (0, 1, 3))
        row, column = values[2], values[4]
        scores, wide = (context.make_array(signature.args[place])(context, builder, values[place]) for place in (0, 1))
        (stride, _), (line, _) = (cgutils.unpack_tuple(builder, one.strides) for one in (scores, wide))
        steps = builder.udiv(line, LONG(2 * DEPTH))
        tile = LONG(TILE * 2 * DEPTH)
        many = builder.mul(steps, tile)
        users = builder.gep(users, [builder.mul(row, line)])
        items = builder.gep(items, [builder.mul(builder.udiv(column, LONG(TILE)), many)])
        for place in range(4):
            _tell(builder, "tilezero", BYTE(place))
        with cgutils.for_range(builder, steps, intp=LONG) as each:
            upper = builder.gep(users, [builder.mul(each.index, LONG(2 * DEPTH))])
            first = builder.gep(items, [builder.mul(each.index, tile)])
            _tell(builder, "tileloadd64", BYTE(4), upper, line)
            _tell(builder, "tileloadd64", BYTE(6), first, LONG(2 * DEPTH))
            _tell(builder, "tileloadd64", BYTE(5), builder.gep(upper, [builder.mul(line, LONG(TILE))]), line)
            _tell(builder, "tileloadd64", BYTE(7), builder.gep(first, [many]), LONG(2 * DEPTH))
            for place in range(4):
                _tell(builder, "tdpbf16ps", BYTE(place), BYTE(4 + place // 2), BYTE(6 + place % 2))
        left = builder.gep(into, [builder.mul(column, LONG(4))])
        for place in range(4):
            below, beside = builder.mul(stride, LONG(TILE * (place // 2))), LONG(4 * TILE * (place % 2))
            _tell(builder, "tilestored64", BYTE(place), builder.gep(left, [builder.add(below, beside)]), stride)
        return context.get_dummy_value()

    return types.void(scores, left, types.int64, right, types.int64), build


def _bytes(context: Any, builder: Any, kind: Any, array: Any) -> Any:
    return builder.bitcast(context.make_array(kind)(context, builder, array).data, BYTE.as_pointer())


def _tell(builder: Any, name: str, *values: Any) -> None:
    """Calls an instruction of the unit."""
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
    builder.call(cgutils.get_or_insert_function(builder.module, kind, f"llvm.x86.{name}"), values)


set_up: Any = intrinsic(_set_up)
give_back: Any = intrinsic(_give_back)
multiply: Any = intrinsic(_multiply)
