"""Two towers over ids and features: one for the user at a moment, one for the item, trained to retrieve and to rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.bounds import require
from steps.models.features import padded
from steps.models.holding import figure, hold_back
from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report
from steps.models.scorer_model import ScorerModel, shared
from steps.models.two_stage import HEAD, TOWER, Stages, TwoStage, rating, tower
from steps.runtime.errors import UsageError

if TYPE_CHECKING:
    from steps.models.evaluation import HeldOut
    from steps.models.networks.epochs import Epoch
    from steps.models.networks.towers import Known

EXTRA = 16
"""Entries of the vectors that only the ranking looks at."""
LOOK_BACK = 32
"""How many of a user's purchases the query tower sees."""
NOTHING_KNOWN = -20.0
"""Added to the score of an item with neither purchases nor features: nobody can say whom it is for."""
SHARES = (0.0, 0.1, 0.3, 1.0)
"""How much the ranking may count beside the retrieval; held-back purchases choose."""


@dataclass(frozen=True)
class TwoTowerSettings:
    """Hyper-parameters of the towers, of the two tasks, and of their training."""

    factors: int = 64
    hidden: int = 64
    retrieval: float = 1.0
    """How much finding what was bought counts; 0 trains the ranking alone."""
    ranking: float = 1.0
    """How much the weight of the purchase counts, such as a rating; 0 trains the retrieval alone."""
    retrieved: int = 300
    """How many items the second stage ranks."""
    strangers: float = 0.1
    """How often training hides an id, so that features have to do without it."""
    dropout: float = 0.2
    learning_rate: float = 0.003
    batch: int = 1024
    epochs: int = 30
    """At most; training ends when held-back purchases are no longer found better."""
    patience: int = 3

    def __post_init__(self) -> None:
        require("two_tower", self, factors=(1, 1024), hidden=(1, 4096), retrieved=(1, 100_000), batch=(2, 65536))
        require("two_tower", self, retrieval=(0, 1000), ranking=(0, 1000), strangers=(0, 0.9), dropout=(0, 0.9))
        require("two_tower", self, learning_rate=(1e-6, 1), epochs=(1, 1000), patience=(1, 1000))
        if not self.retrieval and not self.ranking:
            raise UsageError("two_tower.retrieval and two_tower.ranking are both 0: nothing would be learned")


@dataclass(frozen=True)
class _Purchases:
    """What is learned from, a row each."""

    user: Codes
    item: Codes
    weight: Floats
    moment: Codes

    def part(self, chosen: npt.NDArray[np.bool_]) -> _Purchases:
        return _Purchases(self.user[chosen], self.item[chosen], self.weight[chosen], self.moment[chosen])


@dataclass(frozen=True)
class _Tables:
    """What is known of users and items at the end, as matrices."""

    user_features: sp.csr_matrix
    item_features: sp.csr_matrix
    bought: sp.csr_matrix
    """Users × items: the last ones each user bought."""
    sold: npt.NDArray[np.bool_]
    """Of each item, whether anybody bought it."""
    known_users: npt.NDArray[np.bool_]
    now: Codes
    """The moment that recommendations are for: that of the last purchase."""


class TwoTower(ScorerModel):
    """Retrieves by the product of the towers, ranks by a network on both."""

    name = "two_tower"
    settings_type = TwoTowerSettings
    trains_together = True

    scorer: TwoStage
    curve: list[Epoch]
    centre: float
    spread: float

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        """Where a search looks: `("log", low, high)`, `("even", low, high)`, or the values to choose from."""
        return {
            "factors": (32, 64, 128),
            "hidden": (32, 64, 128),
            "strangers": ("even", 0.02, 0.4),
            "dropout": ("even", 0.0, 0.5),
            "learning_rate": ("log", 0.0005, 0.02),
            "batch": (256, 1024, 4096),
        }

    def learn(self, interactions: Interactions, seed: int, report: Report) -> TwoStage:
        from steps.models.networks.towers import moments

        history = interactions.history
        everything = _Purchases(history.user, history.item, history.weight, moments(history.time, len(history.user)))
        latest = int(np.argmax(history.time)) if history.time is not None and len(history.user) else -1
        now = everything.moment[latest] if len(history.user) else np.zeros(3, np.int32)
        liked = everything.weight > 0
        if not liked.any():
            return self._nothing(interactions)
        held_rows = hold_back(everything.user[liked], everything.item[liked], interactions.matrix.shape, seed)
        learnt = np.ones(len(liked), np.bool_)
        learnt[liked] = held_rows.learnt
        tables = _tables(interactions, everything.part(liked), now)
        before = _tables(interactions, everything.part(liked & learnt), now)
        return self._train(interactions, everything.part(learnt), tables, before, held_rows.held, seed, report)

    def _train(
        self,
        interactions: Interactions,
        purchases: _Purchases,
        tables: _Tables,
        before: _Tables,
        held: HeldOut | None,
        seed: int,
        report: Report,
    ) -> TwoStage:
        from steps.models.networks.epochs import Plan
        from steps.models.networks.towers import Sizes, Tasks, Towers
        from steps.models.networks.training import Share, prepare, train
        from steps.models.quiet_keras import keras

        settings: TwoTowerSettings = self.settings
        self.centre = float(purchases.weight.mean())
        self.spread = float(purchases.weight.std()) or 1.0
        prepare(seed)
        tasks = Tasks(settings.retrieval, settings.ranking, settings.dropout, settings.strangers)
        rows_of = Share.of_one(self.together)
        sizes = Sizes(settings.factors, EXTRA, settings.hidden)
        network = Towers(_known(interactions, before, purchases), sizes, tasks, seed, rows_of)
        network.compile(optimizer=keras.optimizers.Adam(settings.learning_rate), jit_compile=False)
        common = shared(interactions)

        def made(tables: _Tables, share: float) -> TwoStage:
            stages = Stages(settings.factors, settings.retrieved, float(settings.retrieval > 0), share)
            return _scorer(common, network.arrays(), tables, stages)

        alone = 0.0 if settings.retrieval else 1.0

        def judge() -> float:
            assert held is not None
            return figure(made(before, alone), held)

        rows = {
            "user": purchases.user,
            "item": purchases.item,
            "moment": purchases.moment,
            "rating": ((purchases.weight - self.centre) / self.spread).astype(np.float32),
            "liked": (purchases.weight > 0).astype(np.float32),
        }
        plan = Plan(settings.epochs, settings.batch, settings.patience, repr(settings))
        self.curve = train(network, rows, plan, seed, judge if held else None, report, self.together)
        share = alone
        if held and settings.retrieval and settings.ranking and len(np.unique(purchases.weight)) > 1:
            judged = made(before, alone)
            ranked = {one: replace(judged, stages=replace(judged.stages, ranking=one)) for one in SHARES}
            share = max(SHARES, key=lambda one: (figure(ranked[one], held), -one))
        return made(tables, share)

    def rate(self, users: Codes, items: Codes) -> Floats:
        """The weight that a purchase would have, such as the rating, as the ranking task learned it."""
        found = rating(np, self.scorer.head, self.scorer.queries[users], self.scorer.candidates[items])
        return np.asarray(self.centre + self.spread * found, np.float32)

    def _nothing(self, interactions: Interactions) -> TwoStage:
        """Zeros, which the check refuses."""
        users, items = (np.zeros((count, 1), np.float32) for count in interactions.matrix.shape)
        return TwoStage(shared(interactions), users, items, items[:, 0], {}, Stages(1, 1, 1.0, 0.0), {})


def _tables(interactions: Interactions, purchases: _Purchases, now: Codes) -> _Tables:
    shape = interactions.matrix.shape
    last = _last(purchases.user, purchases.item, LOOK_BACK)
    # The same item twice among the last ones is there twice.
    bought = sp.csr_matrix((np.ones(len(last), np.float32), (purchases.user[last], purchases.item[last])), shape)
    return _Tables(
        interactions.user_features,
        interactions.item_features,
        bought,
        np.bincount(purchases.item, minlength=shape[1]) > 0,
        np.bincount(purchases.user, minlength=shape[0]) > 0,
        now,
    )


def _last(user: Codes, item: Codes, most: int) -> npt.NDArray[np.intp]:
    """The places of the last purchases of each user; `user` ascends."""
    ends = np.searchsorted(user, user, side="right")
    return np.flatnonzero(ends - np.arange(len(user)) <= most)


def _known(interactions: Interactions, tables: _Tables, purchases: _Purchases) -> Known:
    from steps.models.networks.towers import Known

    counts = np.bincount(purchases.item[purchases.weight > 0], minlength=len(interactions.items))
    words = tables.user_features.shape[1], tables.item_features.shape[1]
    return Known(
        padded(tables.user_features),
        padded(tables.item_features),
        words,
        _numbers(tables.bought),
        (counts / max(counts.sum(), 1)).astype(np.float32),
    )


def _numbers(bought: sp.csr_matrix) -> Codes:
    """The items of each row as numbers from 1, in a rectangle."""
    lengths = np.diff(bought.indptr)
    numbers = np.zeros((bought.shape[0], max(1, int(lengths.max(initial=0)))), np.int32)
    row = np.repeat(np.arange(bought.shape[0]), lengths)
    numbers[row, np.arange(len(row)) - bought.indptr[row]] = bought.indices + 1
    return numbers


def _scorer(common: Any, learned: dict[str, Floats], tables: _Tables, stages: Stages) -> TwoStage:
    """Runs both towers for everybody, with numpy."""
    query = {name: learned[f"query.{name}"] for name in TOWER}
    candidate = {name: learned[f"candidate.{name}"] for name in TOWER}
    head = {name: learned[f"head.{name}"] for name in HEAD}
    moment = learned["table.moment"][tables.now].sum(axis=0)
    bought = learned["table.bought"][1:]
    counts = np.maximum(np.diff(tables.bought.indptr), 1)
    seen = sp.csr_matrix(sp.diags(1 / np.sqrt(counts)) @ (tables.bought > 0).astype(np.float32), dtype=np.float32)
    users = _ids(learned["table.user"], tables.known_users) + moment + seen @ bought
    users += tables.user_features @ learned["table.user_word"][: tables.user_features.shape[1]]
    items = _ids(learned["table.item"], tables.sold)
    items += tables.item_features @ learned["table.item_word"][: tables.item_features.shape[1]]
    bare = ~tables.sold & (tables.item_features.getnnz(axis=1) == 0)
    return TwoStage(
        common,
        np.asarray(tower(np, query, users), np.float32),
        np.asarray(tower(np, candidate, items), np.float32),
        np.where(bare, NOTHING_KNOWN, 0).astype(np.float32),
        head,
        stages,
        {**query, "items": bought, "stranger": learned["table.user"][-1] + moment},
    )


def _ids(table: Floats, known: npt.NDArray[np.bool_]) -> Floats:
    """The vector of each id, the stranger's for one that was never met in training."""
    return np.where(known[:, None], table[:-1], table[-1]).astype(np.float32)
