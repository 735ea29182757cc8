"""The nodes of a run while it runs: what a display shows, and a summary counts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

SELDOM = {"suspend", "resource", "dag"}
"""The kinds of template that mostly do not run: to wait for somebody, to make an object, to walk a DAG below."""


class Phase(StrEnum):
    """Argo's own words for the state of a node."""

    PENDING = "Pending"
    RUNNING = "Running"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    ERROR = "Error"
    SKIPPED = "Skipped"
    OMITTED = "Omitted"

    @property
    def bad(self) -> bool:
        return self in (Phase.FAILED, Phase.ERROR)

    @property
    def final(self) -> bool:
        return self not in (Phase.PENDING, Phase.RUNNING)


@dataclass
class Node:
    """One node; changed only through its tree."""

    path: str
    name: str
    template: str
    leaf: bool = False
    phase: Phase = Phase.PENDING
    message: str = ""
    attempts: int = 0
    seconds: float = 0.0
    memory: int = 0
    reused: bool = False
    started: float = 0.0
    log: Path | None = None
    seldom: bool = False
    """Whether it is the exception that it runs."""
    outputs: dict[str, str] = field(default_factory=dict)
    children: list[Node] = field(default_factory=list)

    @property
    def elapsed(self) -> float:
        """Seconds so far; those of the successful attempt once the node has ended."""
        return time.monotonic() - self.started if self.phase is Phase.RUNNING and self.started else self.seconds

    @property
    def shown(self) -> bool:
        """A question that nobody was asked is not worth a line, nor is a canary that nobody wished for."""
        return not (self.seldom and self.phase in (Phase.SKIPPED, Phase.OMITTED))

    def walk(self) -> Iterator[Node]:
        yield self
        for child in self.children:
            yield from child.walk()


class Tree:
    """Grows while the walk goes on, and tells its watcher of every change."""

    def __init__(self, name: str, changed: Callable[[Node], None] | None = None) -> None:
        self.roots = [Node(path="", name=name, template="")]
        self.seldom: frozenset[str] = frozenset()
        """The templates whose nodes mostly do not run."""
        self._changed = changed
        self._guard = threading.RLock()

    @property
    def root(self) -> Node:
        return self.roots[0]

    def add(self, parent: Node | None, path: str, name: str, template: str, *, leaf: bool = False) -> Node:
        """A new node below `parent`, or beside the root where there is none (the exit handler)."""
        node = Node(path=path, name=name, template=template, leaf=leaf, seldom=template in self.seldom)
        with self._guard:
            (self.roots if parent is None else parent.children).append(node)
        self.change(node)
        return node

    def change(self, node: Node, **fields: object) -> None:
        with self._guard:
            for name, value in fields.items():
                setattr(node, name, value)
            if self._changed:
                self._changed(node)

    def leaves(self) -> list[Node]:
        """The nodes that did, or would have done, the work, in the order in which they began."""
        with self._guard:
            return [node for root in self.roots for node in root.walk() if node.leaf]
