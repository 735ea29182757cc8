"""Holds the library of matrix products to one thread, inside workers that are threads themselves."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

log = logging.getLogger(__name__)

KERNELS = "OPENBLAS_CORETYPE"


@contextmanager
def one_thread() -> Iterator[None]:
    """Whatever the environment says: threads of BLAS below the workers' own cost up to seven times the time."""
    from threadpoolctl import threadpool_limits

    tell_what_slows()
    with threadpool_limits(1, "blas"):
        yield


@cache
def tell_what_slows() -> None:
    """Once: which processor BLAS was told to calculate for. It was read when BLAS was loaded, and stays."""
    told = os.environ.get(KERNELS)
    if told:
        log.info("%s=%s holds matrix products to that processor's instructions; newer may be faster", KERNELS, told)


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
