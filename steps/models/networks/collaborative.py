"""The network behind `deep_cf`: embeddings of users and products, dense layers over both, and their product beside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.models.networks.losses import against_drawn
from steps.models.networks.training import Share, own_seed
from steps.models.quiet_keras import keras
from steps.models.recommender import Floats

ops = keras.ops

ALL = Share()
SPREAD = 0.05


@dataclass(frozen=True)
class Sizes:
    """How many there are of everything."""

    users: int
    items: int
    factors: int
    hidden: int
    drawn: int
    """How many products each purchase is compared with."""


class Collaborative(keras.Model):  # type: ignore[misc]
    """Pairs of a user and a product in, the loss of telling them from products drawn at random out."""

    def __init__(self, sizes: Sizes, dropout: float, seed: int, share: Share = ALL) -> None:
        super().__init__()
        self.sizes, self.share = sizes, share
        self.random = keras.random.SeedGenerator(seed)
        self.forget = keras.layers.Dropout(dropout, seed=seed)
        shapes = {
            "users": (sizes.users, sizes.factors),
            "items": (sizes.items, sizes.factors),
            "bias": (sizes.items,),
            "user_dense": (sizes.factors, sizes.hidden),
            "item_dense": (sizes.factors, sizes.hidden),
            "dense_bias": (sizes.hidden,),
            "out": (sizes.hidden,),
        }
        self.learned = {
            name: self.add_weight(shape=shape, initializer=_initial(name, seed), name=name)
            for name, shape in shapes.items()
        }

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> tuple[Any, Any, Any]:
        """The scores of the pairs, those of the users with the drawn products, and which products were drawn."""
        # Every worker looks up, and forgets, the same for the whole batch, and goes on with its own rows.
        users = self.share.of(self._embedded("users", inputs["user"], training))
        bought = self.share.of(self._embedded("items", inputs["item"], training))
        number = min(self.sizes.drawn, self.sizes.items)
        drawn = keras.random.randint((number,), 0, self.sizes.items, seed=self.random)
        others = self._embedded("items", drawn, training)
        right = ops.sum(users * bought, axis=1) + self.share.of(self._bias(inputs["item"]))
        right += self._dense(users, bought)
        wrong = ops.matmul(users, ops.transpose(others)) + self._bias(drawn)
        wrong += self._dense(users[:, None], others[None])
        return right, wrong, drawn

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        right, wrong, drawn = y_pred
        same = self.share.of(x["item"])[:, None] == drawn[None, :]
        losses = against_drawn(ops.cast(right, "float32"), ops.cast(wrong, "float32"), same, self.sizes.items)
        return ops.sum(losses * self.share.of(x["weight"])) / ops.sum(x["weight"])

    def _embedded(self, table: str, codes: Any, training: bool) -> Any:
        found = ops.cast(ops.take(self.learned[table], codes, axis=0), self.compute_dtype)
        return self.forget(found, training=training)

    def _bias(self, items: Any) -> Any:
        return ops.cast(ops.take(self.learned["bias"], items), self.compute_dtype)

    def _dense(self, users: Any, items: Any) -> Any:
        # Nothing is forgotten in here: drawing that for every pair would take longer than all the rest.
        weights = {name: ops.cast(one, self.compute_dtype) for name, one in self.learned.items()}
        hidden = ops.matmul(users, weights["user_dense"]) + ops.matmul(items, weights["item_dense"])
        hidden = ops.relu(hidden + weights["dense_bias"])
        return ops.matmul(hidden, weights["out"][:, None])[..., 0]

    def arrays(self) -> dict[str, Floats]:
        """What was learned."""
        return {name: np.array(one.value.numpy(), np.float32) for name, one in self.learned.items()}


def _initial(name: str, seed: int) -> Any:
    if name in ("bias", "dense_bias"):
        return "zeros"
    if name in ("user_dense", "item_dense"):
        return keras.initializers.GlorotUniform(seed=own_seed(name, seed))
    return keras.initializers.RandomNormal(stddev=SPREAD, seed=own_seed(name, seed))
