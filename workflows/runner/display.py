"""Shows a run while it goes on: a live tree on a terminal, plain lines elsewhere; asks, and prints the end of a log."""

from __future__ import annotations

import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text
from rich.tree import Tree as Drawing

from workflows.runner.session import Question
from workflows.runner.tree import Node, Phase, Tree

MARKS = {
    Phase.PENDING: ("○", "dim"),
    Phase.RUNNING: ("●", "cyan"),
    Phase.SUCCEEDED: ("✓", "green"),
    Phase.FAILED: ("✗", "red"),
    Phase.ERROR: ("!", "red"),
    Phase.SKIPPED: ("–", "dim"),
    Phase.OMITTED: ("–", "dim"),
}
TAIL = 20


def mebibytes(memory: int) -> str:
    return f"{memory / 2**20:.0f} MiB" if memory else "–"


def line(node: Node) -> Text:
    """One node as the tree shows it."""
    mark, style = MARKS[node.phase]
    text = Text(f"{mark} {node.name}", style=style)
    if node.reused:
        text.append("  done before", style="dim")
    elif (node.phase is Phase.RUNNING and node.leaf) or (node.phase is Phase.SUCCEEDED and node.seconds):
        text.append(f"  {node.elapsed:.1f} s", style="dim")
    if node.message:
        text.append(f"  {node.message}", style="dim" if not node.phase.bad else style)
    return text


def drawing(tree: Tree) -> Drawing:
    """The whole run as a tree."""

    def add(parent: Drawing, nodes: Iterable[Node]) -> None:
        for node in list(nodes):
            if node.shown:
                add(parent.add(line(node)), node.children)

    top = Drawing(line(tree.root))
    add(top, tree.root.children)
    add(top, tree.roots[1:])
    return top


class Display:
    """Watches a tree; use it as a context around the run."""

    def __init__(
        self, console: Console, *, logs: bool = False, hint: Callable[[Question], str] = lambda question: ""
    ) -> None:
        self.console = console
        self.tree: Tree | None = None
        self._hint = hint
        self._logs = Logs(console) if logs else None
        self._live: Live | None = None
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._render, refresh_per_second=8, transient=True)
            self._live.start()
        if self._logs:
            self._logs.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._logs:
            self._logs.stop()
        if self._live:
            self._live.stop()
            self.console.print(self._render())

    def _render(self) -> Drawing | Text:
        return drawing(self.tree) if self.tree else Text("")

    def changed(self, node: Node) -> None:
        """A node has changed; a terminal draws it by itself, elsewhere it is a line."""
        if self._logs and node.log:
            self._logs.follow(node.name, node.log)
        if self._live is None and node.leaf and node.shown:
            self._say(node)

    def _say(self, node: Node) -> None:
        if node.phase is Phase.PENDING and not node.message:
            return
        said = f"{node.phase.lower()}{', done before' if node.reused else ''}"
        if node.phase.final and node.attempts and not node.reused:
            if node.phase is Phase.SUCCEEDED and not node.seconds:
                return
            said += f" in {node.seconds:.1f} s, peak memory {mebibytes(node.memory)}"
        text = f"{time.strftime('%H:%M:%S')} {node.name} {said}{': ' + node.message if node.message else ''}"
        if self._said.get(node.path) != text[9:]:
            self._said[node.path] = text[9:]
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def ask(self, question: Question) -> str | None:
        """Asks on the terminal; None where there is none, which is said with a hint, or when the time is over."""
        if not (sys.stdin.isatty() and self.console.is_terminal):
            self._tell_about(question)
            hint = self._hint(question)
            if hint:
                self.console.print(hint, markup=False, highlight=False, soft_wrap=True)
            return None
        if self._live:
            self._live.stop()
        try:
            return self._ask(question)
        finally:
            if self._live:
                self._live.start()

    def _tell_about(self, question: Question) -> None:
        for name, value in question.about.items():
            self.console.print(f"{question.node}: {name}: {value}", markup=False, highlight=False, soft_wrap=True)

    def _ask(self, question: Question) -> str | None:
        self._tell_about(question)
        until = None if question.seconds is None else time.monotonic() + question.seconds
        choice = f" [{'/'.join(question.allowed)}]" if question.allowed else ""
        default = f" ({question.default})" if question.default is not None else ""
        what = question.output or "press Enter to go on"
        while True:
            self.console.print(f"{question.node}: {what}{choice}{default} ", end="", markup=False, highlight=False)
            while not select.select([sys.stdin], [], [], 0.1)[0]:
                if question.over() or (until is not None and time.monotonic() >= until):
                    return None
            answer = sys.stdin.readline()
            if not answer:
                return None
            answer = answer.strip() or (question.default or "")
            if not question.allowed or answer in question.allowed:
                return answer


class Logs:
    """Prints what the nodes write to their logs, each line with the node's name before it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._places: dict[Path, tuple[str, int]] = {}
        self._guard = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="logs", daemon=True)

    def follow(self, name: str, log: Path) -> None:
        with self._guard:
            self._places.setdefault(log, (name, 0))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(0.2):
            self._print()
        self._print()

    def _print(self) -> None:
        with self._guard:
            places = dict(self._places)
        for log, (name, place) in places.items():
            try:
                with log.open("rb") as file:
                    file.seek(place)
                    text = file.read()
            except OSError:
                continue
            whole = text[: text.rfind(b"\n") + 1]
            with self._guard:
                self._places[log] = (name, place + len(whole))
            for row in whole.decode("utf-8", "replace").splitlines():
                self._console.print(f"{name} | {row}", markup=False, highlight=False, soft_wrap=True)


def print_tail(console: Console, node: Node) -> None:
    """The last lines of a failed node's log, and where the whole of it is."""
    if node.log is None or not node.log.exists():
        return
    with node.log.open(encoding="utf-8", errors="replace") as file:
        for row in deque(file, TAIL):
            console.print(f"{node.name} | {row.rstrip()}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{node.name} | (all of it: {node.log})", markup=False, highlight=False, soft_wrap=True)


def summary(tree: Tree) -> Table:
    """Seconds and peak memory of every step."""
    table = Table(box=None, pad_edge=False)
    for name in ("step", "state", "seconds", "peak memory", "attempts"):
        # On a narrow terminal two items of a fan-out may differ only in what would be cut off.
        table.add_column(name, justify="left" if name in ("step", "state") else "right", overflow="fold")
    for node in filter(lambda node: node.shown, tree.leaves()):
        ran = node.attempts > 0
        table.add_row(
            node.path,
            f"{node.phase.lower()}{' (before)' if node.reused else ''}",
            f"{node.seconds:.1f}" if ran or node.reused else "–",
            mebibytes(node.memory),
            str(node.attempts) if ran else "–",
        )
    return table
