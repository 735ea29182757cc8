"""The encoder says the same in numpy and in Keras, looks only back, and does not see padding."""

from __future__ import annotations

import numpy as np
import pytest

from steps.models.attention import Shape, encode, last_states, right_aligned

SHAPE = Shape(items=9, length=6, width=8, blocks=2, heads=2)


@pytest.fixture
def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    return {name: rng.normal(0, 0.5, size).astype(np.float32) for name, size in SHAPE.weights().items()}


def test_a_history_is_aligned_with_its_last_purchase_on_the_right() -> None:
    histories = [np.array([4, 0], np.int32), np.array([], np.int32), np.arange(8, dtype=np.int32)]
    assert right_aligned(histories, 3).tolist() == [[0, 5, 1], [0, 0, 0], [6, 7, 8]]


def test_a_purchase_changes_what_comes_after_it_and_nothing_before(weights: dict[str, np.ndarray]) -> None:
    one, other = np.array([[1, 2, 3, 4, 5, 6]]), np.array([[1, 2, 3, 9, 5, 6]])
    difference = np.abs(encode(np, weights, SHAPE, one) - encode(np, weights, SHAPE, other)).max(axis=2)[0]
    assert (difference[:3] < 1e-6).all()
    assert (difference[3:] > 1e-3).all()


def test_the_order_of_the_purchases_counts(weights: dict[str, np.ndarray]) -> None:
    forth, back = last_states(weights, SHAPE, [np.array([1, 2, 3], np.int32), np.array([2, 1, 3], np.int32)])
    assert np.abs(forth - back).max() > 1e-3


def test_the_state_is_the_same_alone_among_longer_histories_and_behind_what_is_forgotten(
    weights: dict[str, np.ndarray],
) -> None:
    short, long = np.array([3, 1], np.int32), np.array([8, 7, 6, 5, 4, 3, 2, 1], np.int32)
    alone = last_states(weights, SHAPE, [short])
    together = last_states(weights, SHAPE, [long, short, long[-6:]])
    assert together[1] == pytest.approx(alone[0], abs=1e-5)
    assert together[0] == pytest.approx(together[2], abs=1e-6)


def test_numpy_and_keras_calculate_the_same(weights: dict[str, np.ndarray]) -> None:
    from steps.models.quiet_keras import keras

    rows = np.array([[0, 0, 1, 2, 3, 4], [5, 6, 7, 8, 9, 1]], np.int32)
    found = keras.ops.convert_to_numpy(encode(keras.ops, weights, SHAPE, rows))
    assert found[0, 2:] == pytest.approx(encode(np, weights, SHAPE, rows)[0, 2:], abs=1e-4)
    assert found[1] == pytest.approx(encode(np, weights, SHAPE, rows)[1], abs=1e-4)
