"""What was released and what was tried, newest first, as the store has it."""

from __future__ import annotations

from itertools import islice

from steps.artifacts import canary, release
from steps.clients.object_store import Bucket
from steps.serving.messages import Version, Versions

MOST = 50


def versions(models: Bucket) -> Versions:
    """Both sorts share one sequence of numbers; what was promoted is told as a release."""
    released = release.versions(models)
    found = {version: _released(models, version, released[-1]) for version in released[-MOST:]}
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
        )
    return Versions([found[version] for version in sorted(found, reverse=True)][:MOST])


def _released(models: Bucket, version: int, live: int) -> Version:
    one = release.read(models, version)
    what = "live" if version == live else "released"
    return Version(version, one.model, what, one.reason, one.created, one.metrics, one.snapshot, one.run)
