"""Measures ways of answering with a load generator: the model server, and two others behind the same interface."""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serving_release
from serving import Server, command, serving, users_of
from serving_release import Size
from serving_ways import WAYS

from steps.models.one_by_one import pays_for_one

OURS = "ours"
SERVERS_CORE, CLIENTS_CORE = 0, 1
BODIES = 20_000
BASKET = 5
USERS, SESSIONS = "users", "sessions"


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/serving_compare.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
examples:
  OHA=~/bin/oha python tests/benchmarks/serving_compare.py
  OHA=~/bin/oha python tests/benchmarks/serving_compare.py --folder big --customers 1371980 --items 105542

The server has the first core, the load generator (oha) the second. Each way is asked for customers at random: as fast
as it can over many connections, one after the other over one, and at a constant rate, where the time of an answer
counts from when its request was due, also where it had to wait to be sent. Then for sessions: five items of somebody
new. All requests of one turn are scored together, whatever the way.""",
    )
    serving_release.add_flags(flags)
    flags.add_argument("--folder", type=Path, help="keep the release there, or use it again (default: kept nowhere)")
    flags.add_argument("--ways", default=",".join([OURS, *WAYS]), help="default: %(default)s")
    flags.add_argument("--connections", type=int, default=32, help="of the fast run (default: %(default)s)")
    flags.add_argument("--seconds", type=float, default=10, help="of each run (default: %(default)s)")
    flags.add_argument("--rate", type=int, default=1000, help="requests a second, constant (default: %(default)s)")
    flags.add_argument("--k", type=int, default=12, help="default: %(default)s")
    flags.add_argument("--oha", default=os.environ.get("OHA") or "oha", help="default: the variable OHA, else oha")
    return flags


@dataclass(frozen=True)
class Run:
    """What the load generator saw."""

    a_second: float
    answered: int
    failed: int
    ms: dict[str, float]

    @classmethod
    def of(cls, told: dict[str, Any]) -> Run:
        statuses = {int(status): count for status, count in told["statusCodeDistribution"].items()}
        # At the end of its time it drops what it waits for; these are nobody's failures.
        errors = {why: count for why, count in told["errorDistribution"].items() if "deadline" not in why}
        good = statuses.pop(200, 0)
        ms = {name: 1000 * value for name, value in told["latencyPercentiles"].items() if value is not None}
        return cls(told["summary"]["requestsPerSec"], good, sum(statuses.values()) + sum(errors.values()), ms)

    def __str__(self) -> str:
        times = ", ".join(f"{name} {self.ms[name]:.2f}" for name in ("p50", "p99", "p99.9") if name in self.ms)
        return f"{self.a_second:,.0f} a second, {times} ms, {self.answered:,} answered, {self.failed} failed"


def other(folder: Path, way: str) -> AbstractContextManager[Server]:
    program = [sys.executable, str(Path(__file__).with_name("serving_ways.py")), "--folder", str(folder), "--way", way]
    return command(program, {"STORE": f"file:{folder}"})


@contextmanager
def pinned(core: int) -> Any:
    """What is started meanwhile stays on one core, where there is more than one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {sorted(before)[min(core, len(before) - 1)]})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def bodies(folder: Path, store: str, flags: argparse.Namespace) -> dict[str, Path]:
    """Files with a request a line."""
    choose = random.Random(flags.seed)
    users = users_of(store, folder / "cache")
    items = [f"{number:010d}" for number in range(flags.items)]
    asked = {
        USERS: [{"user": choose.choice(users), "k": flags.k} for _ in range(BODIES)],
        SESSIONS: [{"items": choose.sample(items, BASKET), "k": flags.k} for _ in range(BODIES)],
    }
    files = {}
    for name, lines in asked.items():
        files[name] = folder / f"{name}.txt"
        files[name].write_text("\n".join(map(json.dumps, lines)) + "\n")
    return files


def load(server: Server, body: Path, flags: argparse.Namespace, *more: str) -> Run:
    asking = [flags.oha, "--no-tui", "--output-format", "json", "-m", "POST", "-T", "application/json", "-Z", str(body)]
    with pinned(CLIENTS_CORE):
        done = subprocess.run(
            [*asking, *more, f"http://127.0.0.1:{server.port}/recommend"], stdout=subprocess.PIPE, text=True, check=True
        )
    return Run.of(json.loads(done.stdout))


def measure(way: str, folder: Path, files: dict[str, Path], flags: argparse.Namespace) -> dict[str, Run]:
    with pinned(SERVERS_CORE):
        starting = serving(f"file:{folder}") if way == OURS else other(folder, way)
        with starting as server:
            ready = server.seconds_to_ready()
            if way == OURS and pays_for_one(flags.items, 1):
                server.wait_for("is warmed up")
            some = f"{flags.seconds:g}s"
            fast = "-c", str(flags.connections), "-z", some
            load(server, files[USERS], flags, "-c", "4", "-z", f"{flags.seconds / 5:g}s")
            runs = {
                "as fast as it can": load(server, files[USERS], flags, *fast),
                "one after the other": load(server, files[USERS], flags, "-c", "1", "-z", some),
            }
            if runs["as fast as it can"].a_second > flags.rate:
                constant = "-q", str(flags.rate), "--latency-correction", "-c", str(2 * flags.connections), "-z", some
                runs[f"{flags.rate} a second"] = load(server, files[USERS], flags, *constant)
            if way != "tensorflow":  # whose SavedModel knows users only
                runs["sessions"] = load(server, files[SESSIONS], flags, *fast)
            print(f"{way}: ready in {ready:.2f} s, {server.memory().resident >> 20:,} MiB", flush=True)
    for name, run in runs.items():
        print(f"  {name}: {run}", flush=True)
    return runs


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser()
    flags = asked.parse_args(arguments)
    ways = flags.ways.split(",")
    if unknown := set(ways) - {OURS, *WAYS}:
        asked.error(f"--ways names {', '.join(sorted(unknown))}: {', '.join([OURS, *WAYS])} are there")
    if not shutil.which(flags.oha):
        asked.error(f"there is no load generator {flags.oha}: install oha, or name it by --oha or OHA")
    with tempfile.TemporaryDirectory(prefix="serving-") as work:
        folder = (flags.folder or Path(work) / "store").resolve()
        serving_release.require(folder, Size.of(flags))
        files = bodies(Path(work), f"file:{folder}", flags)
        found = {way: measure(way, folder, files, flags) for way in ways}
    for way in ways:
        if way != OURS and OURS in found:
            ratios = (
                f"{found[OURS][name].a_second / run.a_second:.1f} ({name})"
                for name, run in found[way].items()
                if name in found[OURS] and not re.match(r"\d", name)
            )
            print(f"ours answers so many times as many as {way}: {', '.join(ratios)}")


if __name__ == "__main__":
    main()
