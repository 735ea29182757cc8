"""What a training goes through: batches in a new order every epoch, and after each the question whether it goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steps.models.quiet_keras import keras

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Plan:
    """How long and in what portions."""

    epochs: int
    batch: int
    patience: int
    """Epochs without a better figure after which the best one is taken."""
    settings: str = ""
    """All that the model was told, as a text: what tells this training from others of the same run."""


@dataclass(frozen=True)
class Epoch:
    """A point of the learning curve."""

    loss: float
    figure: float | None
    """What held-back purchases say, more is better; None where too few could be held back."""


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

    @property
    def sizes(self) -> list[int]:
        """How many rows each batch has: the last one has what is left."""
        return [min(self.size, self.rows - number * self.size) for number in range(len(self))]

    def __getitem__(self, number: int) -> tuple[dict[str, npt.NDArray[Any]]]:
        chosen = self.order[number * self.size : (number + 1) * self.size]
        return ({name: array[chosen] for name, array in self.inputs.items()},)

    def on_epoch_begin(self) -> None:
        self.order = self.rng.permutation(self.rows)


class Best:
    """The learning curve, the weights of its best epoch, and whether they are so old that the training ends."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.curve: list[Epoch] = []
        self.figure = -np.inf
        self.age = 0
        self.weights: list[Any] | None = None

    def after(self, epoch: Epoch, weights: Callable[[], list[Any]]) -> bool:
        """Takes note of an epoch; whether it is the last one."""
        self.curve.append(epoch)
        if not np.isfinite(epoch.loss):
            return True  # the family's check refuses what was learned
        if epoch.figure is not None:
            if epoch.figure > self.figure:
                self.figure, self.age, self.weights = epoch.figure, 0, weights()
            else:
                self.age += 1
        return self.age >= self.plan.patience or len(self.curve) >= self.plan.epochs

    def put_back(self, network: Any) -> None:
        """Leaves in the network the weights of the best epoch."""
        if self.weights is not None and self.age:
            network.set_weights(self.weights)
