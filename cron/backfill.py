"""Runs a workflow for dates that are past, each as if its schedule had fired then. The argo command's own is broken."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time

from rich.console import Console

from cron.expression import ScheduleError, zone
from cron.local import INTERRUPTED, command
from cron.schedules import Cron
from workflows.cluster.contract import SCHEDULED, Cluster, ClusterError, workflow


def moments(cron: Cron, first: str, last: str) -> list[datetime]:
    """The times at which the schedule fired, or should have, from one date to another, both included."""
    here = zone(cron.timezone)
    begin, end = day("--from", first), day("--to", last)
    if begin > end:
        raise ScheduleError(f"--from {first} is after --to {last}")
    found = cron.times().between(datetime.combine(begin, time.min, here), datetime.combine(end, time.max, here))
    if found and found[-1] > datetime.now(UTC):
        raise ScheduleError(f"{cron.name} has not fired at {stamp(found[-1])} yet; a backfill is for the past")
    if not found:
        raise ScheduleError(f"{cron.name} ({cron.schedule}) does not fire from {first} to {last}")
    return found


def day(flag: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ScheduleError(f"{flag} is {text!r}; write a date as 2026-11-01") from error


def stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def name(cron: Cron, moment: datetime) -> str:
    """The same for the same time, so that a backfill that is started again does not run a date twice."""
    return f"{cron.workflow}-backfill-{moment.astimezone(UTC):%Y%m%d-%H%M}"


def on_cluster(cluster: Cluster, cron: Cron, dates: Sequence[datetime], console: Console) -> int:
    """One after another, oldest first: a later date builds on the earlier ones."""
    failed = 0
    for moment in dates:
        wanted = workflow(cron.workflow, name(cron, moment), cron.parameters, annotations={SCHEDULED: stamp(moment)})
        try:
            started = cluster.start(wanted)
        except ClusterError as error:
            if "already exists" not in str(error).lower():
                raise
            started = wanted["metadata"]["name"]
        phase = ""
        for state in cluster.watch(started):
            phase = state.get("status", {}).get("phase", "")
        console.print(f"{started} as of {stamp(moment)}: {phase.lower()}", markup=False, highlight=False)
        failed += phase != "Succeeded"
    return 1 if failed else 0


def here(cron: Cron, dates: Sequence[datetime], console: Console) -> int:
    failed = 0
    for moment in dates:
        console.print(f"{cron.workflow} as of {stamp(moment)}", markup=False, highlight=False)
        process = subprocess.Popen(command(cron, stamp(moment)))
        with passed_on(process):
            code = process.wait()
        if code == INTERRUPTED:
            return code
        failed += code != 0
    return 1 if failed else 0


@contextmanager
def passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Meanwhile signals are for the process, which needs time to stop its steps; a terminal sends it Ctrl-C itself."""
    handlers = {signal.SIGINT: lambda *_: None, signal.SIGTERM: lambda *_: process.terminate()}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
