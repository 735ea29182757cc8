"""The network behind `sequence`: the encoder's weights, learned by guessing every next purchase of every history."""

from __future__ import annotations

from typing import Any

import numpy as np

from steps.models.attention import PADDING, Shape, encode
from steps.models.networks.losses import against_drawn
from steps.models.networks.training import own_seed
from steps.models.quiet_keras import keras
from steps.models.recommender import Floats

ops = keras.ops

WHOLE_CATALOGUE = 8192
"""Up to so many items each guess is judged against all of them, above against as many drawn at random."""
SPREAD = 0.02


class NextPurchase(keras.Model):  # type: ignore[misc]
    """Rows of purchases in, the loss of guessing what came after each out."""

    def __init__(self, shape: Shape, dropout: float, seed: int) -> None:
        super().__init__()
        self.shape = shape
        self.random = keras.random.SeedGenerator(seed)
        self.dropout = keras.layers.Dropout(dropout, seed=seed)
        self.learned = {
            name: self.add_weight(shape=size, initializer=_initial(name, seed), name=name.replace(".", "_"))
            for name, size in shape.weights().items()
        }

    def call(self, inputs: dict[str, Any], training: bool = False) -> Any:
        def drop(values: Any) -> Any:
            return self.dropout(values, training=training)

        weights = {name: ops.cast(one, self.compute_dtype) for name, one in self.learned.items()}
        return encode(ops, weights, self.shape, inputs["bought"], drop)

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        wanted = ops.reshape(x["next"], (-1,))
        states = ops.reshape(ops.cast(y_pred, "float32"), (-1, self.shape.width))
        there = ops.cast(wanted != PADDING, "float32")
        losses = self._whole(states, wanted) if self.shape.items <= WHOLE_CATALOGUE else self._drawn(states, wanted)
        return ops.sum(losses * there) / ops.maximum(ops.sum(there), 1)

    def _whole(self, states: Any, wanted: Any) -> Any:
        table, bias = self.learned["items"][1:], self.learned["bias"][1:]
        logits = ops.matmul(states, ops.transpose(table)) + bias
        return keras.losses.sparse_categorical_crossentropy(ops.maximum(wanted - 1, 0), logits, from_logits=True)

    def _drawn(self, states: Any, wanted: Any) -> Any:
        """The wanted item against a sample of the others, whose weight in the sum is that of the whole catalogue."""
        others = keras.random.randint((WHOLE_CATALOGUE,), 1, self.shape.items + 1, seed=self.random)
        right = ops.sum(states * ops.take(self.learned["items"], wanted, axis=0), axis=-1)
        right += ops.take(self.learned["bias"], wanted)
        wrong = ops.matmul(states, ops.transpose(ops.take(self.learned["items"], others, axis=0)))
        wrong += ops.take(self.learned["bias"], others)
        return against_drawn(right, wrong, others[None] == wanted[:, None], self.shape.items)

    def arrays(self) -> dict[str, Floats]:
        """What was learned, for `attention.encode` with numpy."""
        return {name: np.array(one.value.numpy(), np.float32) for name, one in self.learned.items()}


def _initial(name: str, seed: int) -> Any:
    kind = name.rpartition(".")[2]
    if kind == "scale":
        return "ones"
    if kind in ("shift", "bias"):
        return "zeros"
    if kind in ("items", "places"):
        return keras.initializers.RandomNormal(stddev=SPREAD, seed=own_seed(name, seed))
    return keras.initializers.GlorotUniform(seed=own_seed(name, seed))
