"""Answers together what was asked at the same time: many rows at once are scored far faster than one by one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from steps.serving.asgi import RefusedError

Wanted = TypeVar("Wanted")
Given = TypeVar("Given")


class Together(Generic[Wanted, Given]):
    """Collects what is asked within one turn of the event loop. Nothing waits for more to come."""

    def __init__(
        self, answer: Callable[[Sequence[Wanted]], Sequence[Given | Exception]], seconds: float, most: int
    ) -> None:
        self.answer = answer
        self.seconds = seconds
        """After which nobody waits for the answer any more."""
        self.most = most
        """At once; what is more comes in the next turn."""
        self._waiting: list[tuple[Wanted, asyncio.Future[Given], float]] = []
        self._planned = False

    def ask(self, wanted: Wanted) -> asyncio.Future[Given]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Given] = loop.create_future()
        self._waiting.append((wanted, future, time.perf_counter()))
        if not self._planned:
            self._planned = True
            loop.call_soon(self._answer)
        return future

    def _answer(self) -> None:
        now, waiting, self._waiting = time.perf_counter(), self._waiting[: self.most], self._waiting[self.most :]
        self._planned = bool(self._waiting)
        if self._planned:
            asyncio.get_running_loop().call_soon(self._answer)
        due = []
        for wanted, future, since in waiting:
            if future.done():  # who asked has gone
                continue
            if now - since > self.seconds:
                future.set_exception(RefusedError(503, "the answer would come too late", {"Retry-After": "1"}))
            else:
                due.append((wanted, future))
        if not due:
            return
        try:
            given = self.answer([wanted for wanted, _ in due])
        except Exception as error:  # noqa: BLE001 (every one who asked is told)
            given = [error] * len(due)
        for (_, future), one in zip(due, given, strict=True):
            if isinstance(one, Exception):
                future.set_exception(one)
            else:
                future.set_result(one)
