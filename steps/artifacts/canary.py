"""From model_publish to serve and monitor: a version that is tried on a share of the users before it goes live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from steps.artifacts import names, records, release
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, ObjectExistsError, ObjectMissingError
from steps.runtime.errors import BadDataError, TryAgainError, UsageError

CANARY, SHADOW = "canary", "shadow"
"""What becomes of its answers: shown to its share of the users, or only compared with what was shown."""
PROMOTED, ABORTED, SUPERSEDED = "promoted", "aborted", "superseded"
"""How a trial ends: it went live, it was taken back, or another version went live meanwhile."""


@dataclass(frozen=True)
class Canary:
    """A version in the idle slot that is asked beside the live one; written once its slot has answered well."""

    version: int
    """Of the same sequence as the releases, and never used again."""
    slot: str
    candidate: str
    model: str
    snapshot: str
    run: str
    """The run that began the trial."""
    base: int
    """The live version that it is tried against: the trial is over once another one is live."""
    percent: float
    """The share of the users that it is for, above 0 and at most 100."""
    mode: str
    metrics: dict[str, float]
    created: str
    reason: str = ""
    """Why it may be tried: `promoted`, or why a refused candidate was forced."""

    def as_release(self, reason: str = "") -> Release:
        """What it becomes where it is promoted."""
        why = f"{self.reason}, after a canary of {self.percent:g} % beside version {self.base}"
        return Release(
            version=self.version,
            slot=self.slot,
            candidate=self.candidate,
            model=self.model,
            snapshot=self.snapshot,
            run=self.run,
            previous=self.base,
            reason=f"{why}: {reason}" if reason else why,
            metrics=self.metrics,
            created=records.now(),
        )

    def __str__(self) -> str:
        how = "shown to" if self.mode == CANARY else "asked in the shadow for"
        return f"version {self.version}, {how} {self.percent:g} % of the users beside version {self.base}"


@dataclass(frozen=True)
class End:
    """How a trial ended, written once: the first word stands."""

    version: int
    outcome: str
    reason: str
    created: str


def versions(models: Bucket) -> list[int]:
    """The versions that were ever tried, ascending."""
    return sorted(_listed(models)[0])


def next_version(models: Bucket) -> int:
    """The number of whatever is made next: releases and canaries share one sequence."""
    return max([0, *release.versions(models), *versions(models)]) + 1


def read(models: Bucket, version: int) -> Canary:
    return records.read(models, names.canary(version), Canary)


def newest_first(models: Bucket) -> Iterator[Canary]:
    """All that were ever tried."""
    for version in reversed(versions(models)):
        yield read(models, version)


def running(models: Bucket) -> Canary | None:
    """The one that is tried now: the newest without an end, as long as what it is tried against is live.

    One that was promoted goes on until its release is there, so that its users notice nothing.
    """
    started, over = _listed(models)
    if not started:
        return None
    live = release.live(models)
    for version in sorted(started, reverse=True):
        if live and version < live.version:
            break
        if version not in over or _said(models, version).outcome == PROMOTED:
            tried = read(models, version)
            return tried if live and live.version == tried.base else None
    return None


def require(models: Bucket, version: str) -> Canary:
    """The canary of a version given as text, or the newest where the text is empty, whether it runs or has ended."""
    found = versions(models)
    if not found:
        raise UsageError(f"no canary was ever started in {models.address()}: --canary PERCENT starts one")
    if not version:
        return read(models, found[-1])
    if not version.isdigit() or int(version) not in found:
        raise UsageError(f"version {version!r} is no canary; the newest are {', '.join(map(str, found[-10:]))}")
    return read(models, int(version))


def start(models: Bucket, canary: Canary) -> None:
    """Begins the trial. Of two that begin one of the same version exactly one succeeds."""
    try:
        models.create(names.canary(canary.version), records.encode(canary))
    except ObjectExistsError as taken:
        raise TryAgainError(
            f"a canary of version {canary.version} was started by someone else meanwhile; nothing was changed"
        ) from taken


def end(models: Bucket, version: int, outcome: str, reason: str) -> End:
    """Ends the trial of a version, and returns how it has ended: where somebody was first, that end stands.

    The word comes before the deed, so that of those who promote and those who abort exactly one can succeed. Whoever
    finds that it was promoted makes it live, for who said so may have been killed.
    """
    stands = say(models, End(version, outcome, reason, records.now()))
    if stands.outcome == PROMOTED:
        _make_live(models, stands)
    return stands


def say(models: Bucket, mine: End) -> End:
    """Writes an end unless there is one, and returns the one that stands."""
    try:
        models.create(names.canary_end(mine.version), records.encode(mine))
    except ObjectExistsError:
        return _said(models, mine.version)
    return mine


def ended(models: Bucket, canary: Canary) -> End | None:
    """How a trial ended; None while it goes on, which one that was promoted does until it is live.

    What was released has been promoted, and what is live now has superseded the rest, whether somebody came to write
    that down or was killed before.
    """
    later = [version for version in release.versions(models) if version > canary.base]
    if canary.version in later:
        return _by_release(canary, PROMOTED, release.read(models, canary.version))
    try:
        said = _said(models, canary.version)
    except ObjectMissingError:
        said = None
    if said and said.outcome != PROMOTED:
        return said
    return _by_release(canary, SUPERSEDED, release.read(models, later[0])) if later else None


def settle(models: Bucket) -> None:
    """Finishes what somebody was killed in: makes live what was promoted, and writes down the ends of the others."""
    started, over = _listed(models)
    for version in sorted(started - over):
        found = ended(models, read(models, version))
        if found:
            end(models, version, found.outcome, found.reason)
    if started & over:
        newest = _said(models, max(started & over))
        if newest.outcome == PROMOTED:
            _make_live(models, newest)


def _make_live(models: Bucket, promoted: End) -> None:
    """Releases what was promoted, unless that was done already or another version went live after what it was tried
    against.
    """
    tried = read(models, promoted.version)
    if any(version > tried.base for version in release.versions(models)):
        return
    # Where somebody else is at the same, it is released all the same.
    with suppress(TryAgainError):
        release.create(models, replace(tried.as_release(), reason=promoted.reason))


def _said(models: Bucket, version: int) -> End:
    return records.read(models, names.canary_end(version), End)


def _by_release(canary: Canary, outcome: str, made: Release) -> End:
    reason = made.reason if outcome == PROMOTED else f"version {made.version} went live: {made.reason}"
    return End(canary.version, outcome, reason, made.created)


def _listed(models: Bucket) -> tuple[set[int], set[int]]:
    """The versions that were started, and those of them whose end is written."""
    started: set[int] = set()
    over: set[int] = set()
    for entry in models.list("canaries/"):
        found = re.fullmatch(r"canaries/(\d+)(\.end)?\.json", entry.key)
        if not found:
            raise BadDataError(f"{models.address(entry.key)} is neither a canary nor the end of one")
        (over if found[2] else started).add(int(found[1]))
    return started, over
