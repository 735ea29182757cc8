"""Removes old snapshots, candidates, slots and predictions; never what is live, was live before it, or is tried."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath

from steps.artifacts import canary, candidate, names, release, slots
from steps.artifacts.canary import Canary
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, Entry, Store, open_store
from steps.runtime.flags import number, whole_number, yes_or_no
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)

LONG_AGO = datetime.min.replace(tzinfo=UTC)


def parser() -> Parser:
    flags = Parser(
        prog="cleanup",
        description=__doc__ or "",
        epilog="example: python -m steps.cleanup --keep-runs 3 --min-age-days 0 --dry-run true",
    )
    flags.add_argument("--keep-snapshots", default="5", help="how many of the newest stay (default: %(default)s)")
    flags.add_argument("--keep-runs", default="10", help="how many of the newest runs stay (default: %(default)s)")
    flags.add_argument("--min-age-days", default="7", help="nothing younger is touched (default: %(default)s)")
    flags.add_argument("--dry-run", default="false", help="true only says what would go (default: false)")
    return flags


@dataclass
class Group:
    """The objects that live and die together: a snapshot, a run, a version."""

    keys: list[str] = field(default_factory=list)
    size: int = 0
    modified: datetime = LONG_AGO

    def add(self, entry: Entry) -> None:
        self.keys.append(entry.key)
        self.size += entry.size
        self.modified = max(self.modified, entry.modified)


def run(step: Step) -> None:
    flags, store = step.flags, open_store(step.settings)
    keep_snapshots = whole_number("--keep-snapshots", flags.keep_snapshots or "5", low=1)
    keep_runs = whole_number("--keep-runs", flags.keep_runs or "10", low=1)
    age = number("--min-age-days", flags.min_age_days or "7", 0, 36_500)
    dry = yes_or_no("--dry-run", flags.dry_run or "false")
    before = datetime.now(UTC) - timedelta(days=age)

    doomed = {
        **old_runs(store, keep_runs),
        **old_reports(store.models, keep_runs),
        **old_predictions(store.models),
        **old_slots(store.models),
    }
    snapshots = old_snapshots(store, keep_snapshots, spared=runs_of(store.models, doomed))
    removed, size = 0, 0
    for bucket, groups in ((store.models, doomed), (store.data, snapshots)):
        for name, group in groups.items():
            if group.modified >= before:
                continue
            log.info("%s %s (%.1f MB)", "would remove" if dry else "removing", bucket.address(name), group.size / 1e6)
            if dry or remove(bucket, name, group, before):
                removed, size = removed + 1, size + group.size
    if not dry:
        removed += store.data.sweep(before) + store.models.sweep(before)
    step.output("removed", str(removed))
    step.output("bytes", str(size))


def remove(bucket: Bucket, name: str, group: Group, before: datetime) -> bool:
    """The manifest goes first: what is left of a killed cleanup is never taken for whole.

    What was written since the first look, such as a snapshot that a new run uses again, stays.
    """
    if any(entry.modified >= before for entry in bucket.list(f"{name}/")):
        log.info("%s is in use again: it stays", bucket.address(name))
        return False
    manifests = [key for key in group.keys if key.endswith(f"/{names.MANIFEST}")]
    bucket.delete(manifests)
    bucket.delete(key for key in group.keys if key not in manifests)
    return True


def grouped(entries: Iterable[Entry], parts: int) -> dict[str, Group]:
    """Objects by the first `parts` parts of their keys."""
    groups: dict[str, Group] = {}
    for entry in entries:
        groups.setdefault("/".join(entry.key.split("/")[:parts]), Group()).add(entry)
    return groups


def oldest(groups: dict[str, Group], keep: int, spared: set[str]) -> dict[str, Group]:
    """All but the newest `keep` and those that are spared."""
    newest = sorted(groups, key=lambda name: groups[name].modified, reverse=True)[:keep]
    return {name: group for name, group in groups.items() if name not in newest and name not in spared}


def in_use(models: Bucket) -> list[Release | Canary]:
    """What is live, what was before it, and the canary that is tried."""
    live, tried = release.live(models), canary.running(models)
    if live is None:
        return []
    before = [release.read(models, live.previous)] if live.previous else []
    return [live, *before, *([tried] if tried else [])]


def old_runs(store: Store, keep: int) -> dict[str, Group]:
    """Candidates, verdict and report of old runs, but those whose model is or was just live, or is tried."""
    groups = grouped(store.models.list("candidates/"), 2)
    spared = {one.candidate.rpartition("/")[0] for one in in_use(store.models)}
    old = oldest(groups, keep, spared)
    for name in old:
        run_name = name.rpartition("/")[2]
        for entry in [*store.models.list(names.verdict(run_name)), *store.models.list(names.run_report(run_name))]:
            old[name].keys.append(entry.key)
    return old


def old_reports(models: Bucket, keep: int) -> dict[str, Group]:
    """Reports of runs that trained nothing: every schedule leaves one at every turn."""
    trained = {entry.key.split("/")[1] for entry in models.list("candidates/")}
    reports = [entry for entry in models.list("runs/") if PurePosixPath(entry.key).stem not in trained]
    return oldest(grouped(reports, 2), keep, set())


def runs_of(models: Bucket, doomed: dict[str, Group]) -> set[str]:
    """The snapshots that the candidates which stay were trained on."""
    manifests = [entry.key for entry in models.list("candidates/") if entry.key.endswith(f"/{names.MANIFEST}")]
    staying = [key for key in manifests if "/".join(key.split("/")[:2]) not in doomed]
    found = [candidate.find(models, key.rpartition("/")[0]) for key in staying]
    return {f"snapshots/{one.snapshot}" for one in found if one}


def old_snapshots(store: Store, keep: int, spared: set[str]) -> dict[str, Group]:
    return oldest(grouped(store.data.list("snapshots/"), 2), keep, spared)


def old_predictions(models: Bucket) -> dict[str, Group]:
    spared = {names.predictions(one.version) for one in in_use(models)}
    return oldest(grouped(models.list("predictions/"), 2), 0, spared)


def old_slots(models: Bucket) -> dict[str, Group]:
    """Versions that are in use no more, unless somebody is filling them at this moment."""
    spared = {names.slot_version(one.slot, one.version) for one in in_use(models)}
    groups = grouped(models.list("slots/"), 3)
    coming = canary.next_version(models)
    claim = slots.newest_claim(models, coming)
    if claim and not claim.abandoned:
        spared |= {name for name in groups if name.endswith(f"/{coming}")}
    old = oldest(groups, 0, spared)
    if claim is None or claim.abandoned:
        old |= grouped(models.list("claims/"), 2)
    return old


if __name__ == "__main__":
    sys.exit(main(parser(), run))
