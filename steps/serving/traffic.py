"""What was asked within the last hour, ten seconds at a time, in memory that the worker processes share."""

from __future__ import annotations

import math
import mmap
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from steps.serving.histogram import COLUMNS, upper
from steps.serving.messages import Moment

QUESTIONS = frozenset(("/recommend", "/predict", "/similar", "/because"))
"""Whose requests count here: what the shop's site asks, and not who watches."""
SECONDS = 10
PLACES = 3600 // SECONDS
"""An hour: what comes after takes the place of what was before."""
NUMBER = 8
"""Bytes."""
VERSIONS = 8
"""That are told apart within ten seconds; those that answer beside so many are not told."""
TURN, REQUESTS, ERRORS, TIMES = 0, 1, 2, 3
ANSWERS = TIMES + COLUMNS
"""From here on: a version, its answers, its failures; the next."""
WIDTH = ANSWERS + 3 * VERSIONS

Clock = Callable[[], float]
Numbers = npt.NDArray[np.int64]


class Traffic:
    """Each worker writes a part of its own, so that nobody waits for anybody."""

    def __init__(self, workers: int = 1, clock: Clock = time.time) -> None:
        self.clock = clock
        self._shape = (workers, PLACES, WIDTH)
        self._nothing = memoryview(bytes(NUMBER * WIDTH)).cast("q")
        # Anonymous memory that a fork shares. Single numbers of it are read and written whole.
        self._cells = memoryview(mmap.mmap(-1, NUMBER * math.prod(self._shape))).cast("q")

    def count(self, worker: int, column: int, *, failed: bool) -> None:
        """A request, by the column of its time."""
        cells, first = self._cells, self._first(worker)
        cells[first + REQUESTS] += 1
        cells[first + TIMES + column] += 1
        if failed:
            cells[first + ERRORS] += 1

    def answered(self, worker: int, version: int, times: int, *, failed: bool) -> None:
        """Lists that a version has made, or could not."""
        cells, first = self._cells, self._first(worker) + ANSWERS
        for cell in range(first, first + 3 * VERSIONS, 3):
            if cells[cell] in (version, 0):
                cells[cell] = version
                cells[cell + 1 + failed] += times
                return

    def _first(self, worker: int) -> int:
        """Where this turn's cells of a worker begin. What was there an hour ago is gone."""
        turn = int(self.clock()) // SECONDS
        first = (worker * PLACES + turn % PLACES) * WIDTH
        if self._cells[first + TURN] != turn:
            self._cells[first : first + WIDTH] = self._nothing
            self._cells[first + TURN] = turn
        return first

    def moments(self) -> list[Moment]:
        """Of all workers together, the oldest first; those within which nothing was asked are left out."""
        now = int(self.clock()) // SECONDS
        cells = np.frombuffer(self._cells, np.int64).reshape(self._shape).copy()
        turns = cells[:, :, TURN]
        # Who has counted nothing for an hour has old numbers in this place.
        recent = (turns > now - PLACES) & (turns <= now)
        cells[~recent] = 0
        passed = np.cumsum(cells[:, :, TIMES:ANSWERS].sum(axis=0), axis=1)
        of_places = cells[:, :, TURN].max(axis=0)
        places = sorted(np.flatnonzero(of_places).tolist(), key=lambda place: int(of_places[place]))
        return [_moment(int(of_places[place]), cells[:, place], passed[place]) for place in places]


def _moment(turn: int, rows: Numbers, passed: Numbers) -> Moment:
    """What all workers have counted in one turn; of how many requests each column of times is the end."""
    answers: dict[str, int] = {}
    failed: dict[str, int] = {}
    for version, good, bad in rows[:, ANSWERS:].reshape(-1, 3).tolist():
        for told, count in ((answers, good), (failed, bad)):
            if count:
                told[str(version)] = told.get(str(version), 0) + count
    requests, errors = rows[:, (REQUESTS, ERRORS)].sum(axis=0).tolist()
    return Moment(turn * SECONDS, requests, errors, _ms(passed, 50), _ms(passed, 99), answers, failed)


def _ms(passed: Numbers, share: int) -> float:
    """Within so many milliseconds so many of a hundred were answered, by how many were within each column."""
    if not passed[-1]:
        return 0.0
    return round(1000 * upper(int(np.searchsorted(passed, math.ceil(passed[-1] * share / 100)))), 3)
