from __future__ import annotations

import numpy as np
import pytest

from steps.artifacts import packing

DAY = 24 * 3600 * 1_000_000
RNG = np.random.default_rng(0)
USER, ITEM = RNG.integers(0, 40, 3000).astype(np.int32), RNG.integers(0, 9, 3000).astype(np.int32)
COLUMNS = {
    "days": [USER, RNG.integers(17_000, 17_700, 3000) * DAY, ITEM],
    "seconds": [USER, RNG.integers(10**9, 2 * 10**9, 3000) * 1_000_000, ITEM],
    "before 1970": [USER, RNG.integers(-100, 100, 3000) * DAY, ITEM],
    "weights": [USER, ITEM, RNG.choice([-1.5, 0.5, 2.0], 3000).astype(np.float32)],
    "one value everywhere": [np.zeros(3000, np.int32), ITEM, np.ones(3000, np.float32), np.full(3000, 2, np.int8)],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_come_in_the_order_of_the_first_column_then_of_the_next(name: str) -> None:
    columns = COLUMNS[name]
    order, expected = packing.order(columns), np.lexsort(columns[::-1])
    assert order is not None
    assert sorted(order.tolist()) == list(range(3000))
    for column in columns:
        assert np.array_equal(column[order], column[expected])


def test_what_does_not_fit_into_one_number_is_left_to_others() -> None:
    microseconds = np.array([0, 2**45 + 1, 5])
    many = np.array([0, 2**20, 7])
    assert packing.order([many, microseconds]) is None
    assert packing.order([microseconds]).tolist() == [0, 2, 1]  # type: ignore[union-attr]


def test_no_rows_have_an_order() -> None:
    assert packing.order([np.zeros(0, np.int32)]).tolist() == []  # type: ignore[union-attr]
