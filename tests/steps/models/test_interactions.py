from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models.ids import IdTable
from steps.models.interactions import Interactions

Ids = Callable[[str, int], IdTable]


def test_repeated_purchases_are_summed_and_a_sum_of_zero_is_none(ids: Ids) -> None:
    user, item = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    found = Interactions.of(ids("u", 2), ids("i", 2), user, item, np.array([1.0, 2.0, 1.0, -1.0]))
    assert found.matrix.toarray().tolist() == [[0, 3], [0, 0]]
    assert found.matrix.nnz == 1


def test_popularity_counts_what_was_liked_only(ids: Ids) -> None:
    found = Interactions.of(ids("u", 2), ids("i", 2), np.array([0, 1]), np.array([0, 0]), np.array([2.0, -1.0]))
    assert found.popularity.tolist() == [2, 0]


def test_lengths_must_agree(ids: Ids) -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        Interactions.of(ids("u", 1), ids("i", 1), np.array([0]), np.array([0]), np.array([1.0, 2.0]))


def test_the_shape_must_be_that_of_the_ids(ids: Ids) -> None:
    with pytest.raises(ValueError, match="3 users and 1 items"):
        Interactions(ids("u", 3), ids("i", 1), sp.csr_matrix((2, 1), dtype=np.float32))


def test_other_numbers_than_float32_are_refused(ids: Ids) -> None:
    with pytest.raises(ValueError, match="float32"):
        Interactions(ids("u", 1), ids("i", 1), sp.csr_matrix((1, 1), dtype=np.float64))


def test_a_weight_must_be_finite(ids: Ids) -> None:
    with pytest.raises(ValueError, match="not finite"):
        Interactions.of(ids("u", 1), ids("i", 1), np.array([0]), np.array([0]), np.array([np.nan]))


def test_without_more_knowledge_the_history_is_the_matrix_and_nothing_is_known_of_anybody(ids: Ids) -> None:
    user, item = np.array([1, 0, 0]), np.array([0, 2, 1])
    found = Interactions.of(ids("u", 2), ids("i", 3), user, item, np.array([1.0, 2.0, 3.0]))
    assert found.history.user.tolist() == [0, 0, 1]
    assert found.history.item.tolist() == [1, 2, 0]
    assert found.history.weight.tolist() == [3, 2, 1]
    assert found.history.time is None
    assert (found.user_features.shape, found.item_features.shape) == ((2, 0), (3, 0))
