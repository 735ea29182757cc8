"""What was released and what was tried, newest first, as the store has it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from steps.artifacts import canary, candidate, names, release
from steps.artifacts.canary import ABORTED, Canary
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket
from steps.serving.messages import Version, Versions

MOST = 50
LIVE = "live"


def versions(models: Bucket) -> Versions:
    """Both sorts share one sequence of numbers; what was promoted is told as a release."""
    released, reports = release.versions(models), set(candidate.reports(models))
    found = {version: _released(models, version, released[-1], reports) for version in released[-MOST:]}
    for tried in islice(canary.newest_first(models), MOST):
        if tried.version not in released:
            found[tried.version] = _tried(models, tried, reports)
    return Versions([found[version] for version in sorted(found, reverse=True)][:MOST])


def version(models: Bucket, number: int) -> Version:
    """One of them."""
    released, reports = release.versions(models), set(candidate.reports(models))
    if number in released:
        return _released(models, number, released[-1], reports)
    return _tried(models, canary.read(models, number), reports)


def brief(made: Release | Canary) -> Version:
    """Of what was done just now, as much as is known without the store."""
    return _told(made, LIVE if isinstance(made, Release) else ABORTED, made.reason)


def report(path: str, reports: Collection[str]) -> str:
    """Where the server shows how a candidate did; empty where its run has left no report, or it was cleaned up."""
    run, _ = names.parse_candidate(path)
    return f"reports/{run}" if run in reports else ""


def _released(models: Bucket, version: int, live: int, reports: Collection[str]) -> Version:
    one = release.read(models, version)
    return _told(one, LIVE if version == live else "released", one.reason, reports)


def _tried(models: Bucket, one: Canary, reports: Collection[str]) -> Version:
    end = canary.ended(models, one)
    return _told(one, end.outcome if end else one.mode, end.reason if end else one.reason, reports)


def _told(one: Release | Canary, what: str, reason: str, reports: Collection[str] = ()) -> Version:
    return Version(
        version=one.version,
        model=one.model,
        what=what,
        reason=reason,
        created=one.created,
        metrics=one.metrics,
        snapshot=one.snapshot,
        run=one.run,
        percent=one.percent if isinstance(one, Canary) else 0.0,
        report=report(one.candidate, reports),
    )
