"""Holds the library of matrix products to one thread, inside workers that are threads themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever the environment says: threads of BLAS below the workers' own cost up to seven times the time."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, "blas"):
        yield


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
