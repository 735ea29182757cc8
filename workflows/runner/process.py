"""One command of a node: started under its warden, stopped politely, its result read back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workflows.runner import warden

KILLED = 137


@dataclass(frozen=True)
class Launch:
    """What an engine makes of a container template: the command to run here, and the one that ends it for certain."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    stop: Sequence[str] = ()
    measured: bool = True
    """Whether the command does the work itself; the memory of a container's client says nothing."""


@dataclass(frozen=True)
class Result:
    """How a command ended: its exit code (128 + signal where it was killed), seconds, and peak bytes of memory."""

    code: int
    seconds: float
    memory: int


class Child:
    """A running command."""

    def __init__(
        self, launch: Launch, log: Path, result: Path, *, keep: Sequence[int] = (), grace: float = 10.0
    ) -> None:
        told = {
            "command": list(launch.command),
            "stop": list(launch.stop),
            "result": str(result),
            "keep": list(keep),
            "grace": grace,
        }
        self._result = result
        self._measured = launch.measured
        self._guard = threading.Lock()
        with log.open("ab") as out:
            self._warden = subprocess.Popen(
                [sys.executable, "-I", "-S", warden.__file__, json.dumps(told)],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(launch.environment),
                cwd=launch.folder,
                start_new_session=True,
                pass_fds=tuple(keep),
                bufsize=0,
            )

    def wait(self) -> Result:
        self._warden.wait()
        with self._guard:
            assert self._warden.stdin is not None
            self._warden.stdin.close()
        found = read_result(self._result) or Result(KILLED, 0.0, 0)
        return found if self._measured else replace(found, memory=0)

    def stop(self, *, now: bool = False) -> None:
        """Asks the command to end; after the grace, or now, it is killed."""
        with self._guard:
            pipe = self._warden.stdin
            if pipe is None or pipe.closed:
                return
            try:
                os.write(pipe.fileno(), warden.KILL if now else warden.STOP)
            except BrokenPipeError:
                return  # it has ended already


def read_result(path: Path) -> Result | None:
    """The result that a warden left; None where it left none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return Result(int(found["code"]), float(found["seconds"]), int(found["memory"]))
