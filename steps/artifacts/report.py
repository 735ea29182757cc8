"""The page beside every candidate: how the models of a run did, in words, pictures and tables, in one file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from steps.artifacts.release import Release
from steps.artifacts.verdict import Verdict
from steps.models import metrics
from steps.models.evaluation import LIVE, POPULARITY, Mask, Measured
from steps.models.metrics import Counts
from steps.models.rules import Rules

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MEANING = {
    "ndcg": "hits count more the higher they stand; 1 is a perfect list",
    "recall": "the share of what was bought that had been shown",
    "precision": "the share of the places shown that were bought",
    "map": "precision at every hit, averaged; the H&M competition's measure",
    "hit_rate": "the share of customers who bought at least one item shown",
    "coverage": "the share of the catalogue that is shown to anybody",
    "novelty": "how surprising the items are; higher is rarer (bits)",
}
OURS, BARS, WINNER = "#7a9cc6", "#b9b4ab", "#1f5fa8"


class Figures(TypedDict):
    """What a verdict says of one model."""

    metrics: dict[str, float]
    slices: dict[str, dict[str, float]]


def figures(one: Measured, rules: Rules, groups: Mapping[str, Mask], buyers: Counts, users: int) -> Figures:
    """Every metric of one model, and the deciding one for each group of users."""
    k = rules.k
    means = {f"{name}@{k}": one.mean(name, k) for name in metrics.PER_USER}
    means[f"coverage@{k}"] = metrics.coverage(one.shown[:, :k], len(buyers))
    means[f"novelty@{k}"] = metrics.novelty(one.shown[:, :k], buyers, users)
    if rules.floor:
        name, at, _ = rules.floor
        means[f"{name}@{at}"] = one.mean(name, at)
    values = one.per_user(rules.metric, k)
    parts = {
        group: {"users": float(mask.sum()), f"{rules.metric}@{k}": float(values[mask].mean())}
        for group, mask in groups.items()
        if mask.any()
    }
    return {"metrics": means, "slices": parts}


def render(judged: Verdict, manifest: Mapping[str, Any], live: Release | None) -> str:
    """The page, with everything inside: no script, no font and no picture from elsewhere."""
    from jinja2 import Environment

    template = Environment(autoescape=True).from_string(
        files("steps.artifacts").joinpath("report.html").read_text(encoding="utf-8")
    )
    table = comparison(judged, live)
    return template.render(
        judged=judged,
        winner=judged.winner.rsplit("/", 1)[-1],
        live=live,
        counts=manifest.get("counts", {}),
        period=manifest.get("time"),
        table=table,
        best=table.idxmax(),
        meaning={column: MEANING[column.partition("@")[0]] for column in table.columns},
        groups=by_group(judged, live),
        differences={title(bar, live): one for bar, one in judged.differences.items()},
        chart=svg(bars_chart(judged, live)),
        groups_chart=svg(groups_chart(judged, live)),
    )


def title(bar: str, live: Release | None) -> str:
    return f"live (version {live.version})" if bar == LIVE and live else bar


def rows(judged: Verdict, live: Release | None) -> dict[str, dict[str, Any]]:
    """Everybody who was measured, by the name that the page shows."""
    others = {title(bar, live): one for bar, one in judged.bars.items() if bar not in judged.candidates}
    return {**judged.candidates, **others}


def comparison(judged: Verdict, live: Release | None) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({name: one["metrics"] for name, one in rows(judged, live).items()}).T


def by_group(judged: Verdict, live: Release | None) -> pd.DataFrame:
    import pandas as pd

    everybody = rows(judged, live)
    parts = {
        name: {group: one[judged.metric] for group, one in found["slices"].items()} for name, found in everybody.items()
    }
    table = pd.DataFrame(parts)
    first = next(iter(everybody.values()))["slices"]
    table.insert(0, "customers", [int(first[group]["users"]) for group in table.index])
    return table


def bars_chart(judged: Verdict, live: Release | None) -> Figure:
    """The deciding metric of every model, the winner in front."""
    values = {name: one["metrics"][judged.metric] for name, one in rows(judged, live).items()}
    order = sorted(values, key=lambda name: values[name])
    winner = judged.winner.rsplit("/", 1)[-1]
    colours = [WINNER if name == winner else OURS if name in judged.candidates else BARS for name in order]
    figure, axes = picture(6.4, 0.6 + 0.45 * len(order))
    places = axes.barh(order, [values[name] for name in order], color=colours, height=0.62)
    axes.bar_label(places, fmt="%.4f", padding=4)
    axes.set_xlim(0, max(values.values()) * 1.18 or 1)
    axes.set_xlabel(f"{judged.metric}, more is better")
    return figure


def groups_chart(judged: Verdict, live: Release | None) -> Figure:
    """The deciding metric in each group of customers, the winner beside what it has to beat."""
    table = by_group(judged, live).drop(columns="customers")
    winner = judged.winner.rsplit("/", 1)[-1]
    shown = [name for name in (winner, POPULARITY, *(title(bar, live) for bar in judged.bars)) if name in table.columns]
    shown = list(dict.fromkeys(shown))
    figure, axes = picture(6.4, 0.7 + 0.5 * len(table))
    width = 0.8 / len(shown)
    for place, name in enumerate(shown):
        at = np.arange(len(table)) + (len(shown) / 2 - place - 0.5) * width
        colour = WINNER if name == winner else (BARS, OURS)[place % 2]
        axes.barh(at, table[name], height=width * 0.9, label=name, color=colour)
    axes.set_yticks(np.arange(len(table)), [str(group) for group in table.index])
    axes.invert_yaxis()
    axes.set_xlabel(judged.metric)
    axes.legend(frameon=False, loc="best")
    return figure


def picture(width: float, height: float) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(length=0)
    return figure, axes


def svg(figure: Figure) -> str:
    """The picture as text for the page, the same for the same figures."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "report", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
