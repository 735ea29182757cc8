"""What was released and what was tried, newest first, as the store has it."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice

from steps.artifacts import canary, candidate, names, release
from steps.clients.object_store import Bucket
from steps.serving.messages import Version, Versions

MOST = 50


def versions(models: Bucket) -> Versions:
    """Both sorts share one sequence of numbers; what was promoted is told as a release."""
    released, reports = release.versions(models), set(candidate.reports(models))
    found = {version: _released(models, version, released[-1], reports) for version in released[-MOST:]}
    for tried in islice(canary.newest_first(models), MOST):
        if tried.version in released:
            continue
        end = canary.ended(models, tried)
        found[tried.version] = Version(
            version=tried.version,
            model=tried.model,
            what=end.outcome if end else tried.mode,
            reason=end.reason if end else tried.reason,
            created=tried.created,
            metrics=tried.metrics,
            snapshot=tried.snapshot,
            run=tried.run,
            percent=tried.percent,
            report=report(tried.candidate, reports),
        )
    return Versions([found[version] for version in sorted(found, reverse=True)][:MOST])


def report(path: str, reports: Collection[str]) -> str:
    """Where the server shows how a candidate did; empty where its run has left no report, or it was cleaned up."""
    run, _ = names.parse_candidate(path)
    return f"reports/{run}" if run in reports else ""


def _released(models: Bucket, version: int, live: int, reports: Collection[str]) -> Version:
    one = release.read(models, version)
    return Version(
        version=version,
        model=one.model,
        what="live" if version == live else "released",
        reason=one.reason,
        created=one.created,
        metrics=one.metrics,
        snapshot=one.snapshot,
        run=one.run,
        report=report(one.candidate, reports),
    )
