"""What a stage of a way costs: each is a process of its own, and its seconds and memory are that process's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
TAIL = 4000
"""Characters of what a stage complained of that are shown when it fails."""
KERNELS = "OPENBLAS_CORETYPE"
"""It would hold all ways to the instructions of some processor. Ours sets it aside itself; it is done for all."""


@dataclass(frozen=True)
class Stage:
    """A command, and whether its time counts."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    counted: bool = True


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes. What the stage left out of a long work and said so of is in the seconds."""

    stage: Stage
    seconds: float
    processor: float
    memory: int
    facts: Mapping[str, Any]
    """The last line of its output, where that is JSON."""

    @property
    def note(self) -> str:
        """What the seconds were extrapolated from, if they were."""
        return str(self.facts.get("about", ""))


def run(stage: Stage) -> Cost:
    """Waits for the process; where it fails, shows what it complained of, and ends with its code.

    This process must stay small: a child is never told to have used less memory than its parent had.
    """
    watched = sys.stderr.isatty()
    print(f"{stage.name} …", file=sys.stderr, flush=True)
    environment = {"LOG_LEVEL": "warning", **os.environ, "PYTHONPATH": str(ROOT), **stage.environment}
    environment.pop(KERNELS, None)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        began = time.perf_counter()
        child = subprocess.Popen(stage.command, env=environment, stdout=out, stderr=None if watched else err)
        try:
            _, status, used = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            raise
        wall = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        said, complained = text(out), text(err)
    print(f"{stage.name}: {wall:.1f} s", file=sys.stderr, flush=True)
    if child.returncode:
        sys.stderr.write(complained[-TAIL:])
        raise SystemExit(f"{' '.join(stage.command)}\nended with {child.returncode}")
    facts = last_line(said)
    return Cost(
        stage,
        seconds=wall + facts.get("more_wall", 0.0),
        processor=used.ru_utime + used.ru_stime + facts.get("more_processor", 0.0),
        memory=used.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        facts=facts,
    )


def text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def last_line(said: str) -> dict[str, Any]:
    lines = said.splitlines()
    return dict(json.loads(lines[-1])) if lines and lines[-1].startswith("{") else {}
