"""Begins or resumes a run on this machine, and sees it to its end: signals, the walk, what is left for a resume."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from workflows.runner.record import Run
from workflows.runner.session import Ask, Engine, Outcome, Session
from workflows.runner.support import check
from workflows.runner.tree import SELDOM, Tree
from workflows.runner.walk import Walk, global_scope


@dataclass(frozen=True)
class Finished:
    """How a run has ended, for a summary and an exit code."""

    outcome: Outcome
    interrupted: bool
    tree: Tree


def start(run: Run, engine: Engine, tree: Tree, ask: Ask, *, limit: int = 0) -> Finished:
    """Walks the run's workflow; call it in the main thread, for it listens to Ctrl-C and SIGTERM."""
    request = run.request
    check(request.manifest)
    scope = global_scope(request.manifest, run.name, request.parameters, request.scheduled, request.created)
    most = min(
        limit or max(2, os.cpu_count() or 1),
        int(request.manifest["spec"].get("parallelism") or 2**20),
    )
    session = Session(run, tree, engine, ask, scope, most)
    templates = request.manifest["spec"]["templates"]
    tree.seldom = frozenset(t["name"] for t in templates if SELDOM & set(t))
    with stopping(session):
        outcome = walk_in_thread(Walk(request.manifest, session))
    return Finished(outcome, session.interrupted, tree)


def walk_in_thread(walk: Walk) -> Outcome:
    """Walks beside the main thread, which stays free for signals: a lock that it waits for would hold them back."""
    ended: list[Outcome | BaseException] = []

    def work() -> None:
        try:
            ended.append(walk.run())
        except BaseException as error:  # noqa: BLE001 (raised again by the main thread)
            ended.append(error)

    thread = threading.Thread(target=work, name="walk")
    thread.start()
    while thread.is_alive():
        thread.join(0.5)
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


@contextmanager
def stopping(session: Session) -> Iterator[None]:
    """While the block runs, Ctrl-C, SIGTERM and a closed terminal end the children and leave a run that resumes.

    A second Ctrl-C is from someone who does not want to wait: the children are killed.
    """
    pressed = 0

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed += number == signal.SIGINT
        how = {"interrupted": True, "now": pressed > 1}
        # Not here: a handler runs in the middle of anything, perhaps while the session's own lock is held.
        threading.Thread(target=session.stop, args=("interrupted",), kwargs=how, daemon=True).start()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
