"""How far a long piece of work is: a bar on a terminal, `$ARGO_PROGRESS_FILE` for the engine, else a log line."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

EVERY_SECONDS = 10.0


class Progress:
    """Counts up to `total`; call `advance` from the working thread."""

    def __init__(self, what: str, total: int, update: Callable[[int, int], None] | None = None) -> None:
        self.what = what
        self.total = max(total, 1)
        self.done = 0
        self._update = update
        self._file = os.environ.get("ARGO_PROGRESS_FILE", "")
        self._said = time.monotonic()

    def advance(self, by: int = 1) -> None:
        self.done = min(self.done + by, self.total)
        if self._update:
            self._update(self.done, self.total)
        now = time.monotonic()
        if now - self._said >= EVERY_SECONDS or (self._file and self.done == self.total):
            self._said = now
            self.say()

    def at(self, done: int, total: int) -> None:
        """Sets both, for work that reports its own count."""
        self.total, self.done = max(total, 1), 0
        self.advance(done)

    def say(self) -> None:
        if self._file:
            Path(self._file).write_text(f"{self.done}/{self.total}\n", encoding="utf-8")
        if self._update is None:
            log.info("%s: %d of %d", self.what, self.done, self.total)


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    """A bar while the block runs, when a person watches."""
    if not sys.stderr.isatty():
        yield Progress(what, total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=max(total, 1))
        yield Progress(what, total, lambda done, total: bar.update(task, completed=done, total=total))
