"""Asks at a rate and measures the answers: when each request is due is fixed beforehand, whatever came of the others.

The time of an answer counts from when its request was due, not from when it could be sent at last: a server that stands
still for a second has kept all those waiting who wanted to ask in that second.
"""

from __future__ import annotations

import http.client
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import urlsplit

from steps.runtime.errors import UsageError
from steps.runtime.secret import Secret

PERCENTILES = (50.0, 90.0, 99.0, 99.9)


@dataclass(frozen=True)
class Question:
    """One request, and when it is due."""

    number: int
    user: str
    due: float


class Schedule:
    """Hands out the questions in order, each at its time; a rate of 0 is as fast as the answers come."""

    def __init__(self, rate: float, count: int, user: Callable[[int], str]) -> None:
        self.rate = rate
        self.count = count
        self.user = user
        self.stopped = threading.Event()
        self._began = time.perf_counter()
        self._next = 0
        self._lock = threading.Lock()

    def start(self) -> None:
        self._began = time.perf_counter()

    def take(self) -> Question | None:
        """The next one, once it is due; None after the last, or when stopped."""
        with self._lock:
            number = self._next
            if number >= self.count or self.stopped.is_set():
                return None
            self._next += 1
        if not self.rate:
            return Question(number, self.user(number), time.perf_counter())
        due = self._began + number / self.rate
        wait = due - time.perf_counter()
        if wait > 0 and self.stopped.wait(wait):
            return None
        return Question(number, self.user(number), due)


@dataclass
class Tally:
    """What came of the questions; told by several threads."""

    asked: int = 0
    answered: int = 0
    unknown: int = 0
    degraded: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    versions: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    """From when a question was due to its answer."""
    sent_seconds: list[float] = field(default_factory=list)
    """From when it was sent."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def done(self) -> int:
        return self.answered + self.faults.total()

    def sent(self) -> None:
        with self._lock:
            self.asked += 1

    def answer(self, question: Question, sent: float, version: int, *, known: bool, degraded: bool) -> None:
        now = time.perf_counter()
        with self._lock:
            self.answered += 1
            self.unknown += not known
            self.degraded += degraded
            self.versions[version] += 1
            self.seconds.append(now - question.due)
            self.sent_seconds.append(now - sent)

    def fault(self, what: str) -> None:
        with self._lock:
            self.faults[what] += 1

    def percentiles(self) -> dict[str, float]:
        """Milliseconds within which so many of a hundred answers came."""
        return percentiles(self.seconds)


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    if not ordered:
        return {}
    at = {f"p{share:g}": ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)] for share in PERCENTILES}
    return {name: round(1000 * value, 2) for name, value in {**at, "max": ordered[-1]}.items()}


class Asker(Protocol):
    """Sends a question, and tells the tally sooner or later what came of it."""

    def ask(self, question: Question) -> None: ...


def ask_all(schedule: Schedule, asker: Asker, threads: int) -> list[threading.Thread]:
    """Starts as many threads as may wait for answers at the same time; they end with the questions."""

    def work() -> None:
        while (question := schedule.take()) is not None:
            asker.ask(question)

    schedule.start()
    started = [threading.Thread(target=work, name=f"asker-{number}", daemon=True) for number in range(threads)]
    for thread in started:
        thread.start()
    return started


class Server:
    """The model server over HTTP; every thread keeps a connection of its own."""

    def __init__(self, url: str, token: Secret, seconds: float) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError as error:
            raise UsageError(f"--url is {url!r}: {error}") from error
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.query
            or parts.fragment
            or parts.username
        ):
            raise UsageError(f"--url is {url!r}: give http://HOST[:PORT] or https://HOST[:PORT]")
        self.url = url.rstrip("/")
        self.seconds = seconds
        self._secure = parts.scheme == "https"
        self._place = parts.hostname, port
        self._path = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if token:
            self._headers["authorization"] = f"Bearer {token.reveal()}"
        self._mine = threading.local()

    def post(self, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body; raises OSError or HTTPException where there is no answer."""
        kept: http.client.HTTPConnection | None = getattr(self._mine, "connection", None)
        if kept is not None:
            # The server may have closed what was idle: a new connection tells whether it is there.
            with suppress(ConnectionError, http.client.RemoteDisconnected):
                return self._post(kept, path, body)
        connection = self._connect()
        self._mine.connection = connection
        return self._post(connection, path, body)

    def _connect(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        return kind(*self._place, timeout=self.seconds)

    def _post(self, connection: http.client.HTTPConnection, path: str, body: bytes) -> tuple[int, bytes]:
        try:
            connection.request("POST", self._path + path, body, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            self._mine.connection = None
            raise
