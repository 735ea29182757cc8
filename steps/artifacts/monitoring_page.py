"""The page beside every look of monitor: how the releases do with real users, in words, pictures and tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from markupsafe import Markup

from steps.artifacts import charts, page
from steps.artifacts.charts import Scale, Series
from steps.artifacts.monitoring import CANARY, Record
from steps.models.online import Estimate, Figures
from steps.models.rules import ONLINE_METRICS
from steps.models.watching import ABORT, NONE

MANY = 60
"""Of more looks than this, the points of a chart are not marked one by one."""
DRIFT = {
    "users": "how much the buyers had bought before, against the test purchases of the live snapshot",
    "items": "how often the items bought had been bought before, against the same",
    "places": "how far down its lists the live version's items are clicked or bought, against its baseline",
}
HARDLY, MUCH = 0.1, 0.25
AGES = ("newest purchase", "live snapshot", "live release")


def render(record: Record, past: Sequence[Record]) -> str:
    """The page of a look; `past` are those before it, the newest first."""
    history = [one for one in reversed(past) if one.created < record.created] + [record]
    figures = record.figures()
    shown = {version: one for version, one in figures.items() if one.lists}
    return page.render(
        "monitoring.html",
        record=record,
        figures=figures,
        shown=shown,
        styles={version: style(version, record) for version in figures},
        names={version: name(version, record) for version in figures},
        good=good(record),
        headline=headline(record, bool(shown)),
        meaning=ONLINE_METRICS,
        metric=record.thresholds["metric"],
        whiskers=whiskers(shown, record),
        history=over_time(history, record.thresholds["metric"]),
        answers=answers(history),
        drift={one: moved(record.drift.get(one), text) for one, text in DRIFT.items()},
        ages={one: age(record.freshness[one]) for one in AGES if one in record.freshness},
    )


def good(record: Record) -> bool:
    return not record.retrain and record.canary.get("decision") != ABORT


def headline(record: Record, shown: bool) -> str:
    """What came of it, in a few words."""
    if record.asked == CANARY:
        decision, version = record.canary["decision"], record.canary.get("version")
        return "There is no canary." if decision == NONE else f"Version {version}: {decision}."
    if record.retrain:
        return "A new model is asked for."
    if not record.live:
        return "Nothing is live yet."
    return f"Version {record.live} stays." if shown else "There is no feedback yet."


def name(version: int, record: Record) -> str:
    if not version:
        return "no version named"
    return (
        f"version {version}{' (live)' if version == record.live else ''}{' (canary)' if tried(version, record) else ''}"
    )


def style(version: int, record: Record) -> str:
    """The class, and with it the colour, that a version has in every chart."""
    if version == record.live:
        return "live"
    return "won" if tried(version, record) else f"other{version % 6}"


def tried(version: int, record: Record) -> bool:
    return bool(record.canary) and record.canary.get("version") == version


def whiskers(shown: Mapping[int, Figures], record: Record) -> dict[str, Any]:
    """Of each metric a picture a version, with its interval, on one scale."""
    found = {}
    for metric in ONLINE_METRICS:
        spans = {version: one.metrics[metric] for version, one in shown.items()}
        x = Scale.over([edge for one in spans.values() for edge in (one.low, one.high)], zero=True)
        rows = {version: whisker(version, one, x, record) for version, one in spans.items()}
        found[metric] = {"rows": rows, "ruler": charts.ruler(x)}
    return found


def whisker(version: int, one: Estimate, x: Scale, record: Record) -> Markup:
    said = f"version {version}: {one.value:.4f}, 95 % between {one.low:.4f} and {one.high:.4f}"
    return charts.whisker(one.value, one.low, one.high, x, style(version, record), said)


def over_time(history: Sequence[Record], metric: str) -> dict[str, Any] | None:
    """The deciding metric of the live release, look by look; a line ends where another release went live."""
    points = [
        (place, one.live, one.figures()[one.live].metrics[metric].value)
        for place, one in enumerate(history)
        if one.asked != CANARY and one.figures().get(one.live, Figures()).lists
    ]
    if len(points) < 2:
        return None
    versions = list(dict.fromkeys(version for _, version, _ in points))
    series = [
        Series(
            f"version {version}", f"other{version % 6}", [(at, value) for at, one, value in points if one == version]
        )
        for version in versions
    ]
    y = Scale.over([value for _, _, value in points], zero=True)
    return {"key": {one.name: one.style for one in series}, "chart": charted(series, history, y, f"{metric} over time")}


def answers(history: Sequence[Record]) -> dict[str, Any] | None:
    """Requests that went wrong, and the time of the slowest of a hundred, of all versions together."""
    seen = [(place, list(one.figures().values())) for place, one in enumerate(history)]
    seen = [(place, figures) for place, figures in seen if requests(figures)]
    if len(seen) < 2:
        return None
    wrong = [(float(place), sum(one.errors for one in figures) / requests(figures)) for place, figures in seen]
    slow = [
        (float(place), sum(one.ms[1] * one.requests for one in figures) / requests(figures)) for place, figures in seen
    ]
    charts_of = {}
    for title, points, colour in (("share of requests that went wrong", wrong, "other1"), ("ms, p99", slow, "other0")):
        y = Scale.over([value for _, value in points], zero=True)
        charts_of[title] = charted([Series(title, colour, points)], history, y, f"{title} over time")
    return charts_of


def requests(figures: Iterable[Figures]) -> int:
    return sum(one.requests for one in figures)


def charted(series: Sequence[Series], history: Sequence[Record], y: Scale, label: str) -> Markup:
    """A chart over the looks, of which a few are dated."""
    last = len(history) - 1
    dated = sorted({0, round(last / 2), last})
    times = [datetime.fromisoformat(history[place].created) for place in dated]
    form = "%H:%M" if times[-1] - times[0] <= timedelta(days=1) else "%d %b"
    names = [f"{time:{form}}" for time in times]
    x = Scale(0.0, float(max(last, 1)), [float(place) for place in dated], names)
    mark = "circle" if len(history) <= MANY else ""
    return charts.lines([Series(one.name, one.style, one.points, mark=mark) for one in series], x, y, label)


def moved(one: Mapping[str, Any] | None, about: str) -> dict[str, Any]:
    """A stability index with what it means."""
    if one is None:
        return {"about": about, "means": "too few to tell"}
    if one["index"] < max(HARDLY, 2 * one["by_chance"]):
        means = "as before" if one["by_chance"] < HARDLY else "too few to tell"
    else:
        means = "has moved much" if one["index"] > MUCH else "has moved"
    return {**one, "about": about, "means": means}


def age(hours: float) -> str:
    """A length of time as people say it."""
    if hours < 2:
        return f"{60 * max(hours, 0):.0f} minutes"
    return f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:.0f} days"
