"""What all nodes of one run share: the record, the tree, the engine, the limits, and the word to stop."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from workflows.runner.process import Child, Launch
from workflows.runner.record import Run, lock
from workflows.runner.tree import Phase, Tree


@dataclass(frozen=True)
class Outcome:
    """How a node, a task or a whole workflow ended."""

    phase: Phase
    outputs: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    lineage: str = ""
    """A digest of what was asked of it and of all before it: what comes after is done again where this differs."""


@dataclass(frozen=True)
class Place:
    """Where one attempt of a node lives on this machine."""

    name: str
    """Unique among all runs, and fit for a container's name."""
    folder: Path
    mounts: Mapping[str, Path]
    """The folder that stands for each mount path."""


class Engine(Protocol):
    """Turns a container template, its tags replaced, into a command for this machine."""

    def launch(self, container: Mapping[str, Any], place: Place) -> Launch: ...


@dataclass(frozen=True)
class Question:
    """What a suspend node asks: a value for each supplied output, or just to go on."""

    node: str
    output: str
    allowed: Sequence[str]
    default: str | None
    seconds: float | None
    over: Callable[[], bool] = lambda: False
    """Whether the run was stopped meanwhile, so that nobody needs the answer any more."""
    about: Mapping[str, str] = field(default_factory=dict)
    """What the node was given to say what the question is about."""


Ask = Callable[[Question], str | None]
"""Answers a question, or None where nobody is there or the time is over."""


class StoppedError(Exception):
    """The run was told to stop, or is past its deadline; the reason is the message."""


class Session:
    """One run that is going on."""

    def __init__(self, run: Run, tree: Tree, engine: Engine, ask: Ask, scope: Mapping[str, str], limit: int) -> None:
        self.run = run
        self.tree = tree
        self.engine = engine
        self.ask = ask
        self.scope = dict(scope)
        self.slots = threading.BoundedSemaphore(limit)
        self.interrupted = False
        self._reason = ""
        self._stopped = threading.Event()
        self._children: set[Child] = set()
        self._guard = threading.Lock()

    def stop(self, reason: str, *, interrupted: bool, now: bool = False) -> None:
        """Ends the running children, without any grace if `now`, and lets nothing new begin."""
        with self._guard:
            self.interrupted |= interrupted
            self._reason = self._reason or reason
            self._stopped.set()
            children = list(self._children)
        for child in children:
            child.stop(now=now)

    def go_on(self) -> None:
        """Lets the exit handler run after a deadline has ended the workflow."""
        if not self.interrupted:
            self._reason = ""
            self._stopped.clear()

    def stopped(self) -> bool:
        return self._stopped.is_set()

    def check(self) -> None:
        if self._stopped.is_set():
            raise StoppedError(self._reason)

    def sleep(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            self.check()

    @contextmanager
    def slot(self, slots: threading.Semaphore) -> Iterator[None]:
        """Holds one of a limited number of places, once there is one."""
        while not slots.acquire(timeout=0.2):
            self.check()
        try:
            self.check()
            yield
        finally:
            slots.release()

    @contextmanager
    def watched(self, child: Child) -> Iterator[None]:
        """Makes sure that a child which starts while we are told to stop is stopped too."""
        with self._guard:
            self._children.add(child)
            stopped = self._stopped.is_set()
        if stopped:
            child.stop()
        try:
            yield
        finally:
            with self._guard:
                self._children.discard(child)

    @contextmanager
    def mutexes(self, names: Sequence[str], waiting: Callable[[str], None]) -> Iterator[list[int]]:
        """Holds the locks of these names, which every run of this folder knows; yields their descriptors."""
        held: list[int] = []
        locks = self.run.folder.parent / ".mutexes"
        try:
            for name in sorted(set(names)):
                locks.mkdir(exist_ok=True)
                held.append(self._mutex(locks / f"{name.replace('/', '_')}.lock", lambda name=name: waiting(name)))  # type: ignore[misc]
            yield held
        finally:
            for descriptor in held:
                os.close(descriptor)

    def _mutex(self, path: Path, waiting: Callable[[], None]) -> int:
        said = False
        while True:
            descriptor = lock(path, 0)
            if descriptor is not None:
                return descriptor
            if not said:
                waiting()
                said = True
            self.sleep(0.1)


class Clock:
    """A deadline that may be absent."""

    def __init__(self, seconds: float | None) -> None:
        self.until = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        return None if self.until is None else max(0.0, self.until - time.monotonic())

    @property
    def over(self) -> bool:
        return self.until is not None and time.monotonic() >= self.until
