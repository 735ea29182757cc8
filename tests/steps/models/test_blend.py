from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import evaluation
from steps.models.blend import SHARES, Blend, Lists, choose, standard
from steps.models.evaluation import HeldOut
from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.item_to_item import ItemToItem
from steps.models.recommender import NOBODY
from steps.models.scorer import Shared

USERS, ITEMS = 60, 40
Ids = Callable[[str, int], IdTable]


@pytest.fixture
def shared(ids: Ids) -> Shared:
    return Shared(ids("u", USERS), ids("i", ITEMS), np.ones(USERS, bool), np.ones(ITEMS, np.float32))


@pytest.fixture
def held() -> HeldOut:
    random = np.random.default_rng(1)
    before = sp.csr_matrix(random.random((USERS, ITEMS)) < 0.2).astype(np.float32)
    later = sp.csr_matrix(random.random((USERS, ITEMS)) < 0.2).astype(np.float32)
    return evaluation.held_out(before, later, USERS, 0)


def everybody() -> np.ndarray:
    return np.arange(USERS, dtype=np.int32)


def table(shared: Shared, scores: np.ndarray) -> Factors:
    """A model that has a score of its own for every pair."""
    return Factors(shared, scores.astype(np.float32), np.eye(ITEMS, dtype=np.float32))


def knowing(held: HeldOut, share: float, seed: int) -> np.ndarray:
    """Scores that know some of what is bought later, and are chance else."""
    random = np.random.default_rng(seed)
    scores = np.zeros((USERS, ITEMS))
    scores[held.users] = held.bought.toarray() * (random.random(held.bought.shape) < share)
    return scores * 3 + random.normal(size=scores.shape)


def test_members_count_alike_whatever_their_scale() -> None:
    scores = np.random.default_rng(0).normal(size=(5, 9)).astype(np.float32)
    assert standard(scores * 1000 + 7) == pytest.approx(standard(scores), abs=1e-3)
    assert (standard(np.full((2, 4), 3, np.float32)) == 0).all()


def test_the_score_is_the_weighted_sum_of_standard_scores(shared: Shared, held: HeldOut) -> None:
    first, second = knowing(held, 0.5, 1), knowing(held, 0.5, 2) * 50
    blend = Blend(shared, {"a": table(shared, first), "b": table(shared, second)}, {"a": 0.7, "b": 0.3})
    expected = 0.7 * standard(first.astype(np.float32)) + 0.3 * standard(second.astype(np.float32))
    assert blend.score_all(everybody()) == pytest.approx(expected, abs=1e-4)
    user, item = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    found = blend.score(user.astype(np.int32), item.astype(np.int32))
    assert found == pytest.approx(expected[user, item], abs=1e-4)


def test_two_models_that_know_different_things_are_better_together(shared: Shared, held: HeldOut) -> None:
    models = {name: table(shared, knowing(held, 0.4, seed)) for seed, name in enumerate(("a", "b"))}
    chosen = choose({name: Lists.of(one, held) for name, one in models.items()}, held, "ndcg", 10)
    assert set(chosen.weights) == {"a", "b"}
    assert sum(chosen.weights.values()) == pytest.approx(1)
    alone = {name: evaluation.measure(one, held, 10).mean("ndcg", 10) for name, one in models.items()}
    assert chosen.alone == pytest.approx(max(alone.values()))
    together = evaluation.measure(Blend(shared, models, chosen.weights), held, 10).mean("ndcg", 10)
    assert together == pytest.approx(chosen.value, abs=1e-6)
    assert together > chosen.alone


def test_what_nobody_improves_stays_alone(shared: Shared, held: HeldOut) -> None:
    knows, noise = knowing(held, 1.0, 0) * 100, np.random.default_rng(9).normal(size=(USERS, ITEMS))
    lists = {"knows": Lists.of(table(shared, knows), held), "noise": Lists.of(table(shared, noise), held)}
    chosen = choose(lists, held, "ndcg", 10)
    assert (dict(chosen.weights), chosen.value) == ({"knows": 1.0}, chosen.alone)


@pytest.mark.parametrize(("helped", "hurt", "blended"), [(6, 0, True), (6, 4, False)])
def test_a_mix_that_is_ahead_by_chance_is_not_taken(
    shared: Shared, held: HeldOut, helped: int, hurt: int, blended: bool
) -> None:
    """Both mixes are ahead in the mean: one because it is right of some more, one because it is so of more than not."""
    knows = np.zeros((USERS, ITEMS))
    knows[held.users] = held.bought.toarray()
    first, second = knows.copy(), np.zeros_like(knows)
    some, others = held.users[:helped], held.users[helped : helped + hurt]
    first[some] = 0
    second[some] = knows[some]
    # What stands out of the first model's scores was bought before: beside it the others hardly differ.
    first[others, [held.before[[row]].indices[0] for row in range(helped, helped + hurt)]] = 1000
    second[others] = 1 - knows[others]
    models = {"first": table(shared, first), "second": table(shared, second)}
    chosen = choose({name: Lists.of(one, held) for name, one in models.items()}, held, "ndcg", 10)
    assert (len(chosen.weights) > 1) == blended
    assert (chosen.value > chosen.alone) == blended
    reached = [
        evaluation.measure(Blend(shared, models, {"first": 1 - share, "second": share}), held, 10).mean("ndcg", 10)
        for share in SHARES
    ]
    assert max(reached) > chosen.alone


def test_lists_leave_out_what_was_bought_and_survive_the_store(shared: Shared, held: HeldOut, tmp_path: Path) -> None:
    lists = Lists.of(table(shared, knowing(held, 0.4, 1)), held)
    for row in range(len(held.users)):
        shown = lists.items[row][lists.items[row] != NOBODY]
        assert set(shown.tolist()).isdisjoint(held.before[[row]].indices)
        assert len(shown) == ITEMS - held.before[[row]].nnz
    lists.save(tmp_path / "validation")
    found = Lists.load(tmp_path / "validation")
    assert (found.items == lists.items).all()
    assert (found.scores == lists.scores).all()


def test_somebody_new_is_answered_by_the_members_that_can(shared: Shared, held: HeldOut) -> None:
    cannot = table(shared, knowing(held, 0.5, 1))
    weights = np.random.default_rng(3).normal(size=(ITEMS, ITEMS)).astype(np.float32)
    history = sp.csr_matrix(np.ones((USERS, ITEMS), np.float32))
    can = ItemToItem(shared, np.arange(ITEMS, dtype=np.int32), history, weights)
    basket = np.array([3, 8], np.int32)
    found = Blend(shared, {"a": cannot, "b": can}, {"a": 0.5, "b": 0.5}).recommend_for([basket], 5)
    assert found.known.tolist() == [True]
    assert found.items.tolist() == can.recommend_for([basket], 5).items.tolist()
    assert not Blend(shared, {"a": cannot}, {"a": 1.0}).recommend_for([basket], 5).known[0]
