"""What training keeps apart: from some users, some of what they bought, and nothing where that would be too little."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from steps.models.factors import Factors
from steps.models.holding import figure, hold_back
from steps.models.ids import IdTable
from steps.models.interactions import Interactions
from steps.models.scorer_model import shared


def purchases(users: int, each: int) -> tuple[np.ndarray, np.ndarray]:
    return np.repeat(np.arange(users, dtype=np.int32), each), np.tile(np.arange(each, dtype=np.int32), users)


def test_a_quarter_of_the_purchases_of_a_quarter_of_the_users_is_held_back() -> None:
    user, item = purchases(400, 20)
    found = hold_back(user, item, (400, 20), seed=1)
    assert found.held is not None
    assert len(found.held.users) == pytest.approx(100, abs=2)
    assert (~found.learnt).mean() == pytest.approx(1 / 16, rel=0.15)
    assert set(user[~found.learnt]) == set(found.held.users.tolist())
    # What is held back of somebody is not among what was learned of him.
    assert found.held.bought.multiply(found.held.before).nnz == 0
    assert found.held.bought.sum() == (~found.learnt).sum()


def test_the_same_seed_holds_back_the_same_and_another_one_something_else() -> None:
    user, item = purchases(200, 10)
    one, again, other = (hold_back(user, item, (200, 10), seed).learnt for seed in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_nothing_is_held_back_of_few_users_or_of_users_with_few_purchases() -> None:
    for users, each in ((40, 20), (400, 3)):
        found = hold_back(*purchases(users, each), (users, each), seed=1)
        assert found.held is None
        assert found.learnt.all()


def test_the_figure_is_one_for_a_model_that_knows_and_low_for_one_that_guesses(
    ids: Callable[[str, int], IdTable],
) -> None:
    user, item = purchases(400, 20)
    item = (item + user) % 100
    found = hold_back(user, item.astype(np.int32), (400, 100), seed=1)
    held = found.held
    assert held is not None
    truth = np.zeros((400, 100), np.float32)
    truth[held.users] = held.bought.toarray()
    common = shared(Interactions.of(ids("u", 400), ids("i", 100), user, item, np.ones(len(user))))
    assert figure(Factors(common, truth, np.eye(100, dtype=np.float32)), held) == pytest.approx(1)
    assert figure(Factors(common, -truth, np.eye(100, dtype=np.float32)), held) < 0.05
