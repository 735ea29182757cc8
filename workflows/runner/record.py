"""A run's folder: what was asked, what has finished, and the lock that says who works on it.

`run.json` holds the built template, so that a resumed run is the same run. `record.jsonl` only grows, one finished
node a line; a line torn by a crash is cut off when the run is opened again. A folder gets its run's name once it can be
resumed: what is called `.unfinished-…` was killed before that, and is removed later. There are two locks: the runner's
own, and one that every warden inherits, so that a resumed run does not start while a child of a killed runner still
lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
RECORD, HEADER, LOCK, CHILDREN = "record.jsonl", "run.json", "lock", "children.lock"
UNFINISHED = ".unfinished-"
"""Begins the name of a folder that is no run yet."""
ABANDONED = 3600.0
"""Seconds after which nobody works on such a folder any more: making a run takes milliseconds."""
PATIENCE = 15.0
"""Seconds that a resumed run waits for what a killed runner left to end."""


class RunError(Exception):
    """A run that cannot be begun or resumed, in one sentence."""


@dataclass(frozen=True)
class Entry:
    """One finished node, as a line of the record."""

    node: str
    phase: str
    digest: str
    outputs: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    seconds: float = 0.0
    memory: int = 0
    attempts: int = 1
    at: str = ""


@dataclass(frozen=True)
class Request:
    """What was asked for: enough to do it again."""

    workflow: str
    manifest: dict[str, Any]
    parameters: dict[str, str]
    engine: str
    folder: str
    """The working directory, for paths in parameters are relative to it."""
    settings: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    scheduled: str = ""
    created: str = ""
    """When the run was begun; a resumed run is as old as it was."""


def new_name(workflow: str, now: datetime | None = None) -> str:
    """`retrain-20261121-104400-3f9c`: sorts by time, and is a legal name for Kubernetes and for the store."""
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%d-%H%M%S")
    return f"{workflow[:42]}-{stamp}-{secrets.token_hex(2)}"


@dataclass(frozen=True)
class Locks:
    """Descriptors of a run's two locks; `children` is for the wardens to inherit."""

    runner: int
    children: int

    @classmethod
    def take(cls, folder: Path, patience: float) -> Locks:
        runner = lock(folder / LOCK, 0)
        if runner is None:
            raise RunError(f"another process works on run {folder.name} now; wait until it has ended")
        children = lock(folder / CHILDREN, patience)
        if children is None:
            os.close(runner)
            raise RunError(f"a step of run {folder.name} has not ended yet, although its runner has; try again soon")
        return cls(runner, children)

    def release(self) -> None:
        os.close(self.children)
        os.close(self.runner)


class Run:
    """An open run; only its owner, which holds the lock, has one."""

    def __init__(self, folder: Path, request: Request, locks: Locks) -> None:
        self.folder = folder
        self.name = folder.name
        self.request = request
        self.locks = locks
        self.finished: dict[str, Entry] = {}
        self._guard = threading.Lock()
        self._read()

    @classmethod
    def begin(cls, runs: Path, request: Request) -> Run:
        """A new run, under a name that nobody has; whenever we are killed, it can be resumed or is no run at all."""
        try:
            runs.mkdir(parents=True, exist_ok=True)
            sweep(runs)
            making = reserve(runs, request.workflow)
            locks = Locks.take(making, patience=0)
            _write(making / HEADER, json.dumps(asdict(request), ensure_ascii=False))
            folder = making.rename(runs / making.name.removeprefix(UNFINISHED))
            _sync(runs)
            return cls(folder, request, locks)
        except OSError as error:
            raise RunError(f"cannot write to {runs}: {error.strerror}; choose a folder with --runs") from error

    @classmethod
    def open(
        cls,
        runs: Path,
        name: str,
        *,
        parameters: Mapping[str, str] | None = None,
        check: Callable[[Request], None] = lambda request: None,
        patience: float = PATIENCE,
    ) -> Run:
        """An earlier run, to be resumed, perhaps with other parameters; refused while someone else works on it.

        `check` may refuse by raising; the run then stays as it was.
        """
        folder = runs / name
        if not NAME.fullmatch(name) or not folder.is_dir():
            raise RunError(f"there is no run {name!r} in {runs}; there are {', '.join(known(runs)) or 'none'}")
        try:
            locks = Locks.take(folder, patience)
        except OSError as error:
            raise RunError(f"cannot write to {folder}: {error.strerror}") from error
        try:
            request = Request(**json.loads((folder / HEADER).read_text(encoding="utf-8")))
            check(request)
            if parameters:
                request = replace(request, parameters={**request.parameters, **parameters})
                _write(folder / HEADER, json.dumps(asdict(request), ensure_ascii=False))
            return cls(folder, request, locks)
        except BaseException as error:
            locks.release()
            if isinstance(error, FileNotFoundError):
                raise RunError(f"run {name} was stopped before it began; start a new one") from error
            if isinstance(error, OSError):
                raise RunError(f"cannot use {folder}: {error.strerror}") from error
            if isinstance(error, (json.JSONDecodeError, UnicodeDecodeError, TypeError)):
                raise RunError(f"{folder / HEADER} cannot be read: {error}; start a new run") from error
            raise

    def _read(self) -> None:
        path = self.folder / RECORD
        whole = 0
        if path.exists():
            for line in path.read_bytes().splitlines(keepends=True):
                try:
                    entry = Entry(**json.loads(line))
                except (ValueError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                whole += len(line)
                self.finished[entry.node] = entry
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
        os.ftruncate(self._file, whole)
        os.lseek(self._file, 0, os.SEEK_END)

    def append(self, entry: Entry) -> None:
        """Adds a line and waits until the disk has it."""
        line = json.dumps(
            {**asdict(entry), "at": datetime.now(UTC).isoformat(timespec="milliseconds")}, ensure_ascii=False
        )
        with self._guard:
            try:
                self._add(line.encode() + b"\n")
            except OSError as error:
                raise RunError(f"cannot write to {self.folder / RECORD}: {error.strerror}") from error
            self.finished[entry.node] = entry

    def _add(self, line: bytes) -> None:
        """All of the line or nothing of it: what is added later must not hang on to the half of a line."""
        end = os.lseek(self._file, 0, os.SEEK_END)
        try:
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise

    def succeeded(self, node: str, digest: str) -> Entry | None:
        """The node's entry, if it has succeeded with these very arguments."""
        entry = self.finished.get(node)
        return entry if entry and entry.phase == "Succeeded" and entry.digest == digest else None

    def node_folder(self, node: str) -> Path:
        """Where a node keeps its attempts; any text is a node's name, so a changed one carries a hash."""
        plain = re.sub(r"[^\w.-]", "_", node)[:80].strip(".")
        if plain != node:
            plain += "-" + hashlib.sha256(node.encode()).hexdigest()[:8]
        return self.folder / "nodes" / plain

    def close(self) -> None:
        os.close(self._file)
        self.locks.release()


def known(runs: Path) -> list[str]:
    """Names of the runs in a folder, newest last."""
    names = (path.parent.name for path in runs.glob(f"*/{HEADER}"))
    return sorted((name for name in names if NAME.fullmatch(name)), key=lambda name: name.split("-")[-3:])


def reserve(runs: Path, workflow: str) -> Path:
    """A folder under an unfinished name; whoever has it is the only one who may make the run of that name."""
    while True:
        name = new_name(workflow)
        making = runs / f"{UNFINISHED}{name}"
        with contextlib.suppress(FileExistsError):
            making.mkdir()
            if not (runs / name).exists():
                return making
            making.rmdir()


def sweep(runs: Path) -> None:
    """Removes what runners left that were killed while they made a run."""
    for path in runs.glob(f"{UNFINISHED}*"):
        with contextlib.suppress(FileNotFoundError):  # another runner sweeps too
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)


def digest(value: Any) -> str:
    """A short name for what a node was asked to do."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:16]


def lock(path: Path, patience: float) -> int | None:
    """Takes a file's lock, which the system lets go when the last holder of the descriptor has ended."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= until:
                os.close(descriptor)
                return None
            time.sleep(0.1)


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}")
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Waits until the disk has the names in a folder: a file that was synced may still be lost with its name."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
