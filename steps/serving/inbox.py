"""Takes what users did, and says so only once it would survive a crash: written to the store, many at once."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from steps.artifacts import feedback
from steps.artifacts.feedback import Event
from steps.clients.object_store import Bucket
from steps.runtime.errors import StepError
from steps.serving.asgi import RefusedError
from steps.serving.recent import Recent

log = logging.getLogger(__name__)

PAUSE = 1.0
"""Seconds between two batches: what comes meanwhile is one object of the store, not many, all day long. Only what
comes so soon after a batch waits.
"""
MOST_WAITING = 100_000


class Inbox:
    """Collects events while the batch before is being written."""

    def __init__(self, data: Bucket, recent: Recent) -> None:
        self.data = data
        self.recent = recent
        self._waiting: dict[str, Event] = {}
        self._written: asyncio.Future[None] | None = None
        """Is done once all that waits is written."""
        self._writing: dict[str, asyncio.Future[None]] = {}
        """Of each event that is being written right now."""
        self._task: asyncio.Task[None] | None = None
        self._last = -PAUSE
        self._thread = ThreadPoolExecutor(1, "inbox")
        """Its own: nothing else that takes long keeps it from writing."""

    async def take(self, events: Sequence[Event]) -> int:
        """How many of these were new; returns when they are safe, and raises RefusedError where they could not be."""
        new = {event.id: event for event in events if not self.recent.knows(event.id)}
        elsewhere = {self._writing[one] for one in new if one in self._writing}
        mine = {one: event for one, event in new.items() if one not in self._writing}
        fresh = sum(one not in self._waiting for one in mine)
        if len(self._waiting) + len(mine) > MOST_WAITING:
            raise RefusedError(503, "too much feedback waits to be written", {"Retry-After": "1"})
        if mine:
            self._waiting |= mine
            self._written = self._written or asyncio.get_running_loop().create_future()
            elsewhere.add(self._written)
            if self._task is None:
                self._task = asyncio.create_task(self._write())
        for future in elsewhere:
            await asyncio.shield(future)
        return fresh

    async def _write(self) -> None:
        while self._waiting and self._written:
            await asyncio.sleep(self._last + PAUSE - time.monotonic())
            self._last = time.monotonic()
            batch, written, self._waiting, self._written = self._waiting, self._written, {}, None
            self._writing = dict.fromkeys(batch, written)
            try:
                await asyncio.get_running_loop().run_in_executor(
                    self._thread, feedback.write, self.data, list(batch.values())
                )
            except Exception as error:  # noqa: BLE001 (it is told, and logged)
                log.log(
                    logging.WARNING if isinstance(error, StepError) else logging.ERROR,
                    "%d events could not be written: %s", len(batch), error,
                )  # fmt: skip
                written.set_exception(
                    RefusedError(503, "what users did cannot be written at the moment", {"Retry-After": "5"})
                )
                written.exception()  # also where nobody waits any more
            else:
                self.recent.take(batch.values())
                written.set_result(None)
            self._writing = {}
        self._task = None
