"""What users have bought since the models were trained: it takes effect at once, not with the next training."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from steps.artifacts import feedback
from steps.artifacts.feedback import BOUGHT, Event
from steps.clients.object_store import Bucket
from steps.runtime.errors import StepError

log = logging.getLogger(__name__)

MOST_USERS = 500_000
MOST_ITEMS = 500
"""Of a user: the last ones."""
MOST_EVENTS = 500_000
"""Whose repetition is noticed at once; what comes again later is noticed by whoever reads all of it."""
LOOK_SECONDS, MOST_SECONDS = 0.5, 10.0
"""Between two looks: the least, and the most however much of the processor a look took."""
SHARE = 0.1
"""Of a core's time, for looking."""


class Recent:
    """Items by user, newest last, and the events that were taken; both forget what is oldest."""

    def __init__(self) -> None:
        self._bought: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        self._events: OrderedDict[str, None] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, user: str) -> Sequence[str]:
        found = self._bought.get(user)
        if found is None:
            return ()
        with self._guard:
            return tuple(found)

    def knows(self, event: str) -> bool:
        return event in self._events

    def take(self, events: Iterable[Event]) -> None:
        """Each event once, however often it comes."""
        with self._guard:
            for event in events:
                if event.id in self._events:
                    continue
                self._events[event.id] = None
                if event.kind == BOUGHT:
                    self._add(event.user, event.items)
            _forget(self._events, MOST_EVENTS)
            _forget(self._bought, MOST_USERS)

    def _add(self, user: str, items: Iterable[str]) -> None:
        bought = self._bought.setdefault(user, OrderedDict())
        self._bought.move_to_end(user)
        for item in items:
            bought[item] = None
            bought.move_to_end(item)
        _forget(bought, MOST_ITEMS)


def _forget(oldest_first: OrderedDict[str, Any], most: int) -> None:
    while len(oldest_first) > most:
        oldest_first.popitem(last=False)


def pause(took: float) -> float:
    """Seconds until the next look, from what the last one took of the processor: a store may be slow to list."""
    return min(max(LOOK_SECONDS, took / SHARE), MOST_SECONDS)


class Following:
    """Brings to `recent` what other processes and other servers were told."""

    def __init__(self, data: Bucket, recent: Recent, remember: timedelta) -> None:
        self.data = data
        self.recent = recent
        self.problem = ""
        self._mark = feedback.mark(datetime.now(UTC) - remember)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Following:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over.set()
        self._thread.join()

    def look(self) -> None:
        """Goes on where the last look ended, or where it met with an error."""
        for events, mark in feedback.after(self.data, self._mark, datetime.now(UTC)):
            self.recent.take(events)
            self._mark = mark
            if self._over.is_set():  # a server that is to end does not read on for minutes
                return

    def _follow(self) -> None:
        while not self._over.is_set():
            began = time.thread_time()
            try:
                self.look()
                self.problem = ""
            except StepError as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 (it is told)
                self._tell(f"{type(error).__name__}: {error}")
            self._over.wait(pause(time.thread_time() - began))

    def _tell(self, problem: str) -> None:
        if problem != self.problem:  # twice a second would be too often
            log.warning("what users did elsewhere is not known: %s", problem)
        self.problem = problem
