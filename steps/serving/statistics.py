"""Counts of requests and their times, in memory that the worker processes share; each writes its own row."""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from steps.serving.asgi import OTHER
from steps.serving.histogram import COLUMNS, column, upper
from steps.serving.traffic import QUESTIONS, Traffic

NUMBER = 8
"""Bytes."""
REQUESTS, REFUSED, ERRORS, MICROSECONDS, TIMES = 0, 1, 2, 3, 4
VERSIONS = 16
"""Versions that are counted apart: the oldest gives way."""
ANSWERED, FAILED, DEGRADED, STRANGERS, SHADOWED, AGREED = 1, 2, 3, 4, 5, 6
"""What is counted of a version. Of questions in the shadow, how far it agreed is told in millionths."""
KINDS = ("answers", "errors", "degraded", "strangers", "shadowed", "agreed")
ROW = len(KINDS) + 1
PERCENTILES = (50, 90, 99, 99.9)


@dataclass(frozen=True)
class Line:
    """What is known of one kind of request."""

    requests: int
    refused: int
    """Answered by 4xx: the asker's mistakes."""
    errors: int
    """Answered by 5xx."""
    seconds: float
    times: Sequence[int]
    """How many took how long, by columns."""

    def since(self, before: Line) -> Line:
        """What has come after an earlier look."""
        return Line(
            self.requests - before.requests,
            self.refused - before.refused,
            self.errors - before.errors,
            self.seconds - before.seconds,
            [now - then for now, then in zip(self.times, before.times, strict=True)],
        )

    def percentile(self, share: float) -> float:
        """The time in seconds within which so many of a hundred were answered."""
        wanted, passed = math.ceil(self.requests * share / 100), 0
        for place, count in enumerate(self.times):
            passed += count
            if count and passed >= wanted:
                return upper(place)
        return 0.0

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "refused": self.refused,
            "errors": self.errors,
            "mean_ms": round(1000 * self.seconds / max(self.requests, 1), 3),
            "ms": {f"p{share}": round(1000 * self.percentile(share), 3) for share in PERCENTILES},
        }


class Statistics:
    """Made before the workers are; `mine` says which row this process writes."""

    def __init__(self, labels: Sequence[str], workers: int = 1) -> None:
        self.labels = [*dict.fromkeys(labels), OTHER]
        self.workers = workers
        self.mine = 0
        self.traffic = Traffic(workers)
        self.started = time.time()
        self._width = (TIMES + COLUMNS) * len(self.labels) + VERSIONS * ROW
        # Anonymous memory that a fork shares. Single numbers of it are read and written whole.
        self._cells = memoryview(mmap.mmap(-1, NUMBER * self._width * workers)).cast("q")
        self._places = {label: place * (TIMES + COLUMNS) for place, label in enumerate(self.labels)}
        self._versions = (TIMES + COLUMNS) * len(self.labels)

    def count(self, label: str, status: int, seconds: float) -> None:
        place, cells = self.mine * self._width + self._places[label], self._cells
        cells[place + REQUESTS] += 1
        if status >= 400:
            cells[place + (REFUSED if status < 500 else ERRORS)] += 1
        cells[place + MICROSECONDS] += int(seconds * 1e6)
        at = column(seconds)
        cells[place + TIMES + at] += 1
        if label in QUESTIONS:
            self.traffic.count(self.mine, at, failed=status >= 500)

    def answered(self, version: int, what: int = ANSWERED, times: int = 1) -> None:
        """Counts what a version has answered, or could not."""
        self._cells[self._row(version) + what] += times
        if what in (ANSWERED, FAILED):
            self.traffic.answered(self.mine, version, times, failed=what == FAILED)

    def _row(self, version: int) -> int:
        first = self.mine * self._width + self._versions
        rows = range(first, first + VERSIONS * ROW, ROW)
        for row in rows:
            if self._cells[row] in (version, 0):
                break
        else:
            row = min(rows, key=lambda one: self._cells[one])
            self._cells[row : row + ROW] = memoryview(bytes(NUMBER * ROW)).cast("q")
        self._cells[row] = version
        return row

    def line(self, label: str, *, mine: bool = False) -> Line:
        """One kind of request, of all workers together, or of this one."""
        place = self._places[label]
        rows = [self._cells[one + place : one + place + TIMES + COLUMNS].tolist() for one in self._starts(mine)]
        total = [sum(cells) for cells in zip(*rows, strict=True)]
        seconds = total[MICROSECONDS] / 1e6
        return Line(total[REQUESTS], total[REFUSED], total[ERRORS], seconds, total[TIMES:])

    def lines(self) -> dict[str, Line]:
        """Of every kind that was asked for."""
        found = {label: self.line(label) for label in self.labels}
        return {label: line for label, line in found.items() if line.requests}

    def versions(self, *, mine: bool = False) -> dict[int, dict[str, int]]:
        """What each version has answered."""
        found: dict[int, dict[str, int]] = {}
        for start in self._starts(mine):
            for row in range(VERSIONS):
                first = start + self._versions + row * ROW
                version, *counts = self._cells[first : first + ROW].tolist()
                if version:
                    total = found.setdefault(version, dict.fromkeys(KINDS, 0))
                    for name, count in zip(total, counts, strict=True):
                        total[name] += count
        return dict(sorted(found.items()))

    def _starts(self, mine: bool) -> Iterator[int]:
        first, end = (self.mine, self.mine + 1) if mine else (0, self.workers)
        return iter(range(first * self._width, end * self._width, self._width))
