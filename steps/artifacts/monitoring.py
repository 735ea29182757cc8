"""From monitor to whoever asks how the live release does with real users: one record a look, and its page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from steps.artifacts import names, records
from steps.clients.object_store import Bucket, ObjectExistsError
from steps.models import watching
from steps.models.online import Figures
from steps.models.watching import Thresholds

LOOK, CANARY = "look", "canary"
"""What was asked: how the live release does, or what becomes of the canary."""
FORM, STAMP = "%Y%m%dT%H%M%SZ", "%Y-%m-%dT%H:%M:%SZ"
KEPT = 1000
"""So many looks are kept: of every hour of six weeks."""
RELEASES = 5
"""The baselines of so many releases are remembered, the newest."""


@dataclass(frozen=True)
class Record:
    """One look; each also says what the next has to know."""

    created: str
    run: str
    asked: str
    since: str
    until: str
    live: int
    """The version that was live, 0 for none."""
    events: int
    versions: Mapping[str, Any]
    """What each version did in this time."""
    baselines: Mapping[str, Any]
    """Of the last releases, what each did when it was first seen enough."""
    drift: Mapping[str, Any]
    freshness: Mapping[str, float]
    """Hours since the newest purchase, the live snapshot, the live release."""
    thresholds: Mapping[str, Any]
    accuracy: float | None
    retrain: bool
    reason: str
    retrained: str
    """When a look asked for a new model last."""
    canary: Mapping[str, Any] = field(default_factory=dict)
    """Which version was on trial against which, what was decided, and why."""

    def figures(self) -> dict[int, Figures]:
        return {int(version): Figures.from_json(one) for version, one in self.versions.items()}

    def at_first(self) -> dict[int, Figures]:
        return {int(version): Figures.from_json(one) for version, one in self.baselines.items()}


def as_json(figures: Mapping[int, Figures]) -> dict[str, Any]:
    return {str(version): asdict(one) for version, one in figures.items()}


def newest(models: Bucket, count: int) -> list[Record]:
    """The last so many looks, the newest first."""
    return [records.read(models, names.monitoring(name), Record) for name in listed(models)[:count]]


def listed(models: Bucket) -> list[str]:
    """The names of all looks, the newest first."""
    return [PurePosixPath(key).stem for key in reversed(_keys(models))]


def page_of(name: str) -> str:
    """Where the page of a look lies, by its name."""
    return _page(names.monitoring(name))


def beside(record: Record, others: Sequence[Record]) -> Record:
    """A look that is to be written, with what the next has to know of others, the newest first: they may have been
    written since it began.
    """
    known = {**(others[0].baselines if others else {}), **record.baselines}
    return replace(
        record,
        baselines={version: known[version] for version in sorted(known, key=int)[-RELEASES:]},
        retrained=last_retrained([record, *others]),
    )


def last_retrained(looks: Iterable[Record]) -> str:
    """When one of them asked for a new model last; empty where none did."""
    return max((one.retrained for one in looks), default="")


def write(models: Bucket, record: Record, now: datetime) -> Record:
    """Writes a look under the first free second and returns it with that; of many, the oldest go."""
    at = now.astimezone(UTC)
    while True:
        written = replace(record, created=f"{at:{STAMP}}")
        try:
            models.create(names.monitoring(f"{at:{FORM}}"), records.encode(written))
        except ObjectExistsError:  # another look at the same second
            at += timedelta(seconds=1)
            continue
        old = _keys(models)[:-KEPT]
        models.delete([*old, *map(_page, old)])
        return written


def page(record: Record) -> str:
    """Where the page of a look lies."""
    return _page(names.monitoring(f"{datetime.fromisoformat(record.created):{FORM}}"))


def with_baseline(
    baselines: Mapping[int, Figures], version: int, now: Figures, rules: Thresholds
) -> dict[int, Figures]:
    """What the releases did at first, that of a version which was now seen enough for the first time among them."""
    found = dict(baselines)
    known = version in found and watching.taken(found[version], rules.metric)
    if not known and now.lists >= rules.least_lists and watching.taken(now, rules.metric):
        found[version] = now
    return {one: found[one] for one in sorted(found)[-RELEASES:]}


def _keys(models: Bucket) -> list[str]:
    return [entry.key for entry in models.list("monitoring/") if entry.key.endswith(".json")]


def _page(key: str) -> str:
    return str(PurePosixPath(key).with_suffix(".html"))
