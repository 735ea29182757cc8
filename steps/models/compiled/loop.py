"""Says how a loop is compiled, and where the outcome is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Function = TypeVar("Function", bound=Callable[..., Any])


def loop(function: Function) -> Function:
    """Compiles when it is first called, and keeps what comes of it beside the module or in the user's cache."""
    options = {"nogil": True, "fastmath": True, "error_model": "numpy"}
    try:
        return cast(Function, njit(cache=True, **options)(function))
    except RuntimeError:  # neither place can be written, as in a container: then each process compiles
        return cast(Function, njit(**options)(function))
