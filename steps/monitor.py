"""Looks at how the live release does with real users, and says whether to retrain, or what becomes of a canary."""

from __future__ import annotations

import logging
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.artifacts import canary, feedback, release, served
from steps.clients.object_store import Store, open_store
from steps.models.rules import ONLINE_METRICS
from steps.runtime.errors import UsageError
from steps.runtime.flags import number, whole_number
from steps.runtime.program import Parser, Step, main

if TYPE_CHECKING:
    from steps.artifacts.monitoring import Record
    from steps.artifacts.release import Release
    from steps.artifacts.window import Window
    from steps.models.online import Figures
    from steps.models.watching import Thresholds

log = logging.getLogger(__name__)

WITHOUT_EVIDENCE = ("promote", "abort")
SETTLED = 1.0
"""Hours until a list of the live release is judged, at most: people click and buy after they have seen it."""
HISTORY = 24 * 7
"""So many looks before this one its page shows."""
MEANWHILE = 10
"""At most so many others are written while one is made: an hourly one, a canary's, and what somebody starts by hand."""

ABOUT = f"""what is measured, by version, from what the shop's site sends as feedback:
{chr(10).join(f"  {name.ljust(9)} {meaning}" for name, meaning in ONLINE_METRICS.items())}
A click or a purchase counts for the last list that showed the item to the same user, if --within allows it.

The accuracy of a release, which --min-accuracy is about, is its --metric as a share of what the best of the last five
releases had when it was first seen enough: 1 is as good as the best has been. --tolerance compares a release with what
it had then itself. Neither asks for a new model unless the figure is also lower by more than chance; nor within
--cool-down hours after the last time, nor while a canary runs. Lists that are younger than an hour (than --within or
half of --hours, where that is less) are not judged yet: what follows them is still to come.

examples:
  python -m steps.monitor
  python -m steps.monitor --hours 72 --metric hit_rate --tolerance 0.2
  python -m steps.monitor --canary --without-evidence abort
"""


def parser() -> Parser:
    flags = Parser(prog="monitor", description=__doc__ or "", epilog=ABOUT)

    def flag(name: str, default: str, text: str) -> None:
        flags.add_argument(name, default=default, help=f"{text} (default: %(default)s)")

    flag("--hours", "24", "look at what was written in so many")
    flag("--within", "24", "hours after a list in which an action counts for it")
    flag("--metric", "ndcg", f"what decides: {', '.join(ONLINE_METRICS)}")
    flag("--min-accuracy", "0.9", "retrain below this share of the best of the last releases")
    flag("--tolerance", "0.1", "retrain when more than this share of the release's own baseline is lost")
    flag("--cool-down", "12", "hours after a retraining was asked for before the next is")
    flag("--least-lists", "100", "lists of a version that must have been shown to judge it")
    flags.add_argument(
        "--canary", action="store_true", help="decide about the running canary, by all since it began, instead"
    )
    flag("--without-evidence", "promote", "what becomes of a canary of which too little was seen: promote or abort")
    return flags


@dataclass(frozen=True)
class Request:
    """The flags, understood and found to be in order."""

    hours: float
    within: float
    cool_down: float
    rules: Thresholds

    @property
    def settled(self) -> float:
        """Hours after which a list is judged: by then most has followed of what does. Of a short time, half is left."""
        return min(SETTLED, self.within, self.hours / 2)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self.rules), "hours": self.hours, "within": self.within, "cool_down": self.cool_down}


@dataclass(frozen=True)
class Seen:
    """What there was to see in a time."""

    since: datetime
    until: datetime
    window: Window
    versions: Mapping[int, Figures]

    def of(self, version: int) -> Figures:
        from steps.models.online import Figures

        return self.versions.get(version, Figures())


@dataclass(frozen=True)
class Outcome:
    """What a look came to, and what the next has to know."""

    seen: Seen
    live: Release | None
    baselines: Mapping[int, Figures]
    retrained: str
    """When a look asked for a new model last."""
    reason: str = ""
    accuracy: float | None = None
    retrain: bool = False
    canary: Mapping[str, Any] = field(default_factory=dict)


def run(step: Step) -> None:
    from steps.artifacts import monitoring, monitoring_page

    request, store, now = understood(step), open_store(step.settings), datetime.now(UTC)
    past = monitoring.newest(store.models, HISTORY)
    asked = monitoring.CANARY if step.flags.canary else monitoring.LOOK
    record = repeated(past, step.settings.run, asked)
    if record is None:
        found = (trial if step.flags.canary else look)(store, request, past, now)
        made = told(store, request, found, step.settings.run, asked)
        made = monitoring.beside(made, [*monitoring.newest(store.models, MEANWHILE), *past])
        record = monitoring.write(store.models, made, now)
    store.models.put(monitoring.page(record), monitoring_page.render(record, past).encode())
    log.info("%s", record.reason)
    following = "" if step.settings.run else next_command(record)  # a workflow goes on by itself
    if following:
        log.info("next: %s", following)
    step.output("retrain", "true" if record.retrain else "false")
    step.output("reason", record.reason)
    step.output("canary", record.canary.get("decision", "none"))
    step.output("report", store.models.address(monitoring.page(record)))


def understood(step: Step) -> Request:
    """Checks every flag before anything is read or written."""
    from steps.models.watching import Thresholds

    flags = step.flags
    metric = flags.metric or "ndcg"
    if metric not in ONLINE_METRICS:
        raise UsageError(f"--metric is {metric!r}; allowed are {', '.join(ONLINE_METRICS)}")
    without = flags.without_evidence or "promote"
    if without not in WITHOUT_EVIDENCE:
        raise UsageError(f"--without-evidence is {without!r}; it may be {' or '.join(WITHOUT_EVIDENCE)}")
    year = 366 * 24
    return Request(
        hours=number("--hours", flags.hours or "24", 1 / 60, year),
        within=number("--within", flags.within or "24", 1 / 3600, year),
        cool_down=number("--cool-down", flags.cool_down or "12", 0, year),
        rules=Thresholds(
            metric=metric,
            min_accuracy=number("--min-accuracy", flags.min_accuracy or "0.9", 0, 1),
            tolerance=number("--tolerance", flags.tolerance or "0.1", 0, 1),
            least_lists=whole_number("--least-lists", flags.least_lists or "100", low=1),
            without_evidence=without,
        ),
    )


def repeated(past: Sequence[Record], run_name: str, asked: str) -> Record | None:
    """What this run has found already, where an engine starts the step again: its answer must stay the same."""
    return next((one for one in past if run_name and (one.run, one.asked) == (run_name, asked)), None)


def see(store: Store, request: Request, since: datetime, until: datetime) -> Seen:
    from steps.artifacts import window

    found = window.Window.of(feedback.read(store.data, since, until), round(3600 * request.within))
    return Seen(since, until, found, window.by_version(found, served.read(store.data, since, until)))


def look(store: Store, request: Request, past: Sequence[Record], now: datetime) -> Outcome:
    """How the live release does, and whether that asks for a new one."""
    from steps.artifacts import monitoring, window
    from steps.models import watching

    live = release.live(store.models)
    seen = see(store, request, now - timedelta(hours=request.hours), now)
    found = Outcome(seen, live, past[0].at_first() if past else {}, monitoring.last_retrained(past))
    if live is None:
        return replace(found, reason="nothing has been released yet: run the retrain workflow first")
    here = window.shown_until(seen.window, live.version, now - timedelta(hours=request.settled))
    fresh = seen.of(live.version).lists - here.lists
    judged = watching.quality(live.version, here, found.baselines, request.rules, fresh)
    wait = held_back(store, request, found.retrained, now) if judged.fell else ""
    retrain = judged.fell and not wait
    return replace(
        found,
        baselines=monitoring.with_baseline(found.baselines, live.version, here, request.rules),
        accuracy=judged.accuracy,
        retrain=retrain,
        retrained=feedback.stamp(now) if retrain else found.retrained,
        reason=f"{judged.reason}{wait}",
    )


def held_back(store: Store, request: Request, retrained: str, now: datetime) -> str:
    """Why there is no retraining now although the release is worse; empty where nothing is in its way."""
    running = canary.running(store.models)
    if running:
        return f"; but version {running.version} is on trial, and what becomes of it is awaited"
    ago = hours_since(retrained, now) if retrained else request.cool_down
    if ago >= request.cool_down:
        return ""
    return f"; but a new model was asked for {ago:.1f} hours ago, and the cool-down is {request.cool_down:g} hours"


def trial(store: Store, request: Request, past: Sequence[Record], now: datetime) -> Outcome:
    """What becomes of the running canary, by all that was seen since it began."""
    from steps.artifacts import monitoring
    from steps.models import watching

    running = canary.running(store.models)
    since = datetime.fromisoformat(running.created) if running else now - timedelta(hours=request.hours)
    seen = see(store, request, since, now)
    before = past[0].at_first() if past else {}
    found = Outcome(seen, release.live(store.models), before, monitoring.last_retrained(past))
    if running is None:
        return replace(found, reason="no canary is running", canary={"decision": watching.NONE})
    shown = running.mode == canary.CANARY
    tried, base = seen.of(running.version), seen.of(running.base)
    decision = watching.canary(running.version, tried, base, request.rules, shown=shown, percent=running.percent)
    about = {"version": running.version, "base": running.base, "mode": running.mode, "percent": running.percent}
    return replace(found, reason=decision.reason, canary={**about, "decision": decision.what})


def told(store: Store, request: Request, found: Outcome, run_name: str, asked: str) -> Record:
    """The record of a look; when it was is said as it is written."""
    from steps.artifacts import monitoring

    seen, live = found.seen, found.live
    return monitoring.Record(
        created="",
        run=run_name,
        asked=asked,
        since=feedback.stamp(seen.since),
        until=feedback.stamp(seen.until),
        live=live.version if live else 0,
        events=seen.window.events,
        versions=monitoring.as_json(seen.versions),
        baselines=monitoring.as_json(found.baselines),
        drift=drifted(store, found),
        freshness=freshness(store, seen, live),
        thresholds=request.as_json(),
        accuracy=found.accuracy,
        retrain=found.retrain,
        reason=found.reason,
        retrained=found.retrained,
        canary=found.canary,
    )


def drifted(store: Store, found: Outcome) -> dict[str, Any]:
    """How far users and items are from those that the live model was made for, and places from what they were."""
    from steps.artifacts import drift, manifest

    live = found.live
    if live is None:
        return {}
    moved = drift.of_places(found.seen.of(live.version), found.baselines.get(live.version))
    if manifest.exists(store, live.snapshot):
        with tempfile.TemporaryDirectory(prefix="monitor-") as scratch:
            moved |= drift.since_training(store, live.snapshot, found.seen.window, Path(scratch))
    return {name: asdict(one) for name, one in moved.items()}


def freshness(store: Store, seen: Seen, live: Release | None) -> dict[str, float]:
    """Hours since the newest purchase that feedback told of, and since snapshot and release were made."""
    from steps.artifacts import manifest

    found = {}
    bought = seen.window.newest_purchase
    if bought is not None:
        found["newest purchase"] = (seen.until.timestamp() - bought / 1000) / 3600
    if live is not None:
        found["live release"] = hours_since(live.created, seen.until)
        if manifest.exists(store, live.snapshot):
            found["live snapshot"] = hours_since(manifest.read(store.data, live.snapshot)["created"], seen.until)
    return found


def next_command(record: Record) -> str:
    """What somebody would type now; nothing where all is well."""
    decision, version = record.canary.get("decision"), record.canary.get("version")
    if decision == "promote":
        return f"python -m steps.model_publish --promote --version {version}"
    if decision == "abort":
        return f"python -m steps.model_publish --abort {shlex.quote(record.reason)} --version {version}"
    if not record.live:
        return "python workflows/submit.py retrain"
    if record.retrain:
        return "python workflows/submit.py retrain -p canary=10"
    return "" if record.events else "python -m steps.client --shopper --count 500"


def hours_since(time: str, now: datetime) -> float:
    return (now - datetime.fromisoformat(time)).total_seconds() / 3600


if __name__ == "__main__":
    sys.exit(main(parser(), run))
