"""Says how a loop is compiled, and where the outcome is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import CellType, FunctionType
from typing import Any, TypeVar, cast

from numba import njit

from steps.models import memory

Function = TypeVar("Function", bound=Callable[..., Any])
SOURCES = [*sorted(Path(__file__).parent.glob("*.py")), Path(memory.__file__)]
MADE_OF = hashlib.sha256(b"".join(path.read_bytes() for path in SOURCES)).hexdigest()
"""Of the loops and all that they call, and the length of a line."""


def loop(function: Function) -> Function:
    """Compiles when it is first called, and keeps what comes of it beside the module or in the user's cache."""
    function, options = stamped(function), {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # neither place can be written, as in a container: then each process compiles
        return cast(Function, njit(**options)(function))


def stamped(function: Function) -> Function:
    """The same with a variable that it never reads: numba keeps the code of a function by its own source and by those.

    So a change of what the loop calls, in another file, compiles it anew.
    """
    plain = cast(FunctionType, function)
    code = plain.__code__.replace(co_freevars=(*plain.__code__.co_freevars, "made_of"))
    cells = (*(plain.__closure__ or ()), CellType(MADE_OF))
    return cast(Function, FunctionType(code, plain.__globals__, plain.__name__, plain.__defaults__, cells))
