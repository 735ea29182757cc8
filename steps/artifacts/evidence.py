"""What a report shows beside the verdict: who was shown what, in tables that people can read and check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from steps.artifacts.candidate import Candidate
from steps.artifacts.dataset import Dataset
from steps.artifacts.release import Release
from steps.models import metrics
from steps.models.evaluation import LIVE, HeldOut, Mask, Measured, slices
from steps.models.ids import Codes
from steps.models.metrics import Counts, Values
from steps.models.recommender import NOBODY
from steps.models.rules import Rules

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

PURCHASES = (0, 1, 2, 3, 6, 11, 21, 51)
"""Where a new class of customers begins, by how many products they had bought."""
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Of the catalogue, the most bought first."""
EXAMPLES, LISTED = 10, 5
BOUGHT = "bought afterwards"


@dataclass(frozen=True)
class Evidence:
    """What was measured, and on what."""

    data: Dataset
    learnt: sp.csr_matrix
    held: HeldOut
    rules: Rules
    found: Mapping[str, Candidate]
    candidates: Mapping[str, Measured]
    bars: Mapping[str, Measured]
    winner: str
    live: Release | None
    stranger: Codes
    """What the winner shows to somebody of whom nothing is known."""

    @property
    def metric(self) -> str:
        return f"{self.rules.metric}@{self.rules.k}"

    @cached_property
    def buyers(self) -> Counts:
        """Of each item, how many had bought it before."""
        return np.asarray(self.learnt.getnnz(axis=0), np.int64)

    def title(self, bar: str) -> str:
        return f"live (version {self.live.version})" if bar == LIVE and self.live else bar

    @cached_property
    def everybody(self) -> dict[str, Measured]:
        """All that were measured by the names that the page shows, the best first; popularity is named once."""
        others = {self.title(bar): one for bar, one in self.bars.items() if bar not in self.candidates}
        together = {**self.candidates, **others}
        first = {self.winner: 0}
        return dict(sorted(together.items(), key=lambda one: (-self._mean(one[1]), first.get(one[0], 1), one[0])))

    @cached_property
    def compared(self) -> list[str]:
        """The winner, and what it has to beat: few enough to be seen in one chart."""
        wanted = [self.winner, *(self.title(bar) for bar in self.bars)]
        return [name for name in dict.fromkeys(wanted) if name in self.everybody]

    def _mean(self, one: Measured) -> float:
        return one.mean(self.rules.metric, self.rules.k)

    def shown(self, name: str) -> Codes:
        return self.everybody[name].shown[:, : self.rules.k]

    def values(self, name: str) -> Values:
        """The deciding metric, one value a customer."""
        return self.everybody[name].per_user(self.rules.metric, self.rules.k)

    def item(self, code: int) -> str:
        return self.data.item_names[code] if self.data.item_names else self.data.items[code]


def comparison(evidence: Evidence) -> pd.DataFrame:
    """Every metric of every model, a row a model."""
    import pandas as pd

    rules, buyers, users = evidence.rules, evidence.buyers, evidence.learnt.shape[0]
    return pd.DataFrame({name: means(one, rules, buyers, users) for name, one in evidence.everybody.items()}).T


def means(one: Measured, rules: Rules, buyers: Counts, users: int) -> dict[str, float]:
    """Every metric of one model by its name; the one that a gate's floor is about too."""
    k = rules.k
    found = {f"{name}@{k}": one.mean(name, k) for name in metrics.PER_USER}
    found[f"coverage@{k}"] = metrics.coverage(one.shown[:, :k], len(buyers))
    found[f"novelty@{k}"] = metrics.novelty(one.shown[:, :k], buyers, users)
    if rules.floor:
        name, at, _ = rules.floor
        found[f"{name}@{at}"] = one.mean(name, at)
    return found


def intervals(one: Measured, rules: Rules) -> dict[str, list[float]]:
    """Of each metric that has one value a customer, between what its mean very likely lies."""
    k = rules.k
    return {f"{name}@{k}": list(metrics.interval(one.per_user(name, k))) for name in metrics.PER_USER}


def in_groups(evidence: Evidence, groups: Mapping[str, Mask]) -> pd.DataFrame:
    """The deciding metric of every model in each group of customers that there are any of."""
    import pandas as pd

    there = {group: mask for group, mask in groups.items() if mask.any()}
    table = pd.DataFrame(
        {
            name: {group: float(values[mask].mean()) for group, mask in there.items()}
            for name, values in ((name, evidence.values(name)) for name in evidence.everybody)
        }
    )
    table.insert(0, "customers", [int(mask.sum()) for mask in there.values()])
    return table


def groups(evidence: Evidence) -> dict[str, Mask]:
    return slices(evidence.held, evidence.buyers)


def by_purchases(held: HeldOut) -> dict[str, Mask]:
    """Customers by how many products they had bought: `0`, `1`, `2`, `3–5`, … `51+`."""
    had = np.diff(held.before.indptr)
    classes = {
        (str(first) if end == first + 1 else f"{first}–{end - 1}"): (had >= first) & (had < end)
        for first, end in pairwise(PURCHASES)
    }
    classes[f"{PURCHASES[-1]}+"] = had >= PURCHASES[-1]
    return {name: mask for name, mask in classes.items() if mask.any()}


def exposure(evidence: Evidence) -> pd.DataFrame:
    """What share of the places goes to the most bought products; a row a model, and one for what was then bought."""
    import pandas as pd

    table = {name: metrics.exposure(evidence.shown(name), evidence.buyers, SHARES) for name in evidence.everybody}
    bought = np.asarray(evidence.held.bought.indices)
    table[BOUGHT] = metrics.exposure(bought, evidence.buyers, SHARES)
    found = pd.DataFrame(table, index=[percent(share) for share in SHARES]).T
    items = len(evidence.buyers)
    found["Gini"] = [
        *(metrics.gini(evidence.shown(name), items) for name in evidence.everybody),
        metrics.gini(bought, items),
    ]
    return found


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def unheard(evidence: Evidence) -> dict[str, Any]:
    """Products that nobody had bought before: how much they were bought then, and how often each model found that."""
    fresh = evidence.buyers == 0
    bought = int(fresh[evidence.held.bought.indices].sum())
    found = {}
    for name, one in evidence.everybody.items():
        shown = evidence.shown(name)
        there = np.where(shown == NOBODY, False, fresh[np.maximum(shown, 0)])
        hits = one.hits[:, : evidence.rules.k]
        found[name] = {"places": int(there.sum()), "hits": int((there & hits).sum())}
    return {"items": int(fresh.sum()), "bought": bought, "models": found}


def examples(evidence: Evidence) -> list[dict[str, Any]]:
    """Ten customers, from the most active to the least: what they had bought, then bought, and were shown."""
    had = np.diff(evidence.held.before.indptr)
    order = np.argsort(-had, kind="stable")
    places = order[np.unique(np.linspace(0, len(order) - 1, min(EXAMPLES, len(order))).astype(int))]
    asked = [name for name in evidence.compared if name == evidence.winner or name == evidence.title(LIVE)]
    return [_example(evidence, int(place), asked) for place in places]


def _example(evidence: Evidence, place: int, asked: list[str]) -> dict[str, Any]:
    held, data = evidence.held, evidence.data
    user = int(held.users[place])
    before = set(held.before[[place]].indices.tolist())
    last = [int(item) for item in dict.fromkeys(data.item[data.user == user][::-1].tolist()) if item in before]
    then = held.bought[[place]].indices.tolist()
    lists = {}
    for name in asked:
        hits = evidence.everybody[name].hits[place]
        shown = evidence.shown(name)[place]
        lists[name] = [
            (evidence.item(int(item)), bool(hit)) for item, hit in zip(shown, hits, strict=False) if item != NOBODY
        ]
    return {
        "user": data.users[user],
        "had": len(before),
        "before": [evidence.item(item) for item in last[:LISTED]],
        "then": [evidence.item(item) for item in then[:LISTED]],
        "more": max(0, len(then) - LISTED),
        "lists": lists,
    }
