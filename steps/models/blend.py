"""Several models that score together: each one's scores standardised per user, weighted, and summed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from steps.models import metrics, scorers
from steps.models.evaluation import HeldOut
from steps.models.ids import Codes
from steps.models.metrics import Values
from steps.models.recommender import NOBODY, Floats, best
from steps.models.scorer import LEAST_SPREAD, Scorer, Shared, load_array, save_arrays

LISTED = 200
"""How many of a user's best items are kept to judge blends by: what stands further behind does not come to the top."""
MOST_MEMBERS = 3
CONSIDERED = 4
"""Only the best few alone are tried together."""
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)
ROWS_AT_ONCE = 128
PAIRS_AT_ONCE = 256


@dataclass(frozen=True)
class Blend(Scorer):
    """The weighted sum of what its members say, after each is brought to mean 0 and deviation 1 in every row."""

    kind: ClassVar[str] = "blend"

    shared: Shared
    members: Mapping[str, Scorer]
    weights: Mapping[str, float]

    def check(self, name: str) -> None:
        for member, scorer in self.members.items():
            scorer.check(f"{name} of {member}")

    def personal(self, users: Codes) -> Floats:
        return self._together({name: one.personal(users) for name, one in self.members.items()})

    def pairs(self, users: Codes, items: Codes) -> Floats:
        found = np.empty(len(users), np.float32)
        for start in range(0, len(users), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            distinct, row = np.unique(users[part], return_inverse=True)
            found[part] = self.personal(distinct)[row, items[part]]
        return found

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        said = {name: one.folded(histories) for name, one in self.members.items()}
        able = {name: scores for name, scores in said.items() if scores is not None}
        return self._together(able) if able else None

    def alike(self, item: int) -> Floats | None:
        said = {name: one.alike(item) for name, one in self.members.items()}
        able = {name: likeness[None] for name, likeness in said.items() if likeness is not None}
        return np.asarray(self._together(able)[0]) if able else None

    def parts(self, user: int, bought: Codes, item: int) -> Floats | None:
        """What purchases add to each member's score, in the measure in which that is added to the others'."""
        row = np.array([user], np.int32)
        together: Floats | None = None
        for name, one in self.members.items():
            parts = one.parts(user, bought, item)
            if parts is not None:
                scale = self.weights[name] / max(float(one.personal(row).std()), LEAST_SPREAD)
                together = np.float32(scale) * parts + (0 if together is None else together)
        return together

    def _together(self, said: Mapping[str, Floats]) -> Floats:
        return np.asarray(sum(np.float32(self.weights[name]) * standard(scores) for name, scores in said.items()))

    def write(self, folder: Path) -> Mapping[str, Any]:
        for name, member in self.members.items():
            (folder / name).mkdir()
            member.save_kind(folder / name)
        return {"weights": dict(self.weights)}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        weights = {str(name): float(weight) for name, weight in about["weights"].items()}
        return cls(shared, {name: scorers.read(folder / name, shared) for name in weights}, weights)


def standard(scores: Floats) -> Floats:
    """Every row with mean 0 and deviation 1, so that scores of different kinds can be added."""
    mean = scores.mean(axis=1, keepdims=True)
    spread = np.maximum(scores.std(axis=1, keepdims=True), np.float32(LEAST_SPREAD))
    return np.asarray((scores - mean) / spread, np.float32)


@dataclass(frozen=True)
class Lists:
    """What a model fitted without the validation split would show the users of that split, with standard scores."""

    users: Codes
    items: Codes
    scores: Floats

    @classmethod
    def of(cls, scorer: Scorer, held: HeldOut) -> Lists:
        items = np.empty((len(held.users), LISTED), np.int32)
        scores = np.empty((len(held.users), LISTED), np.float32)
        for rows in _blocks(len(held.users)):
            said = standard(scorer.score_all(held.users[rows]))
            hidden = held.before[rows].tocoo()
            said[hidden.row, hidden.col] = np.float32(-np.inf)
            order = np.argsort(-said, axis=1, kind="stable")[:, :LISTED]
            width = order.shape[1]
            items[rows, :width] = order
            scores[rows, :width] = np.take_along_axis(said, order, axis=1)
            items[rows, width:] = NOBODY
        items[~np.isfinite(scores)] = NOBODY
        scores[items == NOBODY] = 0
        return cls(held.users, items, scores)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        save_arrays(folder, {"users": self.users, "items": self.items, "scores": self.scores})

    @classmethod
    def load(cls, folder: Path) -> Lists:
        return cls(load_array(folder, "users"), load_array(folder, "items"), load_array(folder, "scores"))


@dataclass(frozen=True)
class Chosen:
    """The best blend, or the best model alone where none is surely better, and what both reach by validation."""

    weights: Mapping[str, float]
    value: float
    alone: float


def choose(lists: Mapping[str, Lists], held: HeldOut, metric: str, k: int) -> Chosen:
    """The best pair or three by the validation split, or the best model alone.

    A mix must be ahead of the best alone by more than the standard error: of many one always seems better.
    """
    singles = [{name: 1.0} for name in sorted(lists)]
    alone = dict(zip(sorted(lists), _values(lists, held, singles, metric, k), strict=True))
    able = sorted(alone, key=lambda name: (-alone[name].mean(), name))[:CONSIDERED]
    bar = alone[able[0]]

    def improved(chosen: Chosen, mixes: Sequence[Mapping[str, float]]) -> Chosen:
        if not mixes:
            return chosen
        values = _values(lists, held, mixes, metric, k)
        ahead = values - bar
        surely = ahead.mean(axis=1) > metrics.standard_error(ahead)
        reached = np.where(surely, values.mean(axis=1), -np.inf)
        place = int(np.argmax(reached))
        if reached[place] <= chosen.value:
            return chosen
        return Chosen(mixes[place], float(reached[place]), chosen.alone)

    chosen = Chosen({able[0]: 1.0}, float(bar.mean()), float(bar.mean()))
    chosen = improved(chosen, list(_pairs(able)))
    return improved(chosen, list(_with_another(chosen.weights, able))) if len(chosen.weights) > 1 else chosen


def _pairs(names: Sequence[str]) -> Iterator[dict[str, float]]:
    for first, second in combinations(names, 2):
        yield from ({first: 1 - share, second: share} for share in SHARES)


def _with_another(pair: Mapping[str, float], names: Sequence[str]) -> Iterator[dict[str, float]]:
    for third in names:
        if third not in pair:
            for share in SHARES[:3]:
                yield {**{name: weight * (1 - share) for name, weight in pair.items()}, third: share}


def _values(
    lists: Mapping[str, Lists], held: HeldOut, tried: Sequence[Mapping[str, float]], metric: str, k: int
) -> Values:
    """What each of some weightings reaches, a row each, for each user."""
    values = np.zeros((len(tried), len(held.users)))
    for rows in _blocks(len(held.users)):
        columns, said = _side_by_side(lists, rows)
        relevant = held.relevant[rows]
        for place, weights in enumerate(tried):
            together = np.asarray(sum(np.float32(weight) * said[name] for name, weight in weights.items()))
            found, _ = best(together, k)
            shown = np.where(found == NOBODY, NOBODY, columns[np.maximum(found, 0)])
            hits = metrics.hits_of(shown.astype(np.int32), held.bought[rows])
            values[place, rows] = metrics.PER_USER[metric](hits, relevant)
    return values


def _side_by_side(lists: Mapping[str, Lists], rows: slice) -> tuple[Codes, dict[str, Floats]]:
    """The scores of everybody's lists over the same columns; what a list lacks counts as its last place."""
    columns = np.unique(np.concatenate([one.items[rows].ravel() for one in lists.values()]))
    columns = columns[columns != NOBODY]
    said = {}
    for name, one in lists.items():
        items, scores = np.asarray(one.items[rows]), np.asarray(one.scores[rows])
        there = items != NOBODY
        least = np.where(there, scores, np.inf).min(axis=1, initial=np.inf)
        table = np.repeat(np.where(np.isfinite(least), least, 0)[:, None], len(columns), axis=1).astype(np.float32)
        owners = np.nonzero(there)[0]
        table[owners, np.searchsorted(columns, items[there])] = scores[there]
        said[name] = table
    return columns, said


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, start + ROWS_AT_ONCE) for start in range(0, count, ROWS_AT_ONCE))
