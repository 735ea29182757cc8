"""What a processor does with a line of numbers at once, as functions that compiled loops can call."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from steps.models.compiled.loop import loop
from steps.models.memory import LINE
from steps.models.recommender import Floats

NEAR, FOR_READING, DATA = 2, 0, 1
"""How the processor is told to fetch."""
BYTE, INT, LONG, FLOAT = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
NUMBERS = ir.VectorType(FLOAT, LINE)
FLOAT_BYTES = 4
"""Lines need not begin where those of the memory do; it is only faster."""
ONE_BY_ONE = ["contract"]
"""A product and its sum may be rounded once; the order of sums stays."""


def _fetch(typing: Any, array: Any, row: Any, column: Any) -> Any:
    """Tells the processor that a number of an array will be needed soon."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address = _address(context, builder, signature.args[0], values[0], values[1:])
        told = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INT, INT, INT])
        prefetch = cgutils.get_or_insert_function(builder.module, told, "llvm.prefetch.p0i8")
        how = [INT(FOR_READING), INT(NEAR), INT(DATA)]
        builder.call(prefetch, [builder.inttoptr(address, BYTE.as_pointer()), *how])
        return context.get_dummy_value()

    return types.void(array, row, column), build


def _add_line(typing: Any, into: Any, row: Any, column: Any, factor: Any, what: Any, other: Any, begin: Any) -> Any:
    """Adds a line of one array, which begins at a row and a column, to a line of another, so many times."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        place = _address(context, builder, signature.args[0], values[0], values[1:3])
        line = _line(builder, _address(context, builder, signature.args[4], values[4], values[5:7]))
        total = _plus(builder, _line(builder, place), values[3], line)
        _keep(builder, total, place)
        return context.get_dummy_value()

    return types.void(into, row, column, types.float32, what, other, begin), build


def _sum_lines(
    typing: Any, into: Any, row: Any, column: Any, first: Any, end: Any, rows: Any, factors: Any, what: Any
) -> Any:
    """Writes the sum of some lines: of the rows that `rows[first:end]` names, each times its factor."""
    for array, kind in ((rows, types.int32), (factors, types.float32)):
        if (array.layout, array.dtype) != ("C", kind):
            raise TypingError(f"{array} is not {kind} one after the other")

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        arrays = list(zip(signature.args[5:], values[5:], strict=True))
        named, factor = (_address(context, builder, *array, values[3:4]) for array in arrays[:2])
        total = cgutils.alloca_once(builder, NUMBERS)
        builder.store(ir.Constant(NUMBERS, None), total)
        with cgutils.for_range(builder, builder.sub(values[4], values[3]), intp=LONG) as each:
            offset = builder.mul(each.index, LONG(4))
            at = builder.load(builder.inttoptr(builder.add(named, offset), INT.as_pointer()))
            times = builder.load(builder.inttoptr(builder.add(factor, offset), FLOAT.as_pointer()))
            line = _line(builder, _address(context, builder, *arrays[2], [at, LONG(0)]))
            builder.store(_plus(builder, builder.load(total), times, line), total)
        _keep(builder, builder.load(total), _address(context, builder, signature.args[0], values[0], values[1:3]))
        return context.get_dummy_value()

    numbers = types.int64, types.int64
    return types.void(into, row, column, *numbers, rows, factors, what), build


def _reaching(typing: Any, array: Any, row: Any, column: Any, least: Any) -> Any:
    """Which numbers of a line are at least so large: a bit each, the first the lowest."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        line = _line(builder, _address(context, builder, signature.args[0], values[0], values[1:3]))
        bits = builder.bitcast(builder.fcmp_ordered(">=", line, _alike(builder, values[3])), ir.IntType(LINE))
        return builder.zext(bits, LONG)

    return types.int64(array, row, column, types.float32), build


def _lowest(typing: Any, bits: Any) -> Any:
    """The place of the lowest bit that is set; there must be one."""

    def build(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.IntType(1)(1))

    return types.int64(types.int64), build


def _address(context: Any, builder: Any, kind: Any, array: Any, places: Any) -> Any:
    table = context.make_array(kind)(context, builder, array)
    strides = cgutils.unpack_tuple(builder, table.strides)
    address = builder.ptrtoint(table.data, LONG)
    for place, stride in zip(places, strides, strict=True):
        wide = builder.sext(place, LONG) if place.type != LONG else place
        address = builder.add(address, builder.mul(wide, stride))
    return address


def _line(builder: Any, address: Any) -> Any:
    line = builder.load(builder.inttoptr(address, NUMBERS.as_pointer()))
    line.align = FLOAT_BYTES
    return line


def _keep(builder: Any, line: Any, address: Any) -> None:
    builder.store(line, builder.inttoptr(address, NUMBERS.as_pointer())).align = FLOAT_BYTES


def _plus(builder: Any, line: Any, factor: Any, other: Any) -> Any:
    return builder.fadd(line, builder.fmul(other, _alike(builder, factor), flags=ONE_BY_ONE), flags=ONE_BY_ONE)


def _alike(builder: Any, number: Any) -> Any:
    nothing = ir.Constant(NUMBERS, ir.Undefined)
    first = builder.insert_element(nothing, number, INT(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(INT, LINE), [0] * LINE))


fetch: Any = intrinsic(_fetch)
add_line: Any = intrinsic(_add_line)
sum_lines: Any = intrinsic(_sum_lines)
reaching: Any = intrinsic(_reaching)
lowest: Any = intrinsic(_lowest)


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
