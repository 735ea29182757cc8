"""Runs one container template: attempts, deadlines, retries with backoff, outputs from files."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from workflows.runner import expressions
from workflows.runner.durations import seconds
from workflows.runner.process import Child, Result, read_result
from workflows.runner.record import Entry, RunError, digest
from workflows.runner.session import Clock, Outcome, Place, Session
from workflows.runner.substitution import substitute
from workflows.runner.tree import Node, Phase

Template = Mapping[str, Any]
LAST = ("lastRetry.exitCode", "lastRetry.status", "lastRetry.duration", "lastRetry.message")


class Leaf:
    """One node that runs a container."""

    def __init__(
        self, session: Session, node: Node, template: Template, scope: Mapping[str, str], lineage: str = ""
    ) -> None:
        self.session = session
        self.node = node
        self.template = template
        self.scope = {**scope, "node.name": node.path, "pod.name": node.path}
        self.folder = session.run.node_folder(node.path)
        self.last = dict.fromkeys(LAST, "") | {"lastRetry.exitCode": "-1", "lastRetry.duration": "0"}
        self.retries = 0
        self.asked = digest([lineage, self.rendered()])

    def rendered(self) -> dict[str, Any]:
        """The template for the next attempt."""
        scope = {**self.scope, **self.last, "retries": str(self.retries)}
        keys = ("container", "outputs", "volumes", "activeDeadlineSeconds", "timeout", "synchronization")
        filled: dict[str, Any] = substitute({key: self.template[key] for key in keys if key in self.template}, scope)
        return filled

    def run(self, held: Sequence[int]) -> Outcome:
        """The node's end, with what has led to it."""
        return replace(self.end(held), lineage=self.asked)

    def end(self, held: Sequence[int]) -> Outcome:
        """Attempts until one succeeds or no more are allowed; what an earlier process finished is not done again."""
        earlier = self.earlier()
        if earlier is not None:
            return earlier
        clock = Clock(seconds(self.template["timeout"]) if "timeout" in self.template else None)
        began, attempts_before = time.monotonic(), self.attempts()
        while True:
            number = attempts_before + self.retries
            outcome, result = self.attempt(number, clock, held)
            self.session.tree.change(self.node, attempts=self.retries + 1)
            if outcome.phase is Phase.SUCCEEDED:
                self.finish(outcome, result)
                return outcome
            self.session.check()
            self.last = {
                "lastRetry.exitCode": str(result.code),
                "lastRetry.status": str(outcome.phase),
                "lastRetry.duration": f"{result.seconds:g}",
                "lastRetry.message": outcome.message,
            }
            wait = None if clock.over else self.wait_before_retry(outcome, began)
            if wait is None:
                self.finish(outcome, result)
                return outcome
            self.retries += 1
            self.session.tree.change(
                self.node, phase=Phase.PENDING, message=f"{outcome.message}; tries again in {wait:g} s"
            )
            self.session.sleep(wait if clock.left is None else min(wait, clock.left))

    def earlier(self) -> Outcome | None:
        """The node's success in an earlier process, from the record or from a result that was not recorded any more."""
        entry = self.session.run.succeeded(self.node.path, self.asked)
        if entry is not None:
            self.session.tree.change(
                self.node, reused=True, seconds=entry.seconds, memory=entry.memory, attempts=entry.attempts
            )
            self.tidy()  # whoever recorded it may have been killed before
            return Outcome(Phase.SUCCEEDED, entry.outputs)
        number = self.attempts() - 1
        if number < 0:
            return None
        place = self.place(number)
        result = read_result(place.folder / "result.json")
        asked = place.folder / "asked"
        if result is None or result.code != 0 or not asked.exists() or asked.read_text() != self.asked:
            return None
        outcome = self.collect(place)
        if outcome.phase is not Phase.SUCCEEDED:
            return None
        self.session.tree.change(self.node, reused=True)
        self.finish(outcome, result)
        return outcome

    def attempts(self) -> int:
        return sum(1 for path in self.folder.glob("*") if path.name.isdigit())

    def place(self, number: int) -> Place:
        folder = self.folder / str(number)
        volumes = {volume["name"] for volume in self.template.get("volumes", []) if "emptyDir" in volume}
        mounts = self.template["container"].get("volumeMounts", [])
        return Place(
            name=f"{self.session.run.name}-{self.folder.name}-{number}"[-120:].lower().lstrip("-._"),
            folder=folder,
            mounts={mount["mountPath"]: folder / mount["name"] for mount in mounts if mount["name"] in volumes},
        )

    def attempt(self, number: int, clock: Clock, held: Sequence[int]) -> tuple[Outcome, Result]:
        """One start of the container, once there is room for it."""
        session, place, rendered = self.session, self.place(number), self.rendered()
        with session.slot(session.slots):
            if clock.over:
                return Outcome(Phase.FAILED, message=f"not done within {self.template['timeout']}"), Result(-1, 0.0, 0)
            try:
                for folder in (place.folder, *place.mounts.values()):
                    folder.mkdir(parents=True, exist_ok=True)
                (place.folder / "asked").write_text(self.asked)
            except OSError as error:
                raise RunError(f"cannot write to {place.folder}: {error.strerror}") from error
            log = place.folder / "log"
            session.tree.change(self.node, phase=Phase.RUNNING, message="", started=time.monotonic(), log=log)
            try:
                launch = session.engine.launch(rendered["container"], place)
                child = Child(launch, log, place.folder / "result.json", keep=[session.run.locks.children, *held])
            except OSError as error:
                return Outcome(Phase.ERROR, message=f"cannot start: {error}"), Result(-1, 0.0, 0)
            result, late = self.wait(child, rendered, clock)
        if result.code == 0:
            return self.collect(place), result  # also if it was told to stop: what is done is done
        session.check()
        return Outcome(Phase.FAILED, message=f"not done within {late}" if late else f"exit code {result.code}"), result

    def wait(self, child: Child, rendered: Template, clock: Clock) -> tuple[Result, str]:
        """Waits for the child and its deadlines; also says which deadline ended it."""
        limits = {}
        if "activeDeadlineSeconds" in rendered:
            limits[f"{seconds(rendered['activeDeadlineSeconds']):g} s"] = seconds(rendered["activeDeadlineSeconds"])
        if clock.left is not None:
            limits[str(self.template["timeout"])] = clock.left
        late: list[str] = []
        timer = None
        if limits:
            named, limit = min(limits.items(), key=lambda pair: pair[1])

            def expire() -> None:
                late.append(named)
                child.stop()

            timer = threading.Timer(limit, expire)
            timer.daemon = True
            timer.start()
        with self.session.watched(child):
            result = child.wait()
        if timer:
            timer.cancel()
        return result, (late[0] if late else "")

    def collect(self, place: Place) -> Outcome:
        """Reads the output files of a container that ended well."""
        outputs = {}
        for parameter in self.template.get("outputs", {}).get("parameters", []):
            name, source = parameter["name"], parameter["valueFrom"]
            path = on_machine(source["path"], place.mounts)
            if path is not None and path.is_file():
                # One newline at the end goes, as the executor does it.
                outputs[name] = path.read_text(encoding="utf-8", errors="replace").removesuffix("\n")
            elif "default" in source:
                outputs[name] = source["default"]
            else:
                return Outcome(Phase.ERROR, message=f"left no output {name!r} at {source['path']}")
        return Outcome(Phase.SUCCEEDED, outputs)

    def wait_before_retry(self, outcome: Outcome, began: float) -> float | None:
        """Seconds until the next attempt, or None where there shall be none."""
        strategy = self.template.get("retryStrategy")
        if strategy is None:
            return None
        limit = strategy.get("limit")
        if limit is not None and self.retries >= int(limit):
            return None
        expression = strategy.get("expression", "")
        policy = strategy.get("retryPolicy") or ("Always" if expression else "OnFailure")
        if policy != "Always" and policy != {Phase.FAILED: "OnFailure", Phase.ERROR: "OnError"}[outcome.phase]:
            return None
        if expression and not expressions.retry(expression, {**self.last, "retries": str(self.retries)}):
            return None
        return backoff(strategy.get("backoff", {}), self.retries, time.monotonic() - began)

    def finish(self, outcome: Outcome, result: Result) -> None:
        """Puts the end of the node into the record, then removes what only the work needed."""
        self.session.run.append(
            Entry(
                node=self.node.path,
                phase=outcome.phase,
                digest=self.asked,
                outputs=outcome.outputs,
                message=outcome.message,
                seconds=result.seconds,
                memory=result.memory,
                attempts=self.retries + 1,
            )
        )
        self.session.tree.change(self.node, seconds=result.seconds, memory=result.memory)
        self.tidy()

    def tidy(self) -> None:
        wanted = [PurePosixPath(p["valueFrom"]["path"]) for p in self.template.get("outputs", {}).get("parameters", [])]
        for number in range(self.attempts()):
            for mount, folder in self.place(number).mounts.items():
                if not any(path.is_relative_to(mount) for path in wanted):
                    shutil.rmtree(folder, ignore_errors=True)


def on_machine(path: str, mounts: Mapping[str, Path]) -> Path | None:
    """Where a path of the container is here: below the folder of the longest mount path that it lies under."""
    for mount in sorted(mounts, key=len, reverse=True):
        pure = PurePosixPath(path)
        if pure.is_relative_to(mount):
            return mounts[mount] / pure.relative_to(mount)
    return None


def backoff(strategy: Mapping[str, Any], retries: int, since: float) -> float | None:
    """Seconds to wait before the next attempt; None where that would be past `maxDuration`."""
    if not strategy:
        return 0.0
    wait = seconds(strategy.get("duration", "0")) * float(strategy.get("factor", 1)) ** retries
    if "cap" in strategy:
        wait = min(wait, seconds(strategy["cap"]))
    if "maxDuration" in strategy and since + wait > seconds(strategy["maxDuration"]):
        return None
    return wait
