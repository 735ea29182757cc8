"""Asks a model server for recommendations at a steady rate and counts what fails.

    python load.py http://10.96.3.4 --rate 100 --seconds 60 --report load.json

Requests leave when they are due, whether or not the earlier ones were answered, so a server that stalls is seen. Each
has a connection of its own, as if from many clients, and is sent once: nothing here makes up for a failure. It ends
after its seconds, or at once when it is told to, and asks only addresses of this machine and of private networks.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import json
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from urllib.parse import urlsplit

MOST_SECONDS, MOST_RATE = 1800.0, 500.0
PATIENCE = 10.0
"""Seconds after which a request counts as failed."""
USERS = 300


class Load:
    """One run of requests, and what became of them."""

    def __init__(self, host: str, port: int) -> None:
        self.host = host
        self.port = port
        self.began = time.monotonic()
        self.seconds: list[float] = []
        self.versions: Counter[int] = Counter()
        self.failures: list[dict[str, object]] = []

    async def send(self, rate: float, seconds: float, stopped: asyncio.Event) -> None:
        """Sends until the time is over or `stopped` is set; waits for the last answers."""
        self.began = time.monotonic()
        number = 0
        async with asyncio.TaskGroup() as requests:
            while not stopped.is_set() and (due := number / rate) < seconds:
                await asyncio.sleep(max(0.0, due - (time.monotonic() - self.began)))
                requests.create_task(self.ask(number))
                number += 1

    async def ask(self, number: int) -> None:
        sent = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                status, answer = await self.post({"user": f"u{number % USERS:04d}", "k": 5})
            if status != 200:
                raise ValueError(f"status {status}: {answer[:200]!r}")
            self.versions[json.loads(answer)["version"]] += 1
        except (OSError, ValueError, KeyError, EOFError) as error:  # a timeout is an OSError
            after = round(sent - self.began, 2)
            self.failures.append({"after": after, "reason": f"{type(error).__name__}: {error}"})
        else:
            self.seconds.append(time.monotonic() - sent)

    async def post(self, asked: dict[str, object]) -> tuple[int, bytes]:
        body = json.dumps(asked).encode()
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            head = f"POST /recommend HTTP/1.1\r\nHost: {self.host}\r\nConnection: close\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.read()
        finally:
            writer.close()
        top, blank, content = answer.partition(b"\r\n\r\n")
        if not blank:
            raise EOFError(f"the connection ended after {len(answer)} bytes")
        return int(top.split(b" ", 2)[1]), content

    def report(self) -> dict[str, object]:
        ordered = sorted(self.seconds)
        return {
            "sent": len(self.seconds) + len(self.failures),
            "failed": len(self.failures),
            "failures": self.failures[:20],
            "versions": {str(version): count for version, count in sorted(self.versions.items())},
            "seconds": round(time.monotonic() - self.began, 1),
            "p50_ms": milliseconds(ordered, 0.5),
            "p99_ms": milliseconds(ordered, 0.99),
            "max_ms": milliseconds(ordered, 1.0),
        }


def milliseconds(ordered: list[float], share: float) -> float | None:
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1) if ordered else None


def near(text: str) -> tuple[str, int]:
    """Host and port of an address that is this machine's or a private network's; others are refused."""
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname:
        raise argparse.ArgumentTypeError(f"{text!r} is no http:// address")
    found = ipaddress.ip_address(socket.gethostbyname(url.hostname))
    if not (found.is_private or found.is_loopback):
        raise argparse.ArgumentTypeError(f"{text!r} is {found}, which is not of this machine or a private network")
    return str(found), url.port or 80


def at_most(limit: float):
    def read(text: str) -> float:
        value = float(text)
        if not 0 < value <= limit:
            raise argparse.ArgumentTypeError(f"{text} is not within 0 and {limit:g}")
        return value

    return read


async def main() -> None:
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("address", type=near)
    flags.add_argument("--rate", type=at_most(MOST_RATE), default=100.0, help="requests a second")
    flags.add_argument("--seconds", type=at_most(MOST_SECONDS), default=60.0, help="when to stop by itself")
    flags.add_argument("--report", type=Path, required=True, help="where to leave the counts")
    given = flags.parse_args()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    load = Load(*given.address)
    await load.send(given.rate, given.seconds, stopped)
    given.report.write_text(json.dumps(load.report()), encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
