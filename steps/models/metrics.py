"""How good recommendations are: every metric defined once, on the items shown and the items bought afterwards.

`hits` is n × k: whether the item shown to a user at a place was bought in the held-out period. `relevant` is n: how
many items each user bought then, at least one. A metric of a user is one number a row; of a model, their mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.special import stdtrit

from steps.models.ids import Codes
from steps.models.recommender import NOBODY

Hits = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

LEVEL = 0.95
"""How likely a mean lies within its interval."""
LEAST_USERS = 5
"""The mean of fewer has no interval: that three users were alike says nothing of the fourth."""


def hits_of(shown: Codes, bought: sp.csr_matrix) -> Hits:
    """Marks in `shown` (n × k) what is in the same row of `bought` (n × items); a row of both is a user."""
    rows, k = shown.shape
    width = bought.shape[1]
    owners = np.repeat(np.arange(rows, dtype=np.int64), np.diff(bought.indptr))
    wanted = np.sort(owners * width + bought.indices)
    asked = np.arange(rows, dtype=np.int64)[:, None] * width + np.maximum(shown, 0)
    if len(wanted) == 0:
        return np.zeros((rows, k), np.bool_)
    place = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
    hits: Hits = (wanted[place] == asked) & (shown != NOBODY)
    return hits


def precision(hits: Hits, relevant: Counts) -> Values:
    """The share of the k places that were hits."""
    return np.asarray(hits.sum(1) / hits.shape[1], np.float64)


def recall(hits: Hits, relevant: Counts) -> Values:
    """The share of what was bought that had been shown."""
    return np.asarray(hits.sum(1) / relevant, np.float64)


def hit_rate(hits: Hits, relevant: Counts) -> Values:
    """1 where at least one place was a hit."""
    return np.asarray(hits.any(1), np.float64)


def ndcg(hits: Hits, relevant: Counts) -> Values:
    """Hits discounted by log2(place + 1), as a share of the best possible order."""
    k = hits.shape[1]
    discount = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(relevant, k)]
    return np.asarray((hits @ discount) / ideal, np.float64)


def average_precision(hits: Hits, relevant: Counts) -> Values:
    """The precision at each hit, summed, over min(relevant, k): the MAP of the H&M competition."""
    k = hits.shape[1]
    at_place = np.cumsum(hits, 1) / np.arange(1, k + 1)
    return np.asarray((at_place * hits).sum(1) / np.minimum(relevant, k), np.float64)


PER_USER: dict[str, Callable[[Hits, Counts], Values]] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "map": average_precision,
    "hit_rate": hit_rate,
}
WHOLE = ("coverage", "novelty")


def coverage(shown: Codes, items: int) -> float:
    """The share of the catalogue that was shown to anybody."""
    return len(np.unique(shown[shown != NOBODY])) / items


def novelty(shown: Codes, buyers: Counts, users: int) -> float:
    """How surprising the items shown are: the mean of -log2 of the share of users who had bought the item.

    One is added to buyers and users, so that an item that nobody bought is rare and not infinite.
    """
    share = (buyers + 1) / (users + 1)
    places = shown[shown != NOBODY]
    return float(-np.log2(share[places]).mean()) if len(places) else 0.0


def interval(values: Values) -> tuple[float, float]:
    """Where the mean of a metric very likely lies for other users of the same kind: Student's interval around it.

    Quick enough for every metric of every model and group. A handful of users tells nothing: anything is possible.
    """
    if len(values) < LEAST_USERS:
        return 0.0, 1.0
    # 1.96 standard errors of very many users, 2.78 of five.
    wide = float(stdtrit(len(values) - 1, (1 + LEVEL) / 2))
    mean, margin = float(values.mean()), wide * float(values.std(ddof=1)) / math.sqrt(len(values))
    return max(mean - margin, 0.0), min(mean + margin, 1.0)


def standard_error(difference: Values) -> Values:
    """Of the mean of one difference a user, in the last axis: what chance does to it."""
    return np.asarray(np.std(difference, axis=-1) / math.sqrt(difference.shape[-1]))


def exposure(shown: Codes, buyers: Counts, shares: Sequence[float]) -> list[float]:
    """What share of the places goes to the most bought so many of all items: `shares` ascend, 0.1 is a tenth of them.

    >>> exposure(np.array([[0, 1], [0, 2]]), np.array([9, 5, 1, 0]), [0.25, 0.5, 1])
    [0.5, 0.75, 1.0]
    """
    places = shown[shown != NOBODY]
    by_rank = np.bincount(places, minlength=len(buyers))[np.argsort(-buyers, kind="stable")]
    return share_of_first(by_rank, shares)


def share_of_first(amounts: npt.NDArray[Any], shares: Sequence[float]) -> list[float]:
    """The part of the sum that the first so many hold; at least one does."""
    below = np.cumsum(amounts, dtype=np.float64)
    total = max(float(below[-1]) if len(below) else 0.0, 1e-9)
    return [float(below[max(1, math.ceil(share * len(below) - 1e-9)) - 1] / total) for share in shares]


def gini(shown: Codes, items: int) -> float:
    """How unequal the items' places are: 0 where each is shown equally often, near 1 where a few are shown alone."""
    amounts = np.sort(np.bincount(shown[shown != NOBODY], minlength=items)).astype(np.float64)
    total = amounts.sum()
    if not total:
        return 0.0
    return float((2 * np.arange(1, items + 1) - items - 1) @ amounts / (items * total))


def bootstrap(difference: Values, seed: int, draws: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """An interval for the mean of one difference a user: the middle 95 % of means over users drawn with repetition.

    Of a handful of users it is all that a difference can be: that two were better served may always be chance.
    """
    if len(difference) < LEAST_USERS:
        return -1.0, 1.0
    rng = np.random.default_rng(seed)
    n = len(difference)
    means = np.empty(draws)
    for draw in range(draws):
        means[draw] = difference[rng.integers(0, n, n)].mean()
    tail = (1 - level) / 2 * 100
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)
