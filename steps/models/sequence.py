"""What comes next: a small transformer over each user's purchases in their order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.attention import PADDING, Shape, last_states, right_aligned
from steps.models.bounds import require
from steps.models.factors import Factors
from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report
from steps.models.scorer import Shared, cosines, load_array, save_arrays
from steps.models.scorer_model import ScorerModel, shared
from steps.runtime.errors import UsageError

if TYPE_CHECKING:
    from steps.models.networks.epochs import Epoch

JUDGES = 1000
"""At most so many users' last purchases are held back."""
LEAST_HISTORY = 3
"""Of a user with fewer purchases none is held back."""
HELD_SHARE = 0.25
LEAST_JUDGES = 20
"""Fewer say nothing, and then every epoch is trained and the last one taken."""
K = 10


@dataclass(frozen=True)
class SequenceSettings:
    """Hyper-parameters of the encoder and of its training."""

    factors: int = 64
    length: int = 32
    """How many purchases it looks back."""
    blocks: int = 2
    heads: int = 2
    dropout: float = 0.2
    learning_rate: float = 0.002
    batch: int = 128
    epochs: int = 60
    """At most; training ends when held-back purchases are no longer predicted better."""
    patience: int = 4

    def __post_init__(self) -> None:
        require("sequence", self, factors=(1, 1024), length=(1, 1000), blocks=(1, 12), heads=(1, 16), batch=(1, 65536))
        require("sequence", self, dropout=(0, 0.9), learning_rate=(1e-6, 1), epochs=(1, 1000), patience=(1, 1000))
        if self.factors % self.heads:
            raise UsageError(f"sequence.factors is {self.factors}: a multiple of sequence.heads, {self.heads}")


@dataclass(frozen=True)
class NextItem(Factors):
    """The state after a user's last purchase times the items' vectors; a new history is encoded when it is asked of."""

    kind: ClassVar[str] = "next_item"

    encoder: Mapping[str, Floats] | None = None
    shape: Shape | None = None

    def after(self, bought: Codes) -> Floats:
        """Here the order of the purchases counts."""
        return self._after([bought])

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        """For purchases without an order, which are taken in that of their codes."""
        return self._after(np.split(histories.indices, histories.indptr[1:-1]))

    def alike(self, item: int) -> Floats:
        """The bias, the last entry of a vector, says how much an item is bought and nothing of what it is like."""
        return cosines(self.item_factors[:, :-1], item)

    def _after(self, histories: list[Codes]) -> Floats:
        assert self.encoder is not None
        assert self.shape is not None
        states = with_one(last_states(self.encoder, self.shape, histories))
        return np.asarray(states @ self.item_factors.T, np.float32)

    def write(self, folder: Path) -> Mapping[str, Any]:
        assert self.encoder is not None
        assert self.shape is not None
        save_arrays(folder, {f"encoder.{name}": array for name, array in self.encoder.items()})
        return {**super().write(folder), "encoder": vars(self.shape)}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        plain, shape = Factors.read(folder, shared, about), Shape(**about["encoder"])
        encoder = {name: load_array(folder, f"encoder.{name}") for name in shape.weights()}
        return cls(shared, plain.user_factors, plain.item_factors, None, encoder, shape, mapped=plain.mapped)


class Sequence(ScorerModel):
    """Predicts each user's next purchase from those before it."""

    name = "sequence"
    settings_type = SequenceSettings

    curve: list[Epoch]

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        """Where a search looks: `("log", low, high)`, `("even", low, high)`, or the values to choose from."""
        return {
            "factors": (32, 64, 128),
            "length": (16, 32, 64),
            "blocks": (1, 2, 3),
            "dropout": ("even", 0.0, 0.5),
            "learning_rate": ("log", 0.0005, 0.005),
        }

    def learn(self, interactions: Interactions, seed: int, report: Report) -> NextItem:
        settings: SequenceSettings = self.settings
        histories = in_order(interactions, seed)
        longest = max((len(history) for history in histories), default=0)
        length = max(1, min(settings.length, longest))
        shape = Shape(len(interactions.items), length, settings.factors, settings.blocks, settings.heads)
        common = shared(interactions)
        self.curve = []
        if not longest:
            return _untrained(common, shape)
        encoder = self._train(common, shape, histories, seed, report)
        return _scorer(common, shape, encoder, histories)

    def _train(
        self, common: Shared, shape: Shape, histories: list[Codes], seed: int, report: Report
    ) -> dict[str, Floats]:
        from steps.models.networks.epochs import Plan
        from steps.models.networks.next_purchase import NextPurchase
        from steps.models.networks.training import prepare, train
        from steps.models.quiet_keras import keras

        settings: SequenceSettings = self.settings
        judges = _judges(histories, seed)
        learnt = list(histories)
        for user in judges:
            learnt[user] = histories[user][:-1]
        prepare(seed)
        network = NextPurchase(shape, settings.dropout, seed)
        network.compile(optimizer=keras.optimizers.Adam(settings.learning_rate), jit_compile=False)

        def figure() -> float:
            return _reached(common, shape, network.arrays(), learnt, histories, judges)

        plan = Plan(settings.epochs, settings.batch, settings.patience)
        enough = len(judges) >= LEAST_JUDGES
        self.curve = train(network, examples(learnt, shape.length), plan, seed, figure if enough else None, report)
        return network.arrays()


def in_order(interactions: Interactions, seed: int) -> list[Codes]:
    """What each user bought, first to last, dislikes left out; shuffled where there is no order to be known."""
    history = interactions.history
    liked = history.weight > 0
    user, item = history.user[liked], history.item[liked]
    if history.time is None:
        shuffled = np.random.default_rng(seed).permutation(len(user))
        order = shuffled[np.argsort(user[shuffled], kind="stable")]
        user, item = user[order], item[order]
    ends = np.searchsorted(user, np.arange(len(interactions.users)), side="right")
    return np.split(item, ends[:-1])


def examples(histories: list[Codes], length: int) -> dict[str, npt.NDArray[np.int32]]:
    """Rows of `bought`, and of what came `next` after each; a long history gives several rows, from its end."""
    parts = [
        history[max(end - length - 1, 0) : end]
        for history in histories
        for end in range(len(history), min(len(history), 1), -length)
    ]
    # A shop where everybody bought once has no next purchase: one row without anything to guess keeps it working.
    parts = parts or [np.zeros(0, np.int32)]
    return {
        "bought": right_aligned([part[:-1] for part in parts], length),
        "next": right_aligned([part[1:] for part in parts], length),
    }


def _judges(histories: list[Codes], seed: int) -> Codes:
    """The users whose last purchase is held back."""
    able = np.flatnonzero([len(history) >= LEAST_HISTORY for history in histories])
    count = min(JUDGES, int(len(able) * HELD_SHARE))
    return np.sort(np.random.default_rng(seed).choice(able, count, replace=False)).astype(np.int32)


def _reached(
    common: Shared,
    shape: Shape,
    encoder: dict[str, Floats],
    learnt: list[Codes],
    histories: list[Codes],
    judges: Codes,
) -> float:
    """nDCG@10 of the purchases held back, those of something new."""
    item_factors = _item_factors(encoder)
    states = with_one(last_states(encoder, shape, [learnt[user] for user in judges]))
    gains = []
    for state, user in zip(states, judges, strict=True):
        wanted = histories[user][-1]
        if wanted not in learnt[user]:
            scores = item_factors @ state
            above = (scores >= scores[wanted]).sum() - (scores[np.unique(learnt[user])] >= scores[wanted]).sum()
            gains.append(1 / np.log2(above + 1) if above <= K else 0.0)
    return float(np.mean(gains)) if gains else 0.0


def _scorer(common: Shared, shape: Shape, encoder: dict[str, Floats], histories: list[Codes]) -> NextItem:
    user_factors = np.zeros((len(histories), shape.width + 1), np.float32)
    able = np.flatnonzero([len(history) > 0 for history in histories])
    user_factors[able] = with_one(last_states(encoder, shape, [histories[user] for user in able]))
    return NextItem(common, user_factors, _item_factors(encoder), None, encoder, shape)


def _untrained(common: Shared, shape: Shape) -> NextItem:
    """Zeros, which the check refuses."""
    zeros = {name: np.zeros(size, np.float32) for name, size in shape.weights().items()}
    users = np.zeros((len(common.users), shape.width + 1), np.float32)
    return NextItem(common, users, _item_factors(zeros), None, zeros, shape)


def _item_factors(encoder: Mapping[str, Floats]) -> Floats:
    """The items' vectors with their bias as one more entry, so that the score is one product."""
    table = np.concatenate([encoder["items"], encoder["bias"][:, None]], axis=1)
    return np.ascontiguousarray(table[PADDING + 1 :])


def with_one(states: Floats) -> Floats:
    return np.concatenate([states, np.ones((len(states), 1), np.float32)], axis=1)
