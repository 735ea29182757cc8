"""Deep collaborative filtering: embeddings of users and products under dense layers, trained to rank."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from steps.models.bounds import require
from steps.models.holding import figure, hold_back
from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report, check_learned
from steps.models.scorer import Scorer, Shared, cosines, load_array, require_shapes, save_arrays
from steps.models.scorer_model import ScorerModel, shared

if TYPE_CHECKING:
    from steps.models.networks.epochs import Epoch, Plan

STEPS, LEAST_BATCH = 100, 32
"""An epoch of fewer steps teaches too little to be judged by; portions smaller than the least take too long."""
BATCH, LARGEST_BATCH = 512, 4096
VECTORS_EACH = 100
"""Every step changes the vectors of all customers and products, wherever they come from. It takes little of its time
where there are at most so many of them for each purchase of a portion."""
ITEMS_AT_ONCE = 4096
"""So many hidden layers fit where a processor reaches them fast."""


@dataclass(frozen=True)
class DeepCFSettings:
    """Hyper-parameters of the network and of its training."""

    factors: int = 50
    hidden: int = 50
    dropout: float = 0.2
    emphasis: float = 1.0
    """How much more than any purchase one counts whose number is the highest of its product."""
    drawn: int = 128
    """How many products each purchase is compared with."""
    learning_rate: float = 0.003
    batch: int = 0
    """At most; 0 for 512 or, with many customers and products, more. With few purchases the portions are smaller."""
    epochs: int = 30
    """At most; training ends when held-back purchases are no longer found better."""
    purchases: int = 4_000_000
    """In all epochs together about so many are learned from: a large shop is gone through less often, but once."""
    patience: int = 3

    def __post_init__(self) -> None:
        require("deep_cf", self, factors=(1, 1024), hidden=(1, 4096), drawn=(1, 8192), batch=(0, 65536))
        require("deep_cf", self, dropout=(0, 0.9), emphasis=(0, 1000), learning_rate=(1e-6, 1))
        require("deep_cf", self, epochs=(1, 1000), patience=(1, 1000), purchases=(1, 10**12))


@dataclass(frozen=True)
class Dense(Scorer):
    """The product of two embeddings, and a hidden layer over both, of which each half is calculated beforehand."""

    kind: ClassVar[str] = "dense"

    shared: Shared
    user_factors: Floats
    item_factors: Floats
    user_hidden: Floats
    """What each user brings to the hidden layer, before it is cut off at zero."""
    item_hidden: Floats
    bias: Floats
    out: Floats

    def __post_init__(self) -> None:
        width, hidden = self.user_factors.shape[1], len(self.out)
        require_shapes(
            {
                "user_factors": (self.user_factors.shape, (len(self.users), width)),
                "item_factors": (self.item_factors.shape, (len(self.items), width)),
                "user_hidden": (self.user_hidden.shape, (len(self.users), hidden)),
                "item_hidden": (self.item_hidden.shape, (len(self.items), hidden)),
                "bias": (self.bias.shape, (len(self.items),)),
            }
        )

    def check(self, name: str) -> None:
        check_learned(name, user_factors=self.user_factors, item_factors=self.item_factors)

    def personal(self, users: Codes) -> Floats:
        scores = np.asarray(self.user_factors[users] @ self.item_factors.T + self.bias, np.float32)
        for start in range(0, scores.shape[1], ITEMS_AT_ONCE):
            block = slice(start, start + ITEMS_AT_ONCE)
            hidden = np.asarray(self.item_hidden[block])
            for row, user in zip(scores, users, strict=True):
                row[block] += np.maximum(self.user_hidden[user] + hidden, 0) @ self.out
        return scores

    def pairs(self, users: Codes, items: Codes) -> Floats:
        products = np.einsum("ij,ij->i", self.user_factors[users], self.item_factors[items])
        dense = np.maximum(self.user_hidden[users] + self.item_hidden[items], 0) @ self.out
        return np.asarray(products + self.bias[items] + dense, np.float32)

    def alike(self, item: int) -> Floats:
        return cosines(self.item_factors, item)

    def write(self, folder: Path) -> Mapping[str, Any]:
        save_arrays(folder, {name: getattr(self, name) for name in ARRAYS})
        return {}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        return cls(shared, *(load_array(folder, name) for name in ARRAYS))


ARRAYS = ("user_factors", "item_factors", "user_hidden", "item_hidden", "bias", "out")


class DeepCF(ScorerModel):
    """Learns to tell what a user bought from what was drawn at random."""

    name = "deep_cf"
    settings_type = DeepCFSettings
    trains_together = True

    curve: list[Epoch]

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        """Where a search looks: `("log", low, high)`, `("even", low, high)`, or the values to choose from."""
        return {
            "factors": (25, 50, 100),
            "hidden": (25, 50, 100),
            "dropout": ("even", 0.0, 0.5),
            "emphasis": ("even", 0.0, 4.0),
            "drawn": (64, 128, 512),
            "learning_rate": ("log", 0.0005, 0.02),
        }

    def learn(self, interactions: Interactions, seed: int, report: Report) -> Dense:
        from steps.models.networks.collaborative import Collaborative, Sizes
        from steps.models.networks.training import Share, prepare, train
        from steps.models.quiet_keras import keras

        settings: DeepCFSettings = self.settings
        common = shared(interactions)
        liked = sp.csr_matrix(interactions.matrix.multiply(interactions.matrix > 0))
        users, items = liked.shape
        if not liked.nnz:
            return _nothing(common)
        pairs = liked.tocoo()
        weight = 1 + settings.emphasis * np.nan_to_num(normalised(liked).data)
        holding = hold_back(pairs.row, pairs.col, liked.shape, seed)
        prepare(seed)
        sizes = Sizes(users, items, settings.factors, settings.hidden, settings.drawn)
        network = Collaborative(sizes, settings.dropout, seed, Share.of_one(self.together))
        network.compile(optimizer=keras.optimizers.Adam(settings.learning_rate), jit_compile=False)

        def judge() -> float:
            assert holding.held is not None
            return figure(_scorer(common, network.arrays()), holding.held)

        rows = {"user": pairs.row.astype(np.int32), "item": pairs.col.astype(np.int32), "weight": weight}
        learnt = {name: array[holding.learnt] for name, array in rows.items()}
        plan = planned(settings, int(holding.learnt.sum()), users + items)
        self.curve = train(network, learnt, plan, seed, judge if holding.held else None, report, self.together)
        return _scorer(common, network.arrays())


def planned(settings: DeepCFSettings, purchases: int, vectors: int) -> Plan:
    """In what portions and how often is learned from purchases of so many customers and products together."""
    from steps.models.networks.epochs import Plan

    portion = settings.batch or min(max(BATCH, vectors // VECTORS_EACH), LARGEST_BATCH)
    batch = min(portion, max(LEAST_BATCH, purchases // STEPS))
    epochs = min(settings.epochs, max(1, settings.purchases // purchases))
    return Plan(epochs, batch, settings.patience, repr(settings))


def normalised(counts: sp.csr_matrix) -> sp.csr_matrix:
    """The rating matrix of the Kubeflow example: each product's counts from 0, its least buyer, to 1, its best.

    The least and the most of a product are taken over those who bought it. Where all bought it equally often there is
    no scale, and the value is NaN: the example leaves such pairs out, and here they count as the least does.

    >>> normalised(sp.csr_matrix([[1, 2.0], [3, 2], [2, 0]])).data
    array([ 0. ,  nan,  1. ,  nan,  0.5], dtype=float32)
    """
    by_product = sp.csc_matrix(counts, dtype=np.float32)
    bought = np.flatnonzero(np.diff(by_product.indptr))
    starts = by_product.indptr[bought]
    least, most = np.zeros(counts.shape[1], np.float32), np.zeros(counts.shape[1], np.float32)
    if len(bought):
        least[bought] = np.minimum.reduceat(by_product.data, starts)
        most[bought] = np.maximum.reduceat(by_product.data, starts)
    range_ = np.where(most > least, most - least, np.nan).astype(np.float32)
    scaled = (counts.data - least[counts.indices]) / range_[counts.indices]
    return sp.csr_matrix((scaled.astype(np.float32), counts.indices, counts.indptr), counts.shape)


def _scorer(common: Shared, learned: Mapping[str, Floats]) -> Dense:
    return Dense(
        common,
        learned["users"],
        learned["items"],
        learned["users"] @ learned["user_dense"] + learned["dense_bias"],
        learned["items"] @ learned["item_dense"],
        learned["bias"],
        learned["out"],
    )


def _nothing(common: Shared) -> Dense:
    """Zeros, which the check refuses."""
    users, items = (np.zeros((len(ids), 1), np.float32) for ids in (common.users, common.items))
    return Dense(common, users, items, users, items, items[:, 0], np.zeros(1, np.float32))
