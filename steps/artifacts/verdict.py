"""From evaluate to model_publish: who won, against what, by how much, with the thresholds used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from steps.artifacts import names, records
from steps.clients.object_store import Bucket, ObjectExistsError, ObjectMissingError
from steps.runtime.errors import UsageError


@dataclass(frozen=True)
class Verdict:
    """The judgement over one run's candidates, written once."""

    run: str
    snapshot: str
    fingerprint: str
    """Of everything that went in: a later run with the same has nothing new to find."""
    promote: bool
    winner: str
    """The best candidate's path, whether promoted or not; empty where there was none."""
    reason: str
    metric: str
    thresholds: dict[str, Any]
    users: int
    """How many held-out users were asked about."""
    candidates: dict[str, dict[str, Any]]
    bars: dict[str, dict[str, Any]]
    """Popularity and, where there is one, the live model, measured on the same users."""
    differences: dict[str, dict[str, float]]
    """The winner minus each bar: mean, and the bootstrap interval."""
    live_version: int
    """The release that was live, 0 for none: the verdict is about taking its place."""
    sample: list[dict[str, Any]]
    """A few users by name of what they bought and would be shown, for people to look at."""
    created: str


def find(models: Bucket, run: str) -> Verdict | None:
    try:
        return records.read(models, names.verdict(run), Verdict)
    except ObjectMissingError:
        return None


def read(models: Bucket, run: str) -> Verdict:
    found = find(models, run)
    if found is None:
        raise UsageError(f"run {run!r} has no verdict in {models.address()}: evaluate comes before model_publish")
    return found


def write(models: Bucket, judged: Verdict) -> Verdict:
    """Writes the verdict. Where a run has one already, that one stands."""
    try:
        models.create(names.verdict(judged.run), records.encode(judged))
    except ObjectExistsError:
        return read(models, judged.run)
    return judged


def newest_first(models: Bucket) -> Iterator[Verdict]:
    """All verdicts. Which of two of the same moment comes first is chance: nothing may depend on it."""
    for entry in sorted(models.list("verdicts/"), key=lambda entry: entry.modified, reverse=True):
        with suppress(ObjectMissingError):  # cleaned up since it was listed
            yield records.read(models, entry.key, Verdict)
