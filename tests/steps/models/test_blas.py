from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from steps.models import blas


def test_products_take_one_thread_inside_and_as_many_as_before_outside() -> None:
    assert np.ones((2, 2)) @ np.ones(2) == pytest.approx(2)

    def threads() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        before = threads()
        with blas.one_thread():
            assert threads() == {1}
        assert threads() == before
