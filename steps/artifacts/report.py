"""The page beside every candidate: how the models of a run did, in words, pictures and tables, in one file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from markupsafe import Markup

from steps.artifacts import charts, evidence, page
from steps.artifacts.candidate import Candidate
from steps.artifacts.charts import Scale, Series
from steps.artifacts.evidence import BOUGHT, Evidence
from steps.artifacts.verdict import Verdict
from steps.models import metrics
from steps.models.evaluation import LIVE, POPULARITY, Mask, Measured
from steps.models.metrics import Counts
from steps.models.rules import Rules

MEANING = {
    "ndcg": "hits count more the higher they stand; 1 is a perfect list",
    "recall": "the share of what was bought that had been shown",
    "precision": "the share of the places shown that were bought",
    "map": "precision at every hit, averaged; the H&M competition's measure",
    "hit_rate": "the share of customers who bought at least one item shown",
    "coverage": "the share of the catalogue that is shown to anybody",
    "novelty": "how surprising the items are; higher is rarer (bits)",
}
OTHERS = 6
"""So many more colours the page has beside those of the winner, of popularity and of the live model."""
WRITTEN_TRIALS = 30
"""The best so many of a search are listed."""
LEAST_CUSTOMERS = 10
"""A chart leaves a class of fewer out: its value is chance."""


class Figures(TypedDict):
    """What a verdict says of one model."""

    metrics: dict[str, float]
    intervals: dict[str, list[float]]
    slices: dict[str, dict[str, float]]


def figures(one: Measured, rules: Rules, groups: Mapping[str, Mask], buyers: Counts, users: int) -> Figures:
    """Every metric of one model, and the deciding one for each group of users."""
    values = one.per_user(rules.metric, rules.k)
    parts = {
        group: {"users": float(mask.sum()), f"{rules.metric}@{rules.k}": float(values[mask].mean())}
        for group, mask in groups.items()
        if mask.any()
    }
    return {
        "metrics": evidence.means(one, rules, buyers, users),
        "intervals": evidence.intervals(one, rules),
        "slices": parts,
    }


def render(judged: Verdict, found: Evidence) -> str:
    """The page, with everything inside: no script, no font and no picture from elsewhere."""
    table = evidence.comparison(found)
    return page.render(
        "report.html",
        judged=judged,
        winner=found.winner,
        live=found.live,
        counts=found.data.manifest.get("counts", {}),
        period=found.data.manifest.get("time"),
        led=found.data.manifest.get("origin", {}).get("feedback", {}).get("led", 0),
        styles=styles(found),
        why=why(found),
        table=table,
        spans={name: evidence.intervals(one, found.rules) for name, one in found.everybody.items()},
        best=table.idxmax(),
        meaning={column: MEANING[column.partition("@")[0]] for column in table.columns},
        models=whiskers(found, table),
        differences={found.title(bar): one for bar, one in judged.differences.items() if bar != found.winner},
        groups=evidence.in_groups(found, evidence.groups(found)),
        purchases=by_purchases(found),
        exposure=exposure(found),
        unheard=evidence.unheard(found),
        stranger=[found.item(int(code)) for code in found.stranger if code >= 0],
        examples=evidence.examples(found),
        training=[training(one, found.metric) for one in found.found.values()],
    )


def styles(found: Evidence) -> dict[str, str]:
    """The class, and with it the colour, that each model has in every chart."""
    fixed = {found.title(LIVE): "live", POPULARITY: "popular", found.winner: "won"}
    others = [name for name in found.everybody if name not in fixed]
    return {**fixed, **{name: f"other{place % OTHERS}" for place, name in enumerate(others)}, BOUGHT: "bought"}


def why(found: Evidence) -> str:
    """Who is best and by how much, in one sentence for people."""
    values = {name: float(found.values(name).mean()) for name in found.everybody}
    low, high = metrics.interval(found.values(found.winner))
    first = next(name for name in found.everybody if name in found.candidates)
    best = len(found.candidates) > 1 and first == found.winner
    parts = [f"{found.winner} is the best of {len(found.candidates)}" if best else found.winner]
    parts[0] += f" with {found.metric} {values[found.winner]:.4f} (95 % between {low:.4f} and {high:.4f})"
    parts += [times(values[found.winner], values[name], name) for name in found.compared if name != found.winner]
    second = next((name for name in found.everybody if name in found.candidates and name != found.winner), "")
    if first != found.winner:
        parts.append(f"{first} has {values[first]:.4f}, but may be no better than popularity by more than chance")
    elif second and second not in found.compared:
        parts.append(f"next comes {second} with {values[second]:.4f}")
    return "; ".join(parts) + "."


def times(ours: float, theirs: float, name: str) -> str:
    if abs(ours - theirs) < 5e-5:
        return f"{name} is as good"
    return f"{ours / theirs:.2f} times {name}'s {theirs:.4f}" if theirs else f"{name} has 0"


def whiskers(found: Evidence, table: Any) -> dict[str, Any]:
    """A row a model: the deciding metric with its interval, on one scale."""
    spans = {name: metrics.interval(found.values(name)) for name in found.everybody}
    scale = Scale.over([edge for span in spans.values() for edge in span], zero=True)
    known = styles(found)
    rows = {}
    for name, (low, high) in spans.items():
        value = float(table.loc[name, found.metric])
        said = f"{name}: {value:.4f}, 95 % between {low:.4f} and {high:.4f}"
        rows[name] = {
            "value": value,
            "low": low,
            "high": high,
            "picture": charts.whisker(value, low, high, scale, known[name], said),
        }
    return {"rows": rows, "ruler": charts.ruler(scale)}


def by_purchases(found: Evidence) -> dict[str, Any]:
    """The deciding metric over how much was known of a customer."""
    table = evidence.in_groups(found, evidence.by_purchases(found.held))
    known = styles(found)
    many = np.flatnonzero(table["customers"] >= LEAST_CUSTOMERS).tolist() or list(range(len(table)))
    series = [
        Series(name, known[name], [(place, float(table[name].iloc[place])) for place in many])
        for name in found.compared
    ]
    y = Scale.over([value for one in series for _, value in one.points], zero=True)
    label = f"{found.metric} by the number of products bought before"
    return {
        "table": table,
        "names": found.compared,
        "least": LEAST_CUSTOMERS,
        "few": len(many) < len(table),
        "chart": charts.lines(series, Scale.of([str(name) for name in table.index]), y, label),
    }


def exposure(found: Evidence) -> dict[str, Any]:
    """How much of what is shown goes to what everybody buys anyway."""
    table = evidence.exposure(found)
    shares = table.drop(columns="Gini")
    known = styles(found)
    series = [
        Series(str(name), known[str(name)], list(enumerate(row)))
        for name, row in zip(shares.index, shares.to_numpy().tolist(), strict=True)
    ]
    label = "share of the places that goes to the most bought products"
    y = Scale(0.0, 1.0, [0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    return {
        "table": table,
        "names": list(shares.index),
        "chart": charts.lines(series, Scale.of(list(shares.columns)), y, label),
    }


def training(one: Candidate, metric: str) -> dict[str, Any]:
    """How a model came about: what its passes reached, and what was tried."""
    return {"made": one, "curve": curve(one, metric), "search": search(one)}


def curve(one: Candidate, metric: str) -> dict[str, Any] | None:
    """The learning curve, where a family has passes."""
    reached = [(float(point["pass"]), point["figure"]) for point in one.curve if point.get("figure") is not None]
    losses = [(float(point["pass"]), point["loss"]) for point in one.curve if point.get("loss") is not None]
    if len(one.curve) < 2:
        return None
    x = Scale.counted(int(one.curve[0]["pass"]), int(one.curve[-1]["pass"]))

    def chart(name: str, points: list[tuple[float, float]]) -> Markup:
        y = Scale.over([value for _, value in points])
        return charts.lines([Series(name, "won", points)], x, y, f"{one.model}: {name} by pass")

    return {
        "points": one.curve,
        "reached": chart(metric, reached) if len(reached) > 1 else None,
        "loss": chart("loss", losses) if len(losses) > 1 else None,
        "best": max(reached, key=lambda point: point[1]) if reached else None,
    }


def trial_settings(trial: Mapping[str, Any]) -> dict[str, Any]:
    """All that a trial tried: settings, and what events counted."""
    return {**trial["settings"], **{f"event {kind}": worth for kind, worth in trial.get("worth", {}).items()}}


def search(one: Candidate) -> dict[str, Any] | None:
    """What was tried on the validation split, where there was more than one thing to try."""
    if len(one.search) < 2:
        return None
    whole = [trial for trial in one.search if trial["state"] == "complete"]
    best = max(whole, key=lambda trial: trial["value"], default=None)
    # The best by no more than chance is not taken, and what the family begins with is.
    same = (trial for trial in whole if (trial["settings"], trial.get("worth", {})) == (one.settings, one.events))
    names = dict.fromkeys(name for trial in one.search for name in trial_settings(trial))
    changing = [name for name in names if len({str(trial_settings(trial).get(name)) for trial in one.search}) > 1]
    top = 0.0
    steps = []
    for trial in one.search:
        top = max(top, trial["value"]) if trial["state"] == "complete" else top
        if top:
            steps.append((float(trial["number"]), top))
    y = Scale.over([trial["value"] for trial in one.search if trial["state"] != "failed"])
    marks = [("complete", "dot", "circle"), ("pruned", "pruned", "ring"), ("failed", "failed", "cross")]
    series = [Series("best so far", "won", steps, mark="")]
    for state, style, mark in marks:
        points = [(t["number"], t["value"] if state != "failed" else y.low) for t in one.search if t["state"] == state]
        said = [
            f"trial {trial['number']}, {state}: {trial['value']:.4f}; "
            + ", ".join(f"{name} {page.short(trial_settings(trial).get(name, 0))}" for name in changing)
            for trial in one.search
            if trial["state"] == state
        ]
        series.append(Series(state, "won" if state == "complete" else style, points, False, mark, said))
    x = Scale.counted(0, len(one.search) - 1)
    order = sorted(one.search, key=lambda trial: (trial["state"] != "complete", -trial["value"]))
    return {
        "chart": charts.lines(series, x, y, f"{one.model}: what each trial reached"),
        "best": best,
        "taken": next(same, best),
        "changing": changing,
        "trials": [{**trial, "settings": trial_settings(trial)} for trial in order[:WRITTEN_TRIALS]],
        "count": len(one.search),
        "states": {state: sum(t["state"] == state for t in one.search) for state, _, _ in marks},
        "seconds": sum(trial["seconds"] for trial in one.search),
    }
