"""Every model before the same held-out purchases: figures a user, their means, slices, and the gate's decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models import metrics
from steps.models.ids import UNKNOWN, Codes, IdTable
from steps.models.metrics import Counts, Values
from steps.models.rules import Rules
from steps.models.scorer import Scorer

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class HeldOut:
    """What some users bought in the test period and had not bought before; a row a user in all three."""

    users: Codes
    bought: sp.csr_matrix
    before: sp.csr_matrix

    @property
    def relevant(self) -> Counts:
        return np.diff(self.bought.indptr).astype(np.int64)


@dataclass(frozen=True)
class Measured:
    """What one model showed to the held-out users."""

    shown: Codes
    hits: metrics.Hits
    relevant: Counts

    def per_user(self, metric: str, k: int) -> Values:
        return metrics.PER_USER[metric](self.hits[:, :k], self.relevant)

    def mean(self, metric: str, k: int) -> float:
        return float(self.per_user(metric, k).mean())


def held_out(train: sp.csr_matrix, test: sp.csr_matrix, most: int, seed: int) -> HeldOut:
    """The users who bought something new in the test period, or `most` of them drawn by the seed."""
    new = sp.csr_matrix(test > 0)
    new = sp.csr_matrix(new - new.multiply(train.astype(np.bool_))).astype(np.float32)
    new.eliminate_zeros()
    users = np.flatnonzero(np.diff(new.indptr)).astype(np.int32)
    if len(users) > most:
        users = np.sort(np.random.default_rng(seed).choice(users, most, replace=False))
    return HeldOut(users, sp.csr_matrix(new[users]), sp.csr_matrix(train[users]))


def measure(scorer: Scorer, held: HeldOut, k: int) -> Measured:
    """Asks a model that was trained on the same snapshot."""
    shown = scorer.recommend(held.users, k, held.before).items
    return Measured(shown, metrics.hits_of(shown, held.bought), held.relevant)


def measure_foreign(scorer: Scorer, users: IdTable, items: IdTable, held: HeldOut, k: int) -> Measured:
    """Asks a model of another snapshot, such as the live one: it knows other users and items, under other codes."""
    asked = scorer.users.aligned(users)[held.users]
    theirs = scorer.items.aligned(items)
    before = held.before.tocoo()
    columns = theirs[before.col]
    known = columns != UNKNOWN
    shape = (len(asked), len(scorer.items))
    hidden = sp.csr_matrix((before.data[known], (before.row[known], columns[known])), shape)
    found = scorer.recommend(asked, k, hidden).items
    ours = items.aligned(scorer.items)
    # An item that the new snapshot lacks was still shown: it takes a place and cannot be a hit.
    shown = np.where(found == UNKNOWN, UNKNOWN, ours[np.maximum(found, 0)])
    return Measured(shown, metrics.hits_of(shown, held.bought), held.relevant)


def slices(held: HeldOut, items_before: Counts) -> dict[str, Mask]:
    """Groups of users: by how much they had bought, and whether they bought old or new items in the test period."""
    had = np.diff(held.before.indptr)
    middle = np.median(had[had > 0]) if (had > 0).any() else 0
    counted = items_before[items_before > 0]
    rare = items_before <= (np.median(counted) if len(counted) else 0)
    new_hits = np.asarray(held.bought @ rare.astype(np.float32)).ravel() > 0
    return {
        "new users": had == 0,
        "light users": (had > 0) & (had <= middle),
        "heavy users": had > middle,
        "bought well-known items": ~new_hits,
        "bought rare or new items": new_hits,
    }


@dataclass(frozen=True)
class Bar:
    """The winner against one model that it has to beat."""

    mean: float
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Decision:
    """Who won, whether the winner may go live, and why, in one sentence."""

    winner: str
    promote: bool
    reason: str


POPULARITY, LIVE = "popularity", "live"


def decide(rules: Rules, candidates: Mapping[str, Measured], bars: Mapping[str, Measured], seed: int) -> Decision:
    """The gate: the best candidate that surely beats popularity goes live, unless it is worse than the live model.

    Surely means that the bootstrap interval of the difference lies above zero: of many models one is always a little
    ahead by chance. Popularity itself may win: it then goes live where nothing is, or where the live model has surely
    fallen behind it, because showing what everybody buys is better than showing nothing or worse.
    """
    name = f"{rules.metric}@{rules.k}"
    values = {model: found.mean(rules.metric, rules.k) for model, found in candidates.items()}
    # Of equals popularity comes first: the other could not beat it.
    order = sorted(values, key=lambda model: (-values[model], model != POPULARITY, model))
    if rules.floor:
        metric, k, least = rules.floor
        reached = candidates[order[0]].mean(metric, k)
        if reached >= least:
            return Decision(order[0], True, f"{order[0]} reaches {metric}@{k} {reached:.4f}, {least:g} was demanded")
    doubts: list[str] = []
    for winner in order:
        doubt = "" if winner == POPULARITY else _doubt(rules, winner, candidates[winner], bars[POPULARITY], seed)
        if not doubt:
            break
        doubts.append(doubt)
    else:
        return Decision(order[0], False, doubts[0])
    value, baseline = values[winner], bars[POPULARITY].mean(rules.metric, rules.k)
    live = bars[LIVE].mean(rules.metric, rules.k) if LIVE in bars else None
    if live is not None and value < live * (1 - rules.tolerance):
        worse = f"{winner} has {name} {value:.4f} and is worse than the live model's {live:.4f}"
        return Decision(winner, False, f"{worse} by more than {rules.tolerance:.1%}")
    if winner == POPULARITY:
        return _popularity_instead(rules, candidates[winner], bars.get(LIVE), doubts, seed)
    beaten = f"popularity's {baseline:.4f}" + (f", live has {live:.4f}" if live is not None else "")
    return Decision(winner, True, "; ".join([f"{winner} has {name} {value:.4f} against {beaten}", *doubts]))


def _doubt(rules: Rules, model: str, found: Measured, popular: Measured, seed: int) -> str:
    """Why a model may be no better than popularity; an empty text where it surely is."""
    name, value = f"{rules.metric}@{rules.k}", found.mean(rules.metric, rules.k)
    bar = against(rules, found, popular, seed)
    if bar.low > 0:
        return ""
    if value <= bar.mean:
        return f"{model} has {name} {value:.4f} and does not beat popularity's {bar.mean:.4f}"
    return (
        f"{model} has {name} {value:.4f} and popularity {bar.mean:.4f}, "
        f"but the difference may be chance: its interval is {bar.low:.4f} to {bar.high:.4f}"
    )


def _popularity_instead(
    rules: Rules, popular: Measured, live: Measured | None, doubts: Sequence[str], seed: int
) -> Decision:
    """Where nothing surely beats popularity: it goes live itself, unless what is live may be as good."""
    name, value = f"{rules.metric}@{rules.k}", popular.mean(rules.metric, rules.k)
    found = f"no model surely beats popularity: {doubts[0]}" if doubts else "no model beats popularity"
    if live is None:
        return Decision(POPULARITY, True, f"{found} ({name} {value:.4f}), so popularity it is")
    bar = against(rules, popular, live, seed)
    if value <= bar.mean:
        return Decision(POPULARITY, False, f"{found}, and the live model's {name} is {bar.mean:.4f} as well")
    if bar.low <= 0:
        behind = f"and that the live model's {bar.mean:.4f} is behind its {name} {value:.4f} may be chance"
        return Decision(POPULARITY, False, f"{found}, {behind}: the interval is {bar.low:.4f} to {bar.high:.4f}")
    return Decision(POPULARITY, True, f"{found} ({name} {value:.4f}), so popularity it is: live has {bar.mean:.4f}")


def against(rules: Rules, winner: Measured, bar: Measured, seed: int) -> Bar:
    """The difference of two models on the same users, with its bootstrap interval."""
    difference = winner.per_user(rules.metric, rules.k) - bar.per_user(rules.metric, rules.k)
    low, high = metrics.bootstrap(difference, seed)
    return Bar(bar.mean(rules.metric, rules.k), float(difference.mean()), low, high)
