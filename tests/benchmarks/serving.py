"""Measures the model server: seconds until it is ready, memory of its own, and requests a second."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path

import serving_release
from serving_release import ROOT, Size

from steps.artifacts import candidate, release
from steps.clients.object_store import open_store
from steps.models.ids import IdTable
from steps.runtime.settings import Settings

MIB = 1 << 20
LOOK_SECONDS = 0.005
MOST_SECONDS = 300
WARM = 100
"""Requests of each connection, the first, that are in no percentile."""
LOADED = r"answers now, loaded in ([\d.]+) s"
HEAD = "POST /recommend HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
PERCENTILES = (50, 90, 99, 99.9)


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/serving.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
examples:
  python tests/benchmarks/serving.py                                    a tenth of the H&M competition
  python tests/benchmarks/serving.py --customers 1371980 --items 105542 --folder big
                                                     all of it: 1.4 GB in the folder big, kept for the next time
  python tests/benchmarks/serving.py --store file:store                 what is live in a store of your own
  python tests/benchmarks/serving.py --processes 2 --seconds 0          start and memory of two servers alone

Each server is a process of its own (python -m steps.serve) on the same folder. Ready is when /readyz says so; loading
is what the server itself says of it. Private memory belongs to one process alone; shared is what several have of the
same files. Linux only, which tells these apart.

Then each connection asks the first server POST /recommend for a customer at random, waits for the answer, and asks
again: this tells what the server can do, not how long somebody waits who comes while it is busy. The client needs
processor time too; on a machine of two processors, one is left for the server.""",
    )
    serving_release.add_flags(flags)
    flags.add_argument("--folder", type=Path, help="keep the release there, or use it again (default: kept nowhere)")
    flags.add_argument("--store", default="", help="measure what is live there instead of something made up")
    flags.add_argument("--processes", type=int, default=2, help="servers of the same release (default: %(default)s)")
    flags.add_argument("--connections", type=int, default=4, help="that ask (default: %(default)s)")
    flags.add_argument("--seconds", type=float, default=10, help="of asking; 0 for none (default: %(default)s)")
    flags.add_argument("--k", type=int, default=12, help="default: %(default)s")
    return flags


@dataclass
class Server:
    """A running server and what it said."""

    process: subprocess.Popen[str]
    began: float
    lines: list[str] = field(default_factory=list)

    def said(self, pattern: str) -> re.Match[str] | None:
        return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

    def wait_for(self, pattern: str) -> re.Match[str]:
        until = time.perf_counter() + MOST_SECONDS
        while not (found := self.said(pattern)):
            if self.process.poll() is not None or time.perf_counter() > until:
                raise SystemExit("the server does not come up:\n" + "\n".join(self.lines))
            time.sleep(LOOK_SECONDS)
        return found

    @property
    def port(self) -> int:
        return int(self.wait_for(r"serving on http://[^ ]*:(\d+)")[1])

    def seconds_to_ready(self) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        while time.perf_counter() < self.began + MOST_SECONDS:
            try:
                connection.request("GET", "/readyz")
                answer = connection.getresponse()
                answer.read()
                if answer.status == 200:
                    return time.perf_counter() - self.began
            except OSError:
                connection.close()
            time.sleep(LOOK_SECONDS)
        raise SystemExit("the server does not become ready:\n" + "\n".join(self.lines))

    def processor_seconds(self) -> float:
        """Of the process up to now, in user and system mode."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> Memory:
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        sizes = {name: int(size) * 1024 for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
        private, shared = (
            sum(size for name, size in sizes.items() if name.startswith(kind)) for kind in ("Private_", "Shared_")
        )
        return Memory(sizes["Rss"], sizes["Anonymous"], private, shared)


@dataclass(frozen=True)
class Memory:
    """Bytes. What is anonymous is no file's: no other process can have it."""

    resident: int
    anonymous: int
    private: int
    shared: int


def serving(store: str, *flags: str) -> AbstractContextManager[Server]:
    return command([sys.executable, "-m", "steps.serve", "--port", "0", *flags], {"STORE": store})


@contextmanager
def command(program: Sequence[str], settings: Mapping[str, str]) -> Iterator[Server]:
    """Runs a server while the block does."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LOG_FORMAT": "text", "LOG_LEVEL": "info", **settings}
    environment.update(dict.fromkeys(("STORE_PREFIX", "DATA_BUCKET", "MODELS_BUCKET"), ""))
    began = time.perf_counter()
    process = subprocess.Popen(program, env=environment, stderr=subprocess.PIPE, text=True)
    server = Server(process, began)
    reader = threading.Thread(target=read, args=(server,), daemon=True)
    reader.start()
    try:
        yield server
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        reader.join()


def read(server: Server) -> None:
    assert server.process.stderr
    for line in server.process.stderr:
        server.lines.append(line.rstrip())


async def ask(port: int, users: Sequence[str], k: int, seconds: float, seed: int) -> list[float]:
    """Of each request how long its answer took, over one connection, one after the other."""
    choose, found = random.Random(seed), []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        body = json.dumps({"user": choose.choice(users), "k": k})
        writer.write(f"{HEAD}content-length: {len(body)}\r\n\r\n{body}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        content = await reader.readexactly(int(length[1]) if length else 0)
        found.append(time.perf_counter() - began)
        if b" 200 " not in head.partition(b"\r\n")[0]:
            raise SystemExit(f"{head.decode()}{content.decode(errors='replace')[:500]}")
    writer.close()
    return found


async def ask_all(port: int, users: Sequence[str], flags: argparse.Namespace) -> list[list[float]]:
    asking = (ask(port, users, flags.k, flags.seconds, flags.seed + one) for one in range(flags.connections))
    return await asyncio.gather(*asking)


def users_of(store: str, cache: Path) -> IdTable:
    """The ids of the customers of what is live."""
    models = open_store(Settings.from_environment({**os.environ, "STORE": store})).models
    live = release.require(models, "live")
    return candidate.scorer(models, candidate.read(models, live.candidate), cache)[0].users


def report_start(number: int, server: Server, seconds: float) -> None:
    loaded = server.said(LOADED)
    sizes = (f"{one / MIB:,.0f} MiB {name}" for name, one in asdict(server.memory()).items())
    print(
        f"server {number}: ready in {seconds:.2f} s, {loaded[1] if loaded else '?'} s of it loading; {', '.join(sizes)}"
    )


def report_answers(number: int, server: Server, users: Sequence[str], flags: argparse.Namespace) -> None:
    before, began = server.processor_seconds(), time.perf_counter()
    found = asyncio.run(ask_all(server.port, users, flags))
    wall, used = time.perf_counter() - began, server.processor_seconds() - before
    count = sum(map(len, found))
    seconds = sorted(chain.from_iterable(one[WARM:] for one in found)) or sorted(chain.from_iterable(found))
    places = (f"p{one:g} {1000 * seconds[int((len(seconds) - 1) * one / 100)]:.2f} ms" for one in PERCENTILES)
    asked = f"{count / wall:,.0f} requests a second over {flags.connections} connections for {wall:.1f} s"
    print(
        f"server {number}: {asked}: "
        f"{', '.join(places)}; {1000 * used / count:.2f} ms of the server's processor time each"
    )


def measure(store: str, cache: Path, flags: argparse.Namespace) -> None:
    with ExitStack() as running:
        servers = []
        for _ in range(flags.processes):
            server = running.enter_context(serving(store))
            servers.append((server, server.seconds_to_ready()))
        if flags.seconds:
            users = users_of(store, cache)
            for number, (server, _) in enumerate(servers, 1):
                report_answers(number, server, users, flags)
        for number, (server, seconds) in enumerate(servers, 1):
            report_start(number, server, seconds)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser()
    flags = asked.parse_args(arguments)
    if flags.processes < 1:
        asked.error(f"--processes is {flags.processes}: at least 1 is allowed")
    if flags.folder and flags.store:
        asked.error("--folder is for something made up, --store for what is there: give one of them")
    with tempfile.TemporaryDirectory(prefix="serving-") as work:
        folder = flags.folder or Path(work) / "store"
        if not flags.store:
            serving_release.require(folder, Size.of(flags))
        measure(flags.store or f"file:{folder.resolve()}", Path(work) / "cache", flags)


if __name__ == "__main__":
    main()
