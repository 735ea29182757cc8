"""The last runs of the workflows, each with its steps, as far as what they have left in the store tells of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from steps.artifacts import canary, names, records, release
from steps.artifacts.canary import Canary
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, Entry, ObjectMissingError
from steps.runtime.errors import BadDataError
from steps.serving.messages import Node, Run
from steps.serving.reports import Looks

log = logging.getLogger(__name__)

MOST = 20
CONSIDERED = 200
"""Of so many of the newest it is found out which are worth showing."""
ROUTINE = 5
"""So many are shown of those that went well and made nothing new: a schedule has one every hour."""
RELEASES = 50
"""So far back it is looked up which run a release or a canary is of."""
AT_WORK = timedelta(hours=1)
"""A run without a report that has written something within this time is taken to be at work."""
TOGETHER = 8
SUCCEEDED, FAILED, RUNNING, SKIPPED, UNKNOWN = "Succeeded", "Failed", "Running", "Skipped", "Unknown"
"""As Argo says it."""
STAMP = re.compile(r"-(\d{8}-\d{6})(-|$)")
"""When a run was begun, in the name that `workflows/submit.py` gives it."""
CANDIDATE = re.compile(r"candidates/([^/]+)/([^/]+)/(.+)")


@dataclass
class Trace:
    """What there is in the store of one run."""

    name: str
    written: list[datetime] = field(default_factory=list)
    report: Entry | None = None
    verdict: Entry | None = None
    models: dict[str, Entry | None] = field(default_factory=dict)
    """Of each model that was begun its manifest, which is there once it is whole."""
    page: bool = False
    look: Mapping[str, Any] = field(default_factory=dict)
    released: Release | None = None
    tried: Canary | None = None
    told: Mapping[str, Any] = field(default_factory=dict)
    """What the report says."""

    @property
    def began(self) -> datetime:
        stamp = STAMP.search(self.name)
        if stamp:
            try:
                return datetime.strptime(stamp[1], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
            except ValueError:  # digits that are no time
                pass
        return min(self.written)

    @property
    def routine(self) -> bool:
        """Went well, and made nothing new."""
        made = self.models or self.verdict or self.released or self.tried
        return self.told.get("status") == SUCCEEDED and not made


class Runs:
    """Whatever steps have written never changes, so that each object is read once."""

    def __init__(self, models: Bucket, looks: Looks) -> None:
        self.models = models
        self.looks = looks
        self._known_json = lru_cache(1000)(self._read_json)
        self._known_model = lru_cache(500)(self._read_model)
        self._release = lru_cache(2 * RELEASES)(lambda version: release.read(models, version))
        self._canary = lru_cache(2 * RELEASES)(lambda version: canary.read(models, version))

    def newest(self, now: datetime | None = None) -> list[Run]:
        """The last so many, the newest first."""
        at, running = now or datetime.now(UTC), canary.running(self.models)
        return [self._described(one, running, at) for one in self._chosen()]

    def _chosen(self) -> Iterator[Trace]:
        traces = sorted(self._traces().values(), key=lambda one: one.began, reverse=True)[:CONSIDERED]
        with ThreadPoolExecutor(TOGETHER) as pool:
            for one, told in zip(traces, pool.map(lambda trace: self._json(trace.report), traces), strict=True):
                one.told = told
        shown, routine = 0, 0
        for one in traces:
            routine += one.routine
            if one.routine and routine > ROUTINE:
                continue
            yield one
            shown += 1
            if shown == MOST:
                return

    def _traces(self) -> dict[str, Trace]:
        from steps.artifacts import monitoring  # only now, as where the looks are read

        found: dict[str, Trace] = {}

        def of(run: str, written: datetime) -> Trace:
            trace = found.setdefault(run, Trace(run))
            trace.written.append(written)
            return trace

        for entry in self.models.list("runs/"):
            of(_stem(entry.key), entry.modified).report = entry
        for entry in self.models.list("verdicts/"):
            of(_stem(entry.key), entry.modified).verdict = entry
        for entry in self.models.list("candidates/"):
            part = CANDIDATE.fullmatch(entry.key)
            if part:
                trace = of(part[1], entry.modified)
                trace.models.setdefault(part[2], None)
                trace.page |= part[3] == "report.html"
                if part[3] == names.MANIFEST:
                    trace.models[part[2]] = entry
        for version in canary.versions(self.models)[-RELEASES:]:
            tried = self._canary(version)
            of(tried.run, datetime.fromisoformat(tried.created)).tried = tried
        for version in release.versions(self.models)[-RELEASES:]:
            made = self._release(version)
            of(made.run, datetime.fromisoformat(made.created)).released = made
        for look in self.looks.newest():
            if look.get("run") and look.get("created") and look.get("asked") == monitoring.LOOK:
                of(str(look["run"]), datetime.fromisoformat(look["created"])).look = look
        return found

    def _described(self, trace: Trace, running: Canary | None, now: datetime) -> Run:
        verdict = self._json(trace.verdict)
        state = self._state(trace, verdict, running, now)
        return Run(
            run=trace.name,
            workflow=str(trace.told.get("workflow", "")),
            state=state,
            began=_stamp(trace.began),
            ended=_ended(trace, state),
            note=str(trace.told.get("note", "")),
            report=f"reports/{trace.name}" if trace.page else "",
            tree=list(self._tree(trace, verdict, state, running)),
        )

    def _state(self, trace: Trace, verdict: Mapping[str, Any], running: Canary | None, now: datetime) -> str:
        """As its report says; before there is one, what can be concluded."""
        if trace.told:
            status = str(trace.told.get("status", ""))
            return status if status in (SUCCEEDED, FAILED, "Error") else UNKNOWN
        if running and running.run == trace.name:
            return RUNNING
        if trace.released or trace.tried or (verdict and not verdict.get("promote")):
            return SUCCEEDED
        return RUNNING if now - max(trace.written) < AT_WORK else UNKNOWN

    def _tree(self, trace: Trace, verdict: Mapping[str, Any], state: str, running: Canary | None) -> Iterator[Node]:
        if trace.look:
            told = {name: trace.look.get(name) for name in ("reason", "retrain", "page")}
            yield Node("monitor", SUCCEEDED, outputs=told)
        models = {name: self._model(entry) for name, entry in sorted(trace.models.items())}
        snapshot = next((one["snapshot"] for one in models.values() if one), verdict.get("snapshot"))
        if snapshot:
            yield Node("data-publish", SUCCEEDED, outputs={"snapshot": snapshot})
        unfinished = {RUNNING: RUNNING, SUCCEEDED: SKIPPED}.get(state, FAILED if trace.told else UNKNOWN)
        for name, one in models.items():
            title = name if name == "blend" else f"train {name}"
            yield Node(title, SUCCEEDED, one["seconds"], one["outputs"]) if one else Node(title, unfinished)
        if verdict:
            told = {name: verdict.get(name) for name in ("promote", "reason", "winner")}
            yield Node("evaluate", SUCCEEDED, outputs=told)
        yield from self._published(trace, verdict, running)
        yield from map(_failed, trace.told.get("failures") or ())

    def _published(self, trace: Trace, verdict: Mapping[str, Any], running: Canary | None) -> Iterator[Node]:
        """Whether a model went live, or was tried first and what became of that."""
        made = trace.tried or trace.released
        if made is None:
            if verdict and (trace.told or not verdict.get("promote")):
                yield Node("model-publish", SKIPPED)
            return
        became = "canary" if trace.tried else "live"
        yield Node("model-publish", SUCCEEDED, outputs={"version": made.version, "slot": made.slot, "became": became})
        if trace.tried:
            over = canary.ended(self.models, trace.tried)
            told = {"percent": trace.tried.percent, "mode": trace.tried.mode}
            told |= {"outcome": over.outcome, "reason": over.reason} if over else {}
            yield Node("canary", SUCCEEDED if over else RUNNING, outputs=told)

    def _json(self, entry: Entry | None) -> Mapping[str, Any]:
        """What an object says; nothing where there is none, or it is damaged."""
        return self._unless_gone(self._known_json, entry) or {}

    def _model(self, entry: Entry | None) -> Mapping[str, Any] | None:
        return self._unless_gone(self._known_model, entry)

    def _unless_gone(
        self, read: Callable[[str, datetime], Mapping[str, Any]], entry: Entry | None
    ) -> Mapping[str, Any] | None:
        if entry is None:
            return None
        try:
            return read(entry.key, entry.modified)
        except ObjectMissingError:  # cleaned up since it was listed
            return None
        except BadDataError as error:
            # One damaged object must not keep everybody from all the others.
            log.warning("left out of the runs: %s", error)
            return None

    def _read_json(self, key: str, written: datetime) -> dict[str, Any]:
        found = records.read_json(self.models, key)
        if not isinstance(found, dict):
            raise BadDataError(f"{self.models.address(key)} is no JSON object")
        return found

    def _read_model(self, key: str, written: datetime) -> dict[str, Any]:
        """Of a manifest what a node says: all of it may be large."""
        found = self._read_json(key, written)
        return {
            "snapshot": found.get("snapshot"),
            "seconds": found.get("seconds"),
            "outputs": {"candidate": key.rpartition("/")[0], "metrics": found.get("metrics", {})},
        }


def _failed(one: object) -> Node:
    """What failed, where the engine tells it as Argo does; otherwise what it tells."""
    if not isinstance(one, dict):
        return Node("failure", FAILED, outputs={"message": str(one)})
    name, state = str(one.get("displayName", "failure")), str(one.get("phase", FAILED))
    return Node(name, state, outputs={"message": str(one.get("message", ""))})


def _ended(trace: Trace, state: str) -> str:
    """When it ended, where that is known; empty while it goes on."""
    if trace.told:
        return str(trace.told.get("ended", ""))
    return _stamp(max(trace.written)) if state == SUCCEEDED else ""


def _stem(key: str) -> str:
    return key.partition("/")[2].removesuffix(".json")


def _stamp(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
