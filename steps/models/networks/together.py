"""Training by several workers: each answers for some rows of every batch, and the gradients of all are added up.

Keras' own `fit` refuses MultiWorkerMirroredStrategy, so the loop is written out here. Every worker has all the data and
draws the same random numbers, so what comes out is what one worker alone would have learned, but for rounding.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import numpy as np

from steps.models.networks.epochs import Arrays, Batches, Best, Epoch, Plan
from steps.models.quiet_tensorflow import native_stderr_kept, tf
from steps.models.recommender import Report
from steps.models.team import Keeping, Team, Together
from steps.runtime.errors import TryAgainError, UsageError

log = logging.getLogger(__name__)

LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)
"""What TensorFlow makes of a worker that is gone, depending on when it went."""
MEETING = "meeting"
DIGITS = 12
"""Of a digest in hexadecimal: so many are exact in a float64."""


def join(team: Team, keeping: Keeping) -> Together:
    """Waits until all workers are there, and makes sure that they have the same store."""
    log.info("worker %d of %d waits for the others", team.index + 1, len(team.workers))
    cards = tf.config.list_physical_devices("GPU")
    if cards:
        tf.config.set_visible_devices(cards[:1], "GPU")  # a worker a graphics card
    with lost_workers(), native_stderr_kept():
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    together = Together(team, keeping, strategy, adder(strategy))
    require_one_store(together)
    return together


def require_one_store(together: Together) -> None:
    """The chief leaves a number there, and tells it: whoever finds another one, or none, looks somewhere else."""
    number = int.from_bytes(os.urandom(DIGITS // 2)) if together.team.chief else 0
    if together.team.chief:
        together.keeping.save(MEETING, str(number).encode())
    told = str(int(together.total(number))).encode()
    if together.total(float(together.keeping.load(MEETING) == told)) < len(together.team.workers):
        raise UsageError("the workers do not all have the same STORE: what one keeps there, the others must find")


@contextmanager
def lost_workers() -> Iterator[None]:
    """Where a worker is gone, all end, and the same job started again goes on from what was kept."""
    try:
        yield
    except LOST as error:
        reason = type(error).__name__
        raise TryAgainError(f"another worker is gone: {reason}") from error


def adder(strategy: Any) -> Callable[[float], float]:
    """What adds up a number that every worker has."""

    @tf.function  # type: ignore[untyped-decorator]
    def add(value: Any) -> Any:
        return strategy.run(_added, args=([value],))

    def total(value: float) -> float:
        with lost_workers():
            return float(_own(strategy, add(tf.constant(value, tf.float64))[0]).numpy())

    return total


def train_together(
    network: Any,
    batches: Batches,
    best: Best,
    judge: Callable[[], float] | None,
    report: Report,
    together: Together,
) -> None:
    """Fits the network; begins where the workers were when they, or some of them, were ended."""
    team, keeping = together.team, together.keeping
    variables = [*network.variables, *network.optimizer.variables]
    name = f"{_digest(batches, best.plan)}.npz"
    whole = _restored(keeping.load(name), variables, best)
    place = _number(f"{name} {len(best.curve)}")
    if together.total(place) != place * len(team.workers):
        raise TryAgainError("the workers are not at the same place; begun again, they all go on from what was kept")
    if best.curve:
        log.info("goes on after epoch %d", len(best.curve))
    for _ in best.curve:
        batches.on_epoch_begin()
    step = _step(network, batches.inputs, together.strategy)
    while not whole:
        batches.on_epoch_begin()
        with lost_workers():
            losses = [float(step(*batches[number])) for number in range(len(batches))]
        # The chief judges for all: a figure that differs in its last digit would part the workers.
        figure = together.total(judge() if team.chief else 0.0) if judge else None
        whole = best.after(Epoch(float(np.average(losses, weights=batches.sizes)), figure), network.get_weights)
        report(len(best.curve), best.plan.epochs)
        if team.chief:
            keeping.save(name, _kept(variables, best, whole))


def _step(network: Any, inputs: Arrays, strategy: Any) -> Any:
    """One batch: this worker's gradients, then everybody's sum, then the same change of the weights everywhere."""
    weights = network.trainable_variables
    rows = {name: tf.TensorSpec([None, *array.shape[1:]], array.dtype) for name, array in inputs.items()}

    def part(batch: Mapping[str, Any]) -> Any:
        with tf.GradientTape() as tape:
            loss = network.compute_loss(x=batch, y_pred=network(batch, training=True))
            scaled = network.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [one.value for one in weights])
        # Every worker looked up the same rows of a table, in the same order: their values alone are sent around.
        tables = [one if isinstance(one, tf.IndexedSlices) else None for one in gradients]
        parts = [one if table is None else table.values for one, table in zip(gradients, tables, strict=True)]
        loss, *sums = _added([loss, *parts])
        return loss, [
            one if table is None else tf.IndexedSlices(one, table.indices, table.dense_shape)
            for one, table in zip(sums, tables, strict=True)
        ]

    @tf.function(input_signature=[rows])  # type: ignore[untyped-decorator]
    def step(batch: Mapping[str, Any]) -> Any:
        loss, gradients = strategy.run(part, args=(batch,))
        network.optimizer.apply([_own(strategy, one) for one in gradients], weights)
        return _own(strategy, loss)

    return step


def _added(values: Sequence[Any]) -> Any:
    # Made here, each value has this worker's device, without which TensorFlow does not know where the sum shall be.
    here = [tf.identity(one) for one in values]
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, here)


def _own(strategy: Any, value: Any) -> Any:
    """This worker's part of a value of which every worker has one."""
    return strategy.experimental_local_results(value)[0]


def _kept(variables: Sequence[Any], best: Best, whole: bool) -> bytes:
    """All that the next epoch depends on."""
    about = {"whole": whole, "curve": [asdict(one) for one in best.curve], "figure": best.figure, "age": best.age}
    arrays = {f"now{place}": one.value.numpy() for place, one in enumerate(variables)}
    arrays |= {f"best{place}": one for place, one in enumerate(best.weights or [])}
    file = io.BytesIO()
    np.savez(file, about=np.frombuffer(json.dumps(about).encode(), np.uint8), **arrays)
    return file.getvalue()


def _restored(kept: bytes | None, variables: Sequence[Any], best: Best) -> bool:
    """Brings everything to where it was when it was kept; whether nothing was left to do then."""
    if kept is None:
        return False
    with np.load(io.BytesIO(kept)) as arrays:
        about = json.loads(arrays["about"].tobytes())
        for place, one in enumerate(variables):
            one.assign(arrays[f"now{place}"])
        count = sum(name.startswith("best") for name in arrays.files)
        best.weights = [arrays[f"best{place}"] for place in range(count)] or None
    best.curve = [Epoch(**one) for one in about["curve"]]
    best.figure, best.age = about["figure"], about["age"]
    return bool(about["whole"])


def _digest(batches: Batches, plan: Plan) -> str:
    """The same for two trainings that are the same: of the same rows in the same order, with the same settings."""
    found = hashlib.sha256(repr(plan).encode())
    for name, array in sorted(batches.inputs.items()):
        found.update(name.encode())
        found.update(np.ascontiguousarray(array).data)
    found.update(batches.order.data)
    return found.hexdigest()[:16]


def _number(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest()[:DIGITS], 16) >> 8  # room for the sum of many
