from __future__ import annotations

import numpy as np
import pytest

from steps.models.recommender import NOBODY, best
from steps.models.signature import LOWEST


def test_the_best_come_first_and_ties_keep_their_order() -> None:
    items, values = best(np.array([[1, 3, 3, 2, 3]], np.float32), 4)
    assert items.tolist() == [[1, 2, 4, 3]]
    assert values.tolist() == [[3, 3, 3, 2]]


def test_a_tie_at_the_border_goes_to_the_lower_code() -> None:
    items, _ = best(np.array([[1, 1, 1, 1]], np.float32), 2)
    assert items.tolist() == [[0, 1]]


def test_what_may_not_be_shown_is_not_even_the_last_choice() -> None:
    items, values = best(np.array([[LOWEST, 5, LOWEST]], np.float32), 3)
    assert items.tolist() == [[1, NOBODY, NOBODY]]
    assert values[0, 0] == 5
    assert (values[0, 1:] == np.float32(LOWEST)).all()


def test_more_than_there_is_fills_up_with_nobody() -> None:
    items, _ = best(np.array([[1, 2]], np.float32), 3)
    assert items.tolist() == [[1, 0, NOBODY]]


def test_an_empty_catalogue_has_nothing_best() -> None:
    items, _ = best(np.empty((2, 0), np.float32), 3)
    assert (items == NOBODY).all()


def test_against_a_full_sort_on_random_scores() -> None:
    scores = np.random.default_rng(0).integers(0, 50, (200, 300)).astype(np.float32)
    items, _ = best(scores, 25)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :25]
    assert (items == expected).all()


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("columns", [30, 200, 5000])
@pytest.mark.parametrize("k", [1, 10, 150])
@pytest.mark.parametrize("kind", ["all different", "many ties", "nearly all the same", "half hidden", "two left"])
def test_whatever_the_scores_are_it_is_a_full_sort(kind: str, k: int, columns: int, rows: int) -> None:
    random = np.random.default_rng(1)
    scores = random.normal(size=(rows, columns)).astype(np.float32)
    if kind == "many ties":
        scores = np.round(scores)
    if kind == "nearly all the same":
        scores *= random.random(scores.shape) < 0.002
    if kind == "half hidden":
        scores[random.random(scores.shape) < 0.5] = LOWEST
    if kind == "two left":
        scores[:, 2:] = LOWEST
    items, values = best(scores, k)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    expected = np.take_along_axis(scores, order, axis=1)
    width = min(k, columns)
    assert values[:, :width].tolist() == expected.tolist()
    assert items[:, :width].tolist() == np.where(expected > LOWEST, order, NOBODY).tolist()
    assert (items[:, width:] == NOBODY).all()
