"""Asks the model server for very long, and swaps its models while it is asked: no answer may fail, nothing may grow."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import re
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import serving_release
from serving import HEAD, MIB, Server, serving, users_of
from serving_release import Size, models_of

from steps.artifacts import candidate, records, release
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket
from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.scorer import Shared

LOOKS = 20
"""At the server's memory, while it is asked."""
SWAPPED_USERS, SWAPPED_ITEMS, SWAPPED_FACTORS = 2000, 6000, 32


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/serving_soak.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
examples:
  python tests/benchmarks/serving_soak.py                              2 million requests, then a hundred swaps
  python tests/benchmarks/serving_soak.py --requests 100000 --swaps 10

First a release of the given size is asked by many connections, for customers and for sessions of five items, and the
memory of the server's own is told twenty times. Then releases follow each other whose items have different names,
under a constant rate of requests: each answer must be of the items of the version that it names.""",
    )
    serving_release.add_flags(flags)
    flags.add_argument("--folder", type=Path, help="keep the release there, or use it again (default: kept nowhere)")
    flags.add_argument("--requests", type=int, default=2_000_000, help="0 for none (default: %(default)s)")
    flags.add_argument("--connections", type=int, default=16, help="default: %(default)s")
    flags.add_argument("--swaps", type=int, default=100, help="default: %(default)s")
    flags.add_argument(
        "--rate", type=int, default=500, help="a second, while models are swapped (default: %(default)s)"
    )
    flags.add_argument("--seconds", type=float, default=1.0, help="between two releases (default: %(default)s)")
    return flags


@dataclass
class Asking:
    """One connection, and what came over it."""

    port: int
    statuses: Counter[int] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    mixed: int = 0

    async def ask(self, bodies: Iterable[str], pause: float = 0, *, check: bool = False) -> None:
        """Each when the one before is answered, or when it is due, where there is a pause between them."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        began = time.perf_counter()
        for number, body in enumerate(bodies):
            if pause:
                await asyncio.sleep(max(0.0, began + number * pause - time.perf_counter()))
            writer.write(f"{HEAD}content-length: {len(body)}\r\n\r\n{body}".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            content = await reader.readexactly(int(length[1]) if length else 0)
            self.statuses[int(head.split(b" ", 2)[1])] += 1
            if check:
                self.check(json.loads(content))
        writer.close()

    def check(self, answer: dict[str, object]) -> None:
        """Whether the items are those of the version that the answer names."""
        version, items = answer.get("version"), answer.get("items")
        if not isinstance(version, int) or not isinstance(items, list) or not items:
            self.mixed += 1
            return
        self.versions[version] += 1
        self.mixed += any(not one["item"].startswith(name_of(version)) for one in items)


def name_of(version: int) -> str:
    """What the ids of all items of a version begin with."""
    return f"{'ab'[version % 2]}-"


async def all_of(asking: Sequence[Asking], bodies: Sequence[str]) -> None:
    share = len(asking)
    await asyncio.gather(*(one.ask(bodies[place::share]) for place, one in enumerate(asking)))


def soak(store: str, folder: Path, flags: argparse.Namespace) -> None:
    users = users_of(store, folder / "cache")
    random = np.random.default_rng(flags.seed)
    with serving(store) as server:
        server.seconds_to_ready()
        print(f"{flags.requests:,} requests over {flags.connections} connections", flush=True)
        statuses: Counter[int] = Counter()
        began = time.perf_counter()
        for look in range(LOOKS):
            count = flags.requests * (look + 1) // LOOKS - flags.requests * look // LOOKS
            bodies = [request(random, users, flags.items) for _ in range(count)]
            asking = [Asking(server.port) for _ in range(flags.connections)]
            asyncio.run(all_of(asking, bodies))
            for one in asking:
                statuses += one.statuses
            size = server.memory()
            told = ", ".join(f"{times:,} x {status}" for status, times in sorted(statuses.items()))
            print(
                f"  {time.perf_counter() - began:6.0f} s: {told}; memory of its own {size.anonymous / MIB:.1f} MiB, "
                f"of files {(size.resident - size.anonymous) / MIB:.0f} MiB",
                flush=True,
            )


def request(random: np.random.Generator, users: Sequence[str], items: int) -> str:
    """Every fifth is for a session of somebody new."""
    if random.random() < 0.2:
        return json.dumps({"items": [f"{code:010d}" for code in random.integers(0, items, 5)], "k": 12})
    return json.dumps({"user": users[int(random.integers(len(users)))], "k": 12})


class AtRate:
    """Threads that ask at a constant rate, each over its own connection, until they are told to stop."""

    def __init__(self, server: Server, rate: int, connections: int) -> None:
        self.asking = [Asking(server.port) for _ in range(connections)]
        self.pause = connections / rate
        self.over = threading.Event()
        self.errors: list[str] = []
        self.threads = [threading.Thread(target=self.run, args=(one,)) for one in self.asking]

    def __enter__(self) -> AtRate:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()

    def run(self, asking: Asking) -> None:
        try:
            asyncio.run(asking.ask(self.bodies(), self.pause, check=True))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.errors.append(repr(error))

    def bodies(self) -> Iterator[str]:
        for number in itertools.count():
            if self.over.is_set():
                return
            yield json.dumps({"user": f"u{number % SWAPPED_USERS:05d}", "k": 12})


def swap(folder: Path, flags: argparse.Namespace) -> None:
    folder.mkdir()
    models = models_of(folder)
    made = [swapped(models, folder, version) for version in (0, 1)]
    publish(models, made[1], 1)
    with serving(f"file:{folder}", "--poll-seconds", "0.2") as server:
        server.seconds_to_ready()
        print(f"{flags.swaps} swaps under {flags.rate} requests a second", flush=True)
        with AtRate(server, flags.rate, flags.connections) as load:
            for version in range(2, flags.swaps + 2):
                time.sleep(flags.seconds)
                publish(models, made[version % 2], version)
            time.sleep(flags.seconds)
        statuses = sum((one.statuses for one in load.asking), Counter[int]())
        versions = sum((one.versions for one in load.asking), Counter[int]())
        failed = statuses.total() - statuses[200] + len(load.errors)
        print(
            f"  {statuses.total():,} requests, {failed} failed, {sum(one.mixed for one in load.asking)} mixed; "
            f"{len(versions)} versions answered; memory of its own {server.memory().anonymous / MIB:.1f} MiB"
        )


def swapped(models: Bucket, folder: Path, place: int) -> Candidate:
    """A candidate with items of its own."""
    random = np.random.default_rng(place)
    users = IdTable.of([f"u{number:05d}" for number in range(SWAPPED_USERS)])
    items = IdTable.of([f"{name_of(place)}{number:05d}" for number in range(SWAPPED_ITEMS)])
    shared = Shared(users, items, np.ones(len(users), bool), random.random(len(items)).astype(np.float32))
    of_users, of_items = (random.standard_normal((len(one), SWAPPED_FACTORS), np.float32) for one in (users, items))
    size = Size(SWAPPED_USERS, SWAPPED_ITEMS, SWAPPED_FACTORS, 5, place)
    popular = np.asarray(shared.popularity, np.float64)
    manifest = Candidate(
        run=f"swapped-{place}", model="als", snapshot="", settings={}, seed=place, metrics={}, expected=[],
        libraries={}, source_revision="", seconds=0, peak_memory=0, created=records.now(),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=folder) as work:
        scorer = Factors(shared, of_users, of_items)
        scorer.save(Path(work) / Factors.folder, serving_release.bought(random, size, popular))
        return candidate.write(models, manifest, Path(work))


def publish(models: Bucket, made: Candidate, version: int) -> None:
    release.create(
        models,
        Release(
            version=version, slot="blue", candidate=made.path, model=made.model, snapshot="", run=made.run,
            previous=version - 1, reason="it is measured", metrics={}, created=records.now(),
        ),
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="soak-") as work:
        if flags.requests:
            folder = (flags.folder or Path(work) / "store").resolve()
            serving_release.require(folder, Size.of(flags))
            soak(f"file:{folder}", Path(work), flags)
        if flags.swaps:
            swap(Path(work) / "swapped", flags)


if __name__ == "__main__":
    main()
