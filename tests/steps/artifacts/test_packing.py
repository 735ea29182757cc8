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
    "microseconds": [RNG.integers(10**12, 2 * 10**12, 3000), ITEM],
    "one of days, one of seconds": [USER, np.where(ITEM, 5 * DAY, 4 * DAY + 1_000_000)],
    "before 1970": [USER, RNG.integers(-100, 100, 3000) * DAY, ITEM],
    "weights": [USER, ITEM, RNG.choice([-1.5, 0.5, 2.0], 3000).astype(np.float32)],
    "a weight of zero": [USER, RNG.choice([0.0, 0.5, 2.0], 3000).astype(np.float32)],
    "one value everywhere": [np.zeros(3000, np.int32), ITEM, np.ones(3000, np.float32), np.full(3000, 2, np.int8)],
    "the last and the first number": [RNG.choice([-128, 0, 127], 3000).astype(np.int8), ITEM],
}


@pytest.mark.parametrize("name", COLUMNS)
def test_rows_come_in_the_order_of_the_first_column_then_of_the_next(name: str) -> None:
    columns = COLUMNS[name]
    before = [column.copy() for column in columns]
    found, order = packing.ordered(columns), np.lexsort(columns[::-1])
    assert found is not None
    for column, given, kept in zip(found, columns, before, strict=True):
        assert column.dtype == given.dtype
        assert column.tobytes() == given[order].tobytes()
        assert np.array_equal(given, kept)


def test_what_does_not_fit_into_one_number_is_left_to_others() -> None:
    microseconds = np.array([0, 2**45 + 1, 5])
    many = np.array([0, 2**20, 7])
    assert packing.ordered([many, microseconds]) is None
    assert [column.tolist() for column in packing.ordered([microseconds]) or []] == [[0, 5, 2**45 + 1]]


@pytest.mark.parametrize("odd", [-0.0, np.nan])
def test_numbers_that_only_their_bytes_tell_apart_are_left_to_others(odd: float) -> None:
    assert packing.ordered([np.array([1.0, odd, 0.0], np.float32)]) is None


def test_no_rows_have_an_order() -> None:
    assert [column.tolist() for column in packing.ordered([np.zeros(0, np.int32)]) or []] == [[]]
