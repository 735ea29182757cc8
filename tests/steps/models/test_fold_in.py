"""Somebody's vector from what they bought."""

from __future__ import annotations

import numpy as np
import pytest

from steps.models.fold_in import FoldIn, Folding

ITEMS, FACTORS = 300, 12


@pytest.fixture
def vectors():
    return np.random.default_rng(3).normal(size=(ITEMS, FACTORS)).astype(np.float32)


def plainly(vectors, how, bought):
    """The same least squares, over every item."""
    exactly = vectors.astype(np.float64)
    weight, wanted = np.full(len(vectors), how.unobserved), np.zeros(len(vectors))
    weight[bought], wanted[bought] = how.confidence, 1.0
    penalty = how.strength(len(bought), len(vectors)) * np.eye(vectors.shape[1])
    return np.linalg.solve((exactly.T * weight) @ exactly + penalty, (exactly.T * weight) @ wanted)


@pytest.mark.parametrize("how", [
    FoldIn(5.0, 0.25, 2.0, exponent=0.5),
    FoldIn(1.0, 1.0, 0.01),
    FoldIn(1.0, 0.0, 0.1),
    FoldIn(0.5, 1.0, 3.0),
    FoldIn(40.0, 1e-3, 1e-6),
], ids=["more", "as-much", "only-what-was-bought", "less", "hardly-held"])  # fmt: skip
@pytest.mark.parametrize("count", [1, 5, FACTORS, 2 * FACTORS])
def test_a_vector_is_that_of_the_least_squares_over_all_items(vectors, how, count):
    bought = np.random.default_rng(count).choice(ITEMS, count, replace=False)
    found = Folding.of(vectors, how).vector(vectors[bought].astype(np.float64))
    assert found == pytest.approx(plainly(vectors, how, bought), rel=1e-5, abs=1e-7)


def test_items_that_span_less_than_their_factors_still_lead_to_a_vector(vectors):
    vectors[:, -1] = 0
    how = FoldIn(5.0, 1.0, 1e-12)
    bought = np.array([3, 8])
    found = Folding.of(vectors, how).vector(vectors[bought].astype(np.float64))
    assert vectors @ found == pytest.approx(vectors @ plainly(vectors, how, bought), rel=1e-4, abs=1e-6)


def test_where_nothing_determines_a_vector_there_is_an_error_and_no_number(vectors):
    vectors[:, -1] = 0
    with pytest.raises(np.linalg.LinAlgError):
        Folding.of(vectors, FoldIn(5.0, 1.0, 0.0)).vector(vectors[[3, 8]].astype(np.float64))
