"""Runs one command and outlives nothing: kills it when the runner is gone, measures it, leaves its result in a file.

Started as a script of its own, `python -I -S warden.py SPECIFICATION`, with nothing but the standard library. It is the
parent of the command for two reasons. The runner may be killed with -9 at any moment: the pipe on standard input then
ends, and the command with all of its group is killed. And a child's peak memory counts from that of the process which
forked it: a small parent measures a small child rightly.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time
from typing import Any, NoReturn

PR_SET_PDEATHSIG = 1
STOP_SECONDS = 30
STOP, KILL = b"T", b"K"
"""The two words that the runner says: end the command with SIGTERM, and with SIGKILL after the grace; or at once."""


def main(specification: str) -> int:
    told = json.loads(specification)
    for number in told["keep"]:
        # The locks that we hold for the runner; the command itself must not hold them, for it may leave a daemon
        # behind.
        os.set_inheritable(number, False)
    for ignored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake)
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        become(told["command"], os.getppid())
    with contextlib.suppress(OSError):
        os.setpgid(child, child)
    code, memory = watch(child, ended, told["grace"], told["stop"])
    kill(child, signal.SIGKILL)
    leave(told["result"], {"code": code, "seconds": round(time.monotonic() - started, 3), "memory": memory})
    return 0


def become(command: list[str], warden: int) -> NoReturn:
    """Turns the forked process into the command, in a group of its own, which dies with the warden."""
    try:
        os.setpgid(0, 0)
        for restored in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(restored, signal.SIG_DFL)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != warden:
                os._exit(137)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"cannot run {command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def watch(child: int, ended: int, grace: float, stop: list[str]) -> tuple[int, int]:
    """Waits for the child, for the runner's word, or for the runner's end; returns exit code and peak memory."""
    sources, deadline, stopping = [0, ended], None, 0
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select(sources, [], [], left)
        if 0 in ready:
            word = os.read(0, 1)
            if word == STOP and deadline is None:
                kill(child, signal.SIGTERM)
                deadline = time.monotonic() + grace
            elif word in (KILL, b""):
                if not word:
                    sources.remove(0)
                stopping = stopping or end(child, stop)
        elif not ready:
            deadline = None
            stopping = stopping or end(child, stop)
        if ended in ready:
            os.read(ended, 64)
        finished, status, usage = os.wait4(child, os.WNOHANG)
        if finished:
            if stopping:
                # Whoever starts the step again must not meet the container of this attempt.
                os.waitpid(stopping, 0)
            code = os.waitstatus_to_exitcode(status)
            unit = 1 if sys.platform == "darwin" else 1024
            return (code if code >= 0 else 128 - code), usage.ru_maxrss * unit


def end(child: int, stop: list[str]) -> int:
    """SIGKILL for the group, and for what it only speaks for: a container lives on without its client."""
    kill(child, signal.SIGKILL)
    stopping = os.fork() if stop else 0
    if stop and stopping == 0:
        signal.alarm(STOP_SECONDS)  # outlives exec: an engine that hangs does not hold us for ever
        quiet = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(quiet, stream)
        with contextlib.suppress(OSError):
            os.execvp(stop[0], stop)
        os._exit(127)
    return stopping


def kill(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def leave(path: str, result: dict[str, Any]) -> None:
    """The result as a whole or not at all, and on the disk: a resumed run believes it."""
    unfinished = f"{path}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:  # noqa: PTH123 (pathlib would double the start-up time)
        json.dump(result, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(unfinished, path)  # noqa: PTH104


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
