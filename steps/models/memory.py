"""Arrays that begin where the lines of the memory do: what lies across two lines is asked for twice."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

LINE = 16
"""Floats that come from memory together, and that one instruction adds where a processor is wide."""
LINE_BYTES = 4 * LINE


def zeros(shape: tuple[int, ...], kind: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
    """Whose rows begin with a line too, where they hold whole lines."""
    size = math.prod(shape) * np.dtype(kind).itemsize
    room = np.zeros(size + LINE_BYTES, np.uint8)
    begin = -room.ctypes.data % LINE_BYTES
    return room[begin : begin + size].view(kind).reshape(shape)
