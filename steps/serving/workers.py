"""Several processes that serve one port: started, started again where one dies, and ended together."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

log = logging.getLogger(__name__)

STOP_SECONDS = 15.0
"""That a worker has for what it is answering."""
LEAST_SECONDS = 1.0
"""Between two starts of a worker, so that one that cannot start does not keep the machine busy."""
SIGNALS = (signal.SIGTERM, signal.SIGINT)

Work = Callable[[int, int], None]
"""Is given the worker's place, and a file descriptor whose end says that the parent is gone."""


def run(count: int, work: Work) -> None:
    """Until a signal ends it. Nothing that has threads may have been started before."""
    alive, parent = os.pipe()
    running: dict[int, int] = {}
    started: dict[int, float] = {}
    try:
        for place in range(count):
            _start(place, work, alive, parent, running, started)
        while True:
            process, status = os.waitpid(-1, 0)
            place = running.pop(process)
            code = os.waitstatus_to_exitcode(status)
            log.warning("worker %d ended with %d and is started again", place, code)
            time.sleep(max(0.0, LEAST_SECONDS - (time.monotonic() - started[place])))
            _start(place, work, alive, parent, running, started)
    finally:
        for process in running:
            os.kill(process, signal.SIGTERM)
        _wait(list(running))
        os.close(parent)
        os.close(alive)


def _start(place: int, work: Work, alive: int, parent: int, running: dict[int, int], started: dict[int, float]) -> None:
    # A signal between the fork and the note of it would leave a worker that nobody ends.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        process = os.fork()
        if process == 0:
            _be(place, work, alive, parent, before)
        running[process], started[place] = place, time.monotonic()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _be(place: int, work: Work, alive: int, parent: int, mask: set[int]) -> NoReturn:
    code = 1
    try:
        os.close(parent)
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        work(place, alive)
        code = 0
    except KeyboardInterrupt:
        code = 0
    except BaseException:
        log.exception("worker %d", place)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _wait(processes: list[int]) -> None:
    until = time.monotonic() + STOP_SECONDS
    while processes and time.monotonic() < until:
        processes = [one for one in processes if os.waitpid(one, os.WNOHANG)[0] == 0]
        time.sleep(0.02)
    for process in processes:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
