"""What the processor can do that the environment would keep the libraries from using."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path

log = logging.getLogger(__name__)

KERNELS = "OPENBLAS_CORETYPE"
THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
WIDE = "avx512f"
KNOW_WIDE = ("skylakex", "cooperlake", "sapphirerapids")
"""The kernels of OpenBLAS that use AVX-512."""
ABOUT = Path("/proc/cpuinfo")


def use_all_of_it(environment: MutableMapping[str, str], about: Path = ABOUT) -> None:
    """Sets aside what holds matrix products to an older processor's instructions: that costs half of their speed.

    It is read when numpy is loaded, so this comes before. A choice that this processor does not exceed stays.
    """
    told = environment.get(KERNELS, "")
    if not told or told.lower() in KNOW_WIDE or "numpy" in sys.modules or not _is_wide(about):
        return
    del environment[KERNELS]
    log.info("%s=%s is set aside: this processor has AVX-512", KERNELS, told)


def calculate_in_one_thread(environment: MutableMapping[str, str]) -> None:
    """Holds a server's matrix products to the thread of each request: those answered at once waited for each other's.

    It is read when numpy is loaded, so this comes before.
    """
    environment.update(dict.fromkeys(THREADS, "1"))


def _is_wide(about: Path) -> bool:
    try:
        text = about.read_text()
    except OSError:  # not Linux: nothing is known, and nothing is changed
        return False
    return any(line.startswith("flags") and WIDE in line.split() for line in text.splitlines())
