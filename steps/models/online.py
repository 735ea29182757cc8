"""How good recommendations are with real users: what was shown joined with what followed, and how the world changes.

Every figure is a mean with an interval. People come back, and what one of them does is no independent evidence each
time: intervals are as wide as the differences between users make them, not between lists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from steps.models.metrics import LEAST_USERS, LEVEL

Numbers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]
Z = 1.959963984540054
"""Standard errors to either side that hold 95 % of all means."""
PLACES = (0, 1, 2, 3, 5, 10, 20)
"""Where classes of places begin, by how many items stood before."""


@dataclass(frozen=True)
class Lists:
    """Lists as they were shown, one entry a list; list `n` holds `item[starts[n]:starts[n + 1]]` in that order."""

    user: Numbers
    time: Numbers
    version: Numbers
    starts: Numbers
    item: Numbers

    def __len__(self) -> int:
        return len(self.user)

    @property
    def owner(self) -> Numbers:
        """Of each place its list."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.starts))


@dataclass(frozen=True)
class Actions:
    """What users did, one entry a click or a purchase."""

    user: Numbers
    item: Numbers
    time: Numbers
    bought: Flags
    """Of each whether it is a purchase; else it is a click."""


@dataclass(frozen=True)
class Followed:
    """Of each place of each list, what its user did with it."""

    clicked: Flags
    bought: Flags

    @property
    def taken(self) -> Flags:
        return self.clicked | self.bought


@dataclass(frozen=True)
class Estimate:
    """A mean, and between what it very likely lies."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """What one version did in a window."""

    lists: int = 0
    users: int = 0
    places: int = 0
    clicks: int = 0
    purchases: int = 0
    """Places that were clicked or bought, each once."""
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    taken_at: tuple[int, ...] = ()
    """How much was clicked or bought at the places of each class of PLACES."""
    requests: int = 0
    """Questions that were put to it, answered or not."""
    errors: int = 0
    degraded: int = 0
    """Errors that another one answered: a part of them."""
    ms: tuple[float, float] = (0.0, 0.0)
    """The time of the middle request and of the slowest of a hundred, averaged over minutes."""
    shadow: tuple[int, float] = (0, 0.0)
    """How often it was asked beside another version, and what share of that one's items it would have shown."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Figures:
        """Reads what `asdict` made of it, also where a later version knew more."""
        known = {one.name: value[one.name] for one in fields(cls) if one.name in value}
        known |= {name: tuple(part) for name, part in known.items() if isinstance(part, list)}
        metrics = {name: Estimate(**one) for name, one in known.pop("metrics", {}).items()}
        return cls(metrics=metrics, **known)


def followed(lists: Lists, actions: Actions, within: int) -> Followed:
    """Joins each action with the last list before it that showed the item to the user, at most `within` before.

    An action counts for one list: what was shown five times and bought once is one success.
    """
    owner = lists.owner
    width = 1 + max(int(lists.item.max(initial=0)), int(actions.item.max(initial=0)))
    pair = np.concatenate([lists.user[owner] * width + lists.item, actions.user * width + actions.item])
    time = np.concatenate([lists.time[owner], actions.time])
    places = len(owner)
    # At the same moment a list comes before an action; and of a list that has an item twice, the first place is last.
    turn = np.concatenate([-np.arange(places), np.ones(len(actions.user), np.int64)])
    order = np.lexsort((turn, time, pair))
    is_action = order >= places
    last = np.maximum.accumulate(np.where(is_action, -1, np.arange(len(order))))[is_action]
    action, shown = order[is_action], order[np.maximum(last, 0)]
    joined = (last >= 0) & (pair[shown] == pair[action]) & (time[action] - time[shown] <= within)
    place, bought = shown[joined], actions.bought[action[joined] - places]
    result = Followed(np.zeros(places, bool), np.zeros(places, bool))
    result.bought[place[bought]] = True
    result.clicked[place[~bought]] = True
    return result


def per_list(lists: Lists, flags: Flags) -> Numbers:
    """How many places of each list have the flag."""
    return np.bincount(lists.owner[flags], minlength=len(lists)).astype(np.int64)


def rank(lists: Lists) -> Numbers:
    """Of each place how many come before it in its list."""
    return np.arange(len(lists.item), dtype=np.int64) - lists.starts[:-1][lists.owner]


def ndcg(lists: Lists, hits: Flags) -> Values:
    """Of each list: 1 where all hits stand at its top, less the lower they stand, 0 where there are none."""
    longest = int(np.diff(lists.starts).max(initial=1))
    discount = 1 / np.log2(np.arange(2, longest + 2))
    gained = np.bincount(lists.owner[hits], discount[rank(lists)[hits]], minlength=len(lists))
    best = np.concatenate([[0.0], np.cumsum(discount)])[per_list(lists, hits)]
    found: Values = np.divide(gained, best, out=np.zeros(len(lists)), where=best > 0)
    return found


def estimate(gained: npt.NDArray[np.generic], of: npt.NDArray[np.generic], user: Numbers) -> Estimate:
    """What was gained as a share of what there was to gain, which is never less; one entry a list.

    Wilson's interval, for as many independent trials as would vary as much as the users do.
    """
    _, who = np.unique(user, return_inverse=True)
    top, bottom = np.bincount(who, gained.astype(float)), np.bincount(who, of.astype(float))
    users, whole = len(top), float(bottom.sum())
    if not whole:
        return Estimate(0.0, 0.0, 1.0)
    share = float(top.sum()) / whole
    if users < LEAST_USERS:
        return Estimate(share, 0.0, 1.0)
    variance = users / (users - 1) * float(((top - share * bottom) ** 2).sum()) / whole**2
    # Where all users are alike nothing is known of how they differ: then each of them is one trial.
    trials = min(share * (1 - share) / variance, whole) if variance > 0 else float(users)
    wide = float(stdtrit(users - 1, (1 + LEVEL) / 2))
    return wilson(share, max(trials, 1.0), wide)


def rate(count: int, of: int) -> Estimate:
    """How often something happened, such as errors among requests."""
    return wilson(count / of, of, Z) if of else Estimate(0.0, 0.0, 1.0)


def wilson(share: float, trials: float, wide: float) -> Estimate:
    """A share with Wilson's interval, which is sound also near 0 and 1 and for few trials."""
    share = min(max(share, 0.0), 1.0)  # of what was counted in two places there may be more than there is in all
    square = wide**2
    middle = (share + square / (2 * trials)) / (1 + square / trials)
    margin = wide / (1 + square / trials) * math.sqrt(share * (1 - share) / trials + square / (4 * trials**2))
    # An exact 0 or 1 is within its interval, whatever floating point makes of it.
    return Estimate(share, max(min(middle - margin, share), 0.0), min(max(middle + margin, share), 1.0))


def difference(one: Estimate, other: Estimate) -> Estimate:
    """How much more `one` is than `other`, from the intervals of both (Newcombe's method)."""
    value = one.value - other.value
    below = math.hypot(one.value - one.low, other.high - other.value)
    above = math.hypot(one.high - one.value, other.value - other.low)
    return Estimate(value, value - below, value + above)


@dataclass(frozen=True)
class Stability:
    """How far a distribution has moved: 0 not at all; below 0.1 hardly, above 0.25 much, as is usually said of it."""

    index: float
    by_chance: float
    """About how large the index would be if nothing had moved and only so much had been seen."""
    seen: int


def stability(expected: Numbers, actual: Numbers) -> Stability:
    """The population stability index of counts by group; half is added to each, so that an empty group is only rare."""
    groups, before, now = len(expected), int(expected.sum()), int(actual.sum())
    was = (expected + 0.5) / (before + groups / 2)
    is_now = (actual + 0.5) / (now + groups / 2)
    index = float(((is_now - was) * np.log(is_now / was)).sum())
    by_chance = (groups - 1) * (1 / max(before, 1) + 1 / max(now, 1))
    return Stability(index, by_chance, now)


def equal_groups(counts: Numbers, groups: int) -> Numbers:
    """Divides items by how often they were bought, the most bought first, so that all groups have about equally many
    purchases; what was never bought is a last group of its own.
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    found = np.empty(len(counts), np.int64)
    found[order] = np.minimum(before * groups // max(int(counts.sum()), 1), groups - 1)
    found[counts == 0] = groups
    return found


def classes(counts: Numbers, edges: Sequence[int]) -> Numbers:
    """Of each count the class that it falls into; `edges` are where a class begins, the first of them 0."""
    return np.searchsorted(np.asarray(edges), counts, side="right").astype(np.int64) - 1
