from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from steps.models.compiled.loop import SOURCES

DOT = """
import sys
import numpy as np
from steps.models.compiled import loop
loop.MADE_OF = sys.argv[1]
from steps.models.compiled.lines import dot
assert dot(np.ones(3, np.float32), np.ones(3, np.float32)) == 3
print(sum(dot.stats.cache_hits.values()), sum(dot.stats.cache_misses.values()))
"""


def test_compiled_code_is_used_again_until_anything_that_it_is_made_of_changes(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}

    def hits_and_misses(made_of: str) -> str:
        command = [sys.executable, "-c", DOT, made_of]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert [hits_and_misses(one) for one in ("as it is", "as it is", "changed")] == ["0 1", "1 0", "0 1"]


def test_it_is_made_of_the_length_of_a_line_too() -> None:
    assert {"lines.py", "loop.py", "matrix_unit.py", "memory.py", "ranking.py", "solving.py"} <= {
        path.name for path in SOURCES
    }
