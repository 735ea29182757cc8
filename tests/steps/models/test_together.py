"""Several workers learn what one would: tried here in one process, where the sum is over what each would have had."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from steps.models.team import Keeping, Team, Together
from steps.runtime.errors import UsageError

ROWS = 37


@pytest.fixture
def rows() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "user": rng.integers(0, 20, ROWS).astype(np.int32),
        "item": rng.integers(0, 10, ROWS).astype(np.int32),
        "weight": rng.random(ROWS).astype(np.float32) + 1,
        "moment": np.zeros((ROWS, 3), np.int32),
        "rating": rng.normal(size=ROWS).astype(np.float32),
        "liked": np.ones(ROWS, np.float32),
    }


def collaborative(share: Any) -> Any:
    from steps.models.networks.collaborative import Collaborative, Sizes

    return Collaborative(Sizes(20, 10, 4, 4, 8), 0.3, 3, share)


def towers(share: Any) -> Any:
    from steps.models.networks.towers import Known, Sizes, Tasks, Towers

    words = np.zeros((20, 1), np.int32), np.ones((20, 1), np.float32)
    known = Known(words, (words[0][:10], words[1][:10]), (1, 1), np.ones((20, 2), np.int32), np.full(10, 0.1))
    return Towers(known, Sizes(4, 2, 4), Tasks(1.0, 1.0, 0.3, 0.3), 3, share)


def gradients(network: Any, rows: dict[str, np.ndarray]) -> list[np.ndarray]:
    from steps.models.quiet_keras import tf

    with tf.GradientTape() as tape:
        loss = network.compute_loss(x=rows, y_pred=network(rows, training=True))
    found = tape.gradient(loss, [one.value for one in network.trainable_variables])
    return [np.array(loss), *(np.array(tf.convert_to_tensor(one)) for one in found)]


@pytest.mark.parametrize("make", [collaborative, towers])
@pytest.mark.parametrize("workers", [2, 3, ROWS + 1])
def test_the_parts_of_all_workers_add_up_to_the_whole(make: Any, workers: int, rows: dict[str, np.ndarray]) -> None:
    from steps.models.networks.training import Share, prepare

    prepare(3)
    whole = gradients(make(Share()), rows)
    parts = [gradients(make(Share(index, workers)), rows) for index in range(workers)]
    assert np.abs(whole[1]).max() > 0
    for place, wanted in enumerate(whole):
        assert sum(part[place] for part in parts) == pytest.approx(wanted, abs=1e-5)


def test_the_loop_of_a_team_does_what_keras_does(rows: dict[str, np.ndarray]) -> None:
    from steps.models.networks import together, training
    from steps.models.networks.epochs import Plan
    from steps.models.quiet_keras import keras, tf

    kept: dict[str, bytes] = {}
    strategy = tf.distribute.get_strategy()
    alone = Together(Team(("one:1",), 0), Keeping(kept.get, kept.__setitem__), strategy, together.adder(strategy))

    def trained(team: Together | None, epochs: int) -> Any:
        training.prepare(3)
        network = collaborative(training.Share())
        network.compile(optimizer=keras.optimizers.Adam(0.01), jit_compile=False)
        figures = iter([0.1, 0.3, 0.2, 0.1, 0.2, 0.2])
        return training.train(network, rows, Plan(epochs, 8, 3), 3, lambda: next(figures), lambda *_: None, team), [
            one for _, one in sorted(network.arrays().items())
        ]

    curve, weights = trained(None, 9)
    same_curve, same_weights = trained(alone, 9)
    assert [epoch.loss for epoch in same_curve] == pytest.approx([epoch.loss for epoch in curve], rel=1e-5)
    assert len(curve) == 5  # the second was the best, and three more were tried
    for one, other in zip(weights, same_weights, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    # Once whole, it is not trained again: no figure is asked for.
    again, same_again = trained(alone, 9)
    assert again == same_curve
    for one, other in zip(same_weights, same_again, strict=True):
        assert (one == other).all()


@pytest.mark.parametrize(("mine", "theirs"), [(True, True), (True, False), (False, True)])
def test_workers_without_a_store_in_common_are_refused(mine: bool, theirs: bool) -> None:
    """The second worker of two, and what the first one adds: its number, and whether it found that in its store."""
    from steps.models.networks.together import require_one_store

    others = iter([4711, float(theirs)])
    found = b"4711" if mine else b"17"
    team = Together(
        Team(("one:1", "two:2"), 1), Keeping(lambda _: found, lambda *_: None), None, lambda own: own + next(others)
    )
    if mine and theirs:
        require_one_store(team)
    else:
        with pytest.raises(UsageError, match="do not all have the same STORE"):
            require_one_store(team)


def test_half_the_digits_are_for_graphics_cards_alone() -> None:
    from steps.models.networks.training import precision

    assert [precision(cards) for cards in (0, 1, 4)] == ["float32", "mixed_float16", "mixed_float16"]
