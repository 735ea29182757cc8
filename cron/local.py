"""Fires the schedules on this machine: the same times, the same policy, with the local runner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from cron.schedules import Cron

SUBMIT = Path(__file__).resolve().parent.parent / "workflows" / "submit.py"
TICK_SECONDS = 1.0
INTERRUPTED = 130


def command(cron: Cron, scheduled: str) -> list[str]:
    """What is run at a scheduled time."""
    words = [sys.executable, os.fspath(SUBMIT), cron.workflow, "--scheduled-time", scheduled]
    for name, value in cron.parameters.items():
        words += ["-p", f"{name}={value}"]
    return words


Start = Callable[[Cron, str], subprocess.Popen[bytes]]


def start(cron: Cron, scheduled: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(cron, scheduled))


@dataclass
class Clockwork:
    """The schedules, when each is due, and what runs of them now; `tick` decides, and knows no clock of its own."""

    crons: Sequence[Cron]
    now: datetime
    say: Callable[[str], None]
    start: Start = start
    due: dict[str, datetime] = field(default_factory=dict)
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for cron in self.crons:
            self.due[cron.name] = cron.times().next(self.now)

    def tick(self, now: datetime) -> None:
        """Starts what is due; like the controller's Forbid, skips what still runs, and what is due for too long."""
        for cron in self.crons:
            self.reap(cron)
            due = self.due[cron.name]
            if now < due:
                continue
            # A laptop that slept has missed several times: only the last one counts.
            missed = cron.times().between(due, now)
            due = missed[-1]
            self.due[cron.name] = cron.times().next(now)
            if now - due > timedelta(seconds=cron.deadline):
                self.say(f"{cron.name} of {due:%Y-%m-%d %H:%M} UTC is missed: it is more than {cron.deadline} s late")
            elif cron.name in self.running:
                self.say(f"{cron.name} of {due:%Y-%m-%d %H:%M} UTC is skipped: the run before still goes on")
            else:
                self.say(f"{cron.name} starts; next time {self.due[cron.name]:%Y-%m-%d %H:%M} UTC")
                self.running[cron.name] = self.start(cron, due.strftime("%Y-%m-%dT%H:%M:%SZ"))

    def reap(self, cron: Cron) -> None:
        process = self.running.get(cron.name)
        if process is not None and process.poll() is not None:
            del self.running[cron.name]
            self.say(f"{cron.name} ended with exit code {process.returncode}")

    def stop(self) -> None:
        """Ends what runs; each leaves a run that resumes."""
        for process in self.running.values():
            process.terminate()
        for process in self.running.values():
            process.wait()


def fire(crons: Sequence[Cron], console: Console) -> int:
    """Until Ctrl-C or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        # Not in the handler itself: it may run while `over.wait` holds the lock that `over.set` needs.
        signal.signal(number, lambda *_: threading.Thread(target=over.set).start())
    clockwork = Clockwork(crons, datetime.now(UTC), lambda text: console.print(text, markup=False, highlight=False))
    for cron in crons:
        due = clockwork.due[cron.name]
        clockwork.say(f"{cron.name}: {cron.schedule} {cron.timezone}, next {due:%Y-%m-%d %H:%M} UTC")
    while not over.is_set():
        clockwork.tick(datetime.now(UTC))
        over.wait(TICK_SECONDS)
    clockwork.stop()
    return INTERRUPTED
