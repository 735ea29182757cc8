"""How a network is trained: seeded, on a graphics card where there is one, until held-back purchases get no better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steps.models.quiet_keras import keras, tf
from steps.models.recommender import Report

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """How long and in what portions."""

    epochs: int
    batch: int
    patience: int
    """Epochs without a better figure after which the best one is taken."""


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve."""

    loss: float
    figure: float | None
    """What held-back purchases say, more is better; None where too few could be held back."""


def prepare(seed: int) -> None:
    """Makes everything that follows repeatable, and lets a graphics card calculate with half the digits."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy("mixed_float16" if tf.config.list_physical_devices("GPU") else "float32")


def own_seed(name: str, seed: int) -> int:
    """A seed of its own for each weight: with one seed alike shapes would begin alike."""
    return int(np.random.default_rng([seed, *name.encode()]).integers(1 << 31))


def train(
    network: Any, inputs: Arrays, plan: Plan, seed: int, judge: Callable[[], float] | None, report: Report
) -> list[Epoch]:
    """Fits a compiled network, leaves in it the weights of its best epoch, and returns the learning curve."""
    # Everything that is learned is there already; told so, Keras traces the network once and not twice.
    network.built = True
    network.optimizer.build(network.trainable_variables)
    watch = _Watch(judge, plan, report)
    network.fit(Batches(inputs, plan.batch, seed), epochs=plan.epochs, shuffle=False, verbose=0, callbacks=[watch])
    return watch.curve


class Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Rows of some arrays in an order that is new in each epoch and follows from the seed."""

    def __init__(self, inputs: Arrays, size: int, seed: int) -> None:
        super().__init__()
        self.inputs = inputs
        self.rows = len(next(iter(inputs.values())))
        self.size = min(size, self.rows)
        self.rng = np.random.default_rng(seed)
        self.order = self.rng.permutation(self.rows)

    def __len__(self) -> int:
        return -(-self.rows // self.size)

    def __getitem__(self, number: int) -> tuple[dict[str, npt.NDArray[Any]]]:
        chosen = self.order[number * self.size : (number + 1) * self.size]
        return ({name: array[chosen] for name, array in self.inputs.items()},)

    def on_epoch_end(self) -> None:
        self.order = self.rng.permutation(self.rows)


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports each epoch, keeps the best weights, and ends the training when they are old."""

    def __init__(self, judge: Callable[[], float] | None, plan: Plan, report: Report) -> None:
        super().__init__()
        self.judge, self.plan, self.tell = judge, plan, report
        self.curve: list[Epoch] = []
        self.best = -np.inf
        self.age = 0
        self.weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        figure = self.judge() if self.judge else None
        loss = float((logs or {})["loss"])
        self.curve.append(Epoch(loss, figure))
        self.tell(epoch + 1, self.plan.epochs)
        if not np.isfinite(loss):
            self.model.stop_training = True  # the family's check refuses what was learned
        elif figure is not None:
            self._compare(figure)

    def _compare(self, figure: float) -> None:
        if figure > self.best:
            self.best, self.age, self.weights = figure, 0, self.model.get_weights()
            return
        self.age += 1
        if self.age >= self.plan.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        if self.weights is not None and self.age:
            self.model.set_weights(self.weights)
