"""How a network is trained: seeded, on a graphics card where there is one, until held-back purchases get no better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.models.networks.epochs import Arrays, Batches, Best, Epoch, Plan
from steps.models.quiet_keras import keras, tf
from steps.models.recommender import Report
from steps.models.team import Together


@dataclass(frozen=True)
class Share:
    """The rows of every batch that this worker answers for: all of them where it trains alone."""

    index: int = 0
    workers: int = 1

    @classmethod
    def of_one(cls, together: Together | None) -> Share:
        return cls(together.team.index, len(together.team.workers)) if together else cls()

    def of(self, rows: Any) -> Any:
        if self.workers == 1:
            return rows
        count = keras.ops.shape(rows)[0]
        return rows[count * self.index // self.workers : count * (self.index + 1) // self.workers]


def prepare(seed: int) -> None:
    """Makes everything that follows repeatable, and lets a graphics card calculate with half the digits."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    keras.config.set_dtype_policy(precision(len(tf.config.list_physical_devices("GPU"))))


def precision(cards: int) -> str:
    """With what digits is calculated: graphics cards are much faster with half of them, processors are not."""
    return "mixed_float16" if cards else "float32"


def own_seed(name: str, seed: int) -> int:
    """A seed of its own for each weight: with one seed alike shapes would begin alike."""
    return int(np.random.default_rng([seed, *name.encode()]).integers(1 << 31))


def train(
    network: Any,
    inputs: Arrays,
    plan: Plan,
    seed: int,
    judge: Callable[[], float] | None,
    report: Report,
    together: Together | None = None,
) -> list[Epoch]:
    """Fits a compiled network, leaves in it the weights of its best epoch, and returns the learning curve."""
    # Everything that is learned is there already; told so, Keras traces the network once and not twice.
    network.built = True
    network.optimizer.build(network.trainable_variables)
    batches, best = Batches(inputs, plan.batch, seed), Best(plan)
    if together:
        from steps.models.networks.together import train_together

        train_together(network, batches, best, judge, report, together)
    else:
        watch = _Watch(judge, best, report)
        network.fit(batches, epochs=plan.epochs, shuffle=False, verbose=0, callbacks=[watch])
    best.put_back(network)
    return best.curve


class _Watch(keras.callbacks.Callback):  # type: ignore[misc]
    """Reports each epoch, and ends the training when the best weights are old."""

    def __init__(self, judge: Callable[[], float] | None, best: Best, report: Report) -> None:
        super().__init__()
        self.judge, self.best, self.tell = judge, best, report

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        done = Epoch(float((logs or {})["loss"]), self.judge() if self.judge else None)
        if self.best.after(done, self.model.get_weights):
            self.model.stop_training = True
        self.tell(epoch + 1, self.best.plan.epochs)
