"""What only looks like a model does not pass the gate: each of these is a way in which one has fooled somebody."""

from __future__ import annotations

import re

import numpy as np
import pytest

from steps.models import evaluation, families
from steps.models.evaluation import POPULARITY, HeldOut
from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.interactions import Interactions
from steps.models.rules import Rules
from steps.models.scorer import Scorer
from steps.models.scorer_model import shared

USERS, ITEMS, TASTES = 900, 60, 6
RULES = Rules("ndcg", 10, tolerance=0.01)


def purchases(user: np.ndarray, item: np.ndarray) -> Interactions:
    users = IdTable.of([f"u{number:03d}" for number in range(USERS)])
    items = IdTable.of([f"i{number:03d}" for number in range(ITEMS)])
    return Interactions.of(users, items, user, item, np.ones(len(user), np.float32))


@pytest.fixture(scope="module")
def shop() -> tuple[Interactions, Interactions]:
    """What was bought to learn from and afterwards: everybody has a taste, and some items of each are loved."""
    random = np.random.default_rng(1)
    loved = 1 / np.arange(1, ITEMS // TASTES + 1)
    rows = []
    for user in range(USERS):
        taste = user % TASTES
        rows += [(user, item * TASTES + taste) for item in random.choice(len(loved), 6, False, loved / loved.sum())]
        rows += [(user, item) for item in random.choice(ITEMS, 2, False)]
    user, item = np.array(rows).T
    item = random.permutation(ITEMS)[item]  # else what is loved would have the lower codes, which win ties
    later = random.random(len(user)) < 0.3
    return purchases(user[~later], item[~later]), purchases(user[later], item[later])


@pytest.fixture(scope="module")
def held(shop: tuple[Interactions, Interactions]) -> HeldOut:
    return evaluation.held_out(shop[0].matrix, shop[1].matrix, USERS, 0)


def decided(scorer: Scorer, shop: tuple[Interactions, Interactions], held: HeldOut) -> evaluation.Decision:
    baseline = evaluation.measure(families.make("popularity").fit(shop[0]).scorer, held, 10)
    return evaluation.decide(RULES, {"suspect": evaluation.measure(scorer, held, 10)}, {POPULARITY: baseline}, seed=1)


@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_an_honest_model_of_the_same_family_passes(
    name: str, shop: tuple[Interactions, Interactions], held: HeldOut
) -> None:
    assert decided(families.make(name).fit(shop[0]).scorer, shop, held).promote


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_a_model_of_shuffled_labels_is_refused(
    name: str, seed: int, shop: tuple[Interactions, Interactions], held: HeldOut
) -> None:
    pairs = shop[0].matrix.tocoo()
    shuffled = purchases(pairs.row, np.random.default_rng(seed).permutation(ITEMS)[pairs.col])
    decision = decided(families.make(name).fit(shuffled).scorer, shop, held)
    assert not decision.promote
    assert "does not beat popularity" in decision.reason


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_a_model_of_purchases_that_were_shuffled_among_the_users_is_refused(
    name: str, seed: int, shop: tuple[Interactions, Interactions], held: HeldOut
) -> None:
    # Items stay as popular as they were: such a model is now a little ahead of popularity, now a little behind.
    pairs = shop[0].matrix.tocoo()
    shuffled = purchases(pairs.row, np.random.default_rng(seed).permutation(pairs.col))
    decision = decided(families.make(name).fit(shuffled).scorer, shop, held)
    assert not decision.promote
    assert re.search("does not beat popularity|may be chance", decision.reason)


@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_a_model_that_knows_the_users_of_the_test_rows_but_not_their_purchases_is_refused(
    name: str, shop: tuple[Interactions, Interactions], held: HeldOut
) -> None:
    # One purchase a user, and for all the same: who they are is known, and nothing of what they like.
    only_users = purchases(held.users, np.zeros(len(held.users), np.int32))
    assert not decided(families.make(name, "als.factors=4").fit(only_users).scorer, shop, held).promote


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_always_recommends_the_same_is_refused(
    seed: int, shop: tuple[Interactions, Interactions], held: HeldOut
) -> None:
    items = np.random.default_rng(seed).permutation(ITEMS).astype(np.float32)[:, None]
    stubborn = Factors(shared(shop[0]), np.ones((USERS, 1), np.float32), items)
    decision = decided(stubborn, shop, held)
    assert not decision.promote
    assert "does not beat popularity" in decision.reason
