"""Both tasks and each alone, both stages in numpy and in TensorFlow, and what is recommended of what nobody bought."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import families, scorers
from steps.models.features import Column, bags
from steps.models.ids import IdTable
from steps.models.interactions import Details, History, Interactions
from steps.models.two_tower import TwoTower, TwoTowerSettings, _last
from steps.runtime.errors import UsageError

Ids = Callable[[str, int], IdTable]
USERS, ITEMS, GROUPS = 120, 40, 4
NEW = ITEMS - GROUPS
"""From here on, one item of each group that nobody bought."""
QUICK = TwoTowerSettings(factors=16, hidden=16, epochs=15, patience=15, learning_rate=0.02, batch=128, strangers=0.2)


def ratings() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users buy from the group of their number, and give its items 5 where the item's number is even, else 1."""
    rng = np.random.default_rng(4)
    user = np.repeat(np.arange(USERS), 12)
    item = rng.integers(0, NEW // GROUPS, len(user)) * GROUPS + user % GROUPS
    return user, item, np.where(item // GROUPS % 2 == 0, 5.0, 1.0).astype(np.float32)


@pytest.fixture(scope="module")
def rated() -> Interactions:
    user, item, weight = ratings()
    history = History(user.astype(np.int32), item.astype(np.int32), weight, np.arange(len(user)) * 3_600_000_000)
    groups = Column([f"group {number}" for number in range(GROUPS)], np.arange(ITEMS, dtype=np.int32) % GROUPS)
    details = Details(
        lambda: history,
        lambda: sp.csr_matrix(np.zeros((USERS, 0), np.float32)),
        lambda: bags({"category": groups}, ITEMS),
    )
    users = IdTable.of([f"u{number:03d}" for number in range(USERS)])
    items = IdTable.of([f"i{number:03d}" for number in range(ITEMS)])
    return Interactions.of(users, items, user, item, weight, details)


@pytest.fixture(scope="module")
def joint(rated: Interactions) -> TwoTower:
    return TwoTower(QUICK).fit(rated, seed=2)


def codes(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def share_of_own_group(model: TwoTower, k: int) -> float:
    found = model.scorer.recommend(codes(USERS), k).items
    return float((found % GROUPS == codes(USERS)[:, None] % GROUPS).mean())


def test_trained_jointly_it_retrieves_what_the_users_buy_and_knows_what_they_will_say_of_it(
    joint: TwoTower, rated: Interactions
) -> None:
    user, item, weight = ratings()
    assert share_of_own_group(joint, 5) > 0.9
    error = np.sqrt(((joint.rate(user.astype(np.int32), item.astype(np.int32)) - weight) ** 2).mean())
    assert error < 1.0  # the ratings deviate by 2 from their mean
    assert joint.curve[-1].loss < joint.curve[0].loss


def test_new_items_are_recommended_to_those_whom_their_features_suit(joint: TwoTower, rated: Interactions) -> None:
    new = joint.scorer.score_all(codes(USERS))[:, NEW:]
    assert (new.argmax(axis=1) == codes(USERS) % GROUPS).mean() > 0.9
    shown = joint.scorer.recommend(codes(USERS), 10).items
    own = NEW + codes(USERS) % GROUPS
    assert (shown == own[:, None]).any(axis=1).mean() > 0.5


def test_somebody_new_gets_what_goes_with_three_purchases(joint: TwoTower) -> None:
    for group in range(GROUPS):
        bought = np.array([group, GROUPS + group, 2 * GROUPS + group], np.int32)
        found = joint.scorer.recommend_for([bought], 5)
        assert found.known.tolist() == [True]
        assert set(found.items[0]).isdisjoint(bought)
        assert (found.items[0] % GROUPS == group).mean() >= 0.8


def test_the_ranking_alone_learns_ratings(rated: Interactions) -> None:
    model = TwoTower(replace(QUICK, retrieval=0.0, epochs=8)).fit(rated, seed=2)
    user, item, weight = ratings()
    assert np.sqrt(((model.rate(user.astype(np.int32), item.astype(np.int32)) - weight) ** 2).mean()) < 1.0
    assert (model.scorer.stages.product, model.scorer.stages.ranking) == (0.0, 1.0)
    first = model.scorer.recommend(np.array([0], np.int32), 3).items[0]
    assert (first // GROUPS % 2 == 0).all()


def test_the_retrieval_alone_finds_the_groups(rated: Interactions) -> None:
    model = TwoTower(replace(QUICK, ranking=0.0, epochs=8)).fit(rated, seed=2)
    assert share_of_own_group(model, 5) > 0.9
    assert not model.scorer.stages.ranks


def ranking_half(model: TwoTower) -> TwoTower:
    """The same vectors, where the second stage counts and sees few."""
    stages = replace(model.scorer.stages, ranking=0.5, retrieved=12)
    changed = TwoTower(model.settings)
    changed.scorer = replace(model.scorer, stages=stages)
    return changed


def test_the_second_stage_reorders_what_the_first_one_found_and_nothing_else(joint: TwoTower) -> None:
    both = ranking_half(joint).scorer
    first = replace(both, stages=replace(both.stages, ranking=0.0)).recommend(codes(USERS), 12)
    found = both.recommend(codes(USERS), 5)
    for user in range(USERS):
        assert set(found.items[user]) <= set(first.items[user])
        of_user = np.full(12, user, np.int32)
        expected = np.sort(both.score(of_user, first.items[user]))[::-1][:5]
        assert found.scores[user] == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("kind", ["two stages", "ranking alone"])
def test_both_stages_answer_alike_from_the_exported_model(
    joint: TwoTower, rated: Interactions, tmp_path: Path, kind: str
) -> None:
    from steps.models.quiet_tensorflow import tf

    model = ranking_half(joint)
    if kind == "ranking alone":
        stages = replace(model.scorer.stages, product=0.0, ranking=1.0)
        model.scorer = replace(model.scorer, stages=stages)
    model.export(tmp_path, rated.matrix)
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    for k in (5, 30):
        expected = model.recommend(codes(USERS), k, rated.matrix)
        found = served.signatures["recommend"](users=tf.constant(list(rated.users)), k=tf.constant(k))
        assert found["scores"].numpy() == pytest.approx(expected.scores, rel=1e-3, abs=1e-4)
    users, items = np.repeat(codes(USERS), 3), np.tile(codes(3), USERS)
    asked = {"users": rated.users.names(users), "products": rated.items.names(items)}
    pairs = served.signatures["predict"](**{name: tf.constant(ids) for name, ids in asked.items()})
    assert pairs["predictions"].numpy() == pytest.approx(model.score(users, items), rel=1e-3, abs=1e-4)
    again, _ = scorers.load(tmp_path / "scorer")
    assert (again.recommend(codes(9), 5).items == model.recommend(codes(9), 5).items).all()
    three = np.array([0, 4, 8], np.int32)
    assert (again.recommend_for([three], 5).items == model.scorer.recommend_for([three], 5).items).all()


def test_what_is_popular_and_so_in_many_batches_counts_less_as_a_wrong_answer() -> None:
    from steps.models.networks.towers import Known, Sizes, Tasks, Towers

    words = np.zeros((3, 1), np.int32), np.zeros((3, 1), np.float32)
    share = np.array([0.7, 0.2, 0.1], np.float32)
    known = Known(words, words, (0, 0), np.zeros((3, 1), np.int32), share)
    network = Towers(known, Sizes(2, 1, 4), Tasks(1.0, 0.0, 0.0, 0.0), seed=1)
    random = np.random.default_rng(2)
    query, candidate = (random.normal(size=(4, 3)).astype(np.float32) for _ in range(2))
    # Two rows bought the same, and the last purchase was a dislike.
    item, liked = np.array([0, 1, 0, 2], np.int32), np.array([1, 1, 1, 0], np.float32)
    found = network.compute_loss(x={"item": item, "liked": liked}, y_pred=(query, candidate))
    # By hand: a sampled softmax (Yi et al., 2019) over what the other rows bought, without the own item once more.
    logits = query[:, :2] @ candidate[:, :2].T - np.log(share[item])
    losses = []
    for row in range(3):
        others = [column for column in range(4) if column == row or item[column] != item[row]]
        losses.append(np.log(np.exp(logits[row, others]).sum()) - logits[row, row])
    assert float(found) == pytest.approx(np.mean(losses), rel=1e-5)


def test_the_last_purchases_of_each_user_are_what_the_query_sees() -> None:
    assert _last(np.array([0, 0, 0, 1, 3, 3]), np.arange(6), 2).tolist() == [1, 2, 3, 4, 5]


def test_the_moments_of_a_purchase_are_its_month_weekday_and_hour() -> None:
    from steps.models.networks.towers import MOMENTS, moments

    times = np.array(["2024-02-29T23:10:00", "1970-01-01T00:00:00"], "datetime64[us]").astype(np.int64)
    assert moments(times, 2).tolist() == [[1, 12 + 3, 19 + 23], [0, 12 + 3, 19]]  # both were Thursdays
    assert moments(None, 1).tolist() == [[MOMENTS - 1] * 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("two_tower.factors=0", "two_tower.factors is 0"),
        ("two_tower.batch=1", "two_tower.batch is 1"),
        ("two_tower.retrieval=0,two_tower.ranking=0", "both 0"),
        ("two_tower.strangers=1", "two_tower.strangers is 1"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        families.make("two_tower", text)
