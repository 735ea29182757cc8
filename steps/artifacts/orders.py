"""Inside model_publish: what is to be released or tried, whether it may be, and whether it was done already."""

from __future__ import annotations

import re
from dataclasses import dataclass

from steps.artifacts import canary, candidate, records, release, verdict
from steps.artifacts.canary import Canary
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket
from steps.runtime.errors import CheckFailedError, UsageError

ROLLBACK = "rollback to"
"""How the reason of a release begins that goes back to an earlier model."""


@dataclass(frozen=True)
class Order:
    """A candidate that is to go live, or to be tried first, and why."""

    candidate: Candidate
    run: str
    reason: str
    metrics: dict[str, float]
    against: int | None
    """The live version that it was found to be better than, 0 for none; None where it is urgent, whatever is live."""
    percent: float = 0
    """The share of the users that it is tried on first; 0 where it goes live at once."""
    mode: str = canary.CANARY

    def release(self, version: int, slot: str, live: Release | None) -> Release:
        return Release(
            version=version,
            slot=slot,
            candidate=self.candidate.path,
            model=self.candidate.model,
            snapshot=self.candidate.snapshot,
            run=self.run,
            previous=live.version if live else 0,
            reason=self.reason,
            metrics=self.metrics,
            created=records.now(),
        )

    def canary(self, version: int, slot: str, live: Release) -> Canary:
        return Canary(
            version=version,
            slot=slot,
            candidate=self.candidate.path,
            model=self.candidate.model,
            snapshot=self.candidate.snapshot,
            run=self.run,
            base=live.version,
            percent=self.percent,
            mode=self.mode,
            metrics=self.metrics,
            created=records.now(),
            reason=self.reason,
        )


def promoted(models: Bucket, run: str, *, force: str, reason: str) -> Order:
    """What the verdict promoted; a refused candidate needs a reason."""
    judged = verdict.read(models, run)
    if not judged.promote and not force:
        raise CheckFailedError(
            f"run {judged.run} was not promoted: {judged.reason} (--force REASON publishes it anyway)"
        )
    chosen = candidate.read(models, judged.winner)
    figures = judged.candidates[chosen.model]["metrics"]
    why = reason or (f"forced: {force}" if force else "promoted")
    return Order(chosen, judged.run, why, figures, against=None if force else judged.live_version)


def back(models: Bucket, run: str, *, wanted: str, reason: str) -> Order:
    """An earlier version's model, by its number or as the one before the live one."""
    live = release.require(models, "live")
    if wanted == "previous":
        wanted = _went_back_to(live, run) or str(live.previous)
        if wanted == "0":
            raise UsageError(f"version {live.version} is the first: there is nothing to go back to")
    earlier = release.require(models, wanted)
    if earlier.version == live.version:
        raise UsageError(f"version {live.version} is live already")
    why = f"{ROLLBACK} {earlier.version}" + (f": {reason}" if reason else "")
    made_by = run or f"rollback-{canary.next_version(models)}"
    return Order(candidate.read(models, earlier.candidate), made_by, why, earlier.metrics, against=None)


def _went_back_to(live: Release, run: str) -> str:
    """Where this very run has gone back to already: a step that is repeated must not go back once more."""
    found = re.match(rf"{ROLLBACK} (\d+)", live.reason) if run and live.run == run else None
    return found[1] if found else ""


def made_before(models: Bucket, order: Order) -> Release | Canary | None:
    """What this very run has made, when a step is repeated that was killed after its last write."""
    live = release.live(models)
    if live and (live.run, live.candidate, live.reason) == (order.run, order.candidate.path, order.reason):
        return live
    return _tried_before(models, order) if order.percent else None


def _tried_before(models: Bucket, order: Order) -> Canary | None:
    """The trial that this very run has begun; one that was taken back is not begun again by repeating the step."""
    found = canary.versions(models)
    newest = canary.read(models, found[-1]) if found else None
    asked = (order.run, order.candidate.path, order.reason, order.percent, order.mode)
    if newest is None or asked != (newest.run, newest.candidate, newest.reason, newest.percent, newest.mode):
        return None
    over = canary.ended(models, newest)
    if over and over.outcome == canary.ABORTED:
        raise CheckFailedError(
            f"run {order.run} was tried as version {newest.version} and taken back ({over.reason}): "
            "train again under a new run"
        )
    return None if over and over.outcome == canary.SUPERSEDED else newest


def check(models: Bucket, order: Order) -> None:
    """What is not urgent must be better than what is live now, and not disturb a trial, which has the idle slot."""
    if order.against is None:
        return
    live, tried = release.live(models), canary.running(models)
    now = live.version if live else 0
    if now != order.against:
        raise CheckFailedError(
            f"run {order.run} was judged against version {order.against}, but version {now} is live now: "
            "run evaluate again under a new run"
        )
    if tried:
        raise CheckFailedError(
            f"{tried}, is still being tried: end that with --promote or with --abort before anything else is published"
        )


def make_way(models: Bucket, order: Order) -> None:
    """Ends a trial for what cannot wait for its end."""
    tried = canary.running(models)
    if tried and order.against is None:
        canary.end(models, tried.version, canary.SUPERSEDED, order.reason)
