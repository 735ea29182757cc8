"""The generated shop has the structure that it promises, and a model that finds it beats popularity."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from steps.runtime.errors import UsageError
from steps.sources import demo
from steps.sources.demo import Options, Shop


@pytest.fixture(scope="module")
def shop() -> Shop:
    return demo.generate(Options())


def test_the_same_options_give_the_same_shop_and_another_seed_another(shop: Shop) -> None:
    again, other = demo.generate(Options()), demo.generate(Options(seed=8))
    assert np.array_equal(shop.item, again.item)
    assert np.array_equal(shop.user, again.user)
    assert not np.array_equal(shop.item, other.item)


def test_sizes_are_as_asked_for(shop: Shop) -> None:
    assert len(shop.user) == 50_000
    assert len(np.unique(shop.user)) == 2000
    assert shop.item.max() < 600
    assert shop.day.min() >= 0
    assert shop.day.max() < 365


def test_users_buy_mostly_from_their_two_groups(shop: Shop) -> None:
    group = shop.products.group[shop.item]
    first = (group == shop.first_group[shop.user]).mean()
    either = ((group == shop.first_group[shop.user]) | (group == shop.second_group[shop.user])).mean()
    assert 0.6 < first < 0.72
    assert 0.85 < either < 0.93


def test_products_are_sold_only_while_they_live(shop: Shop) -> None:
    begins, ends = shop.products.begins[shop.item], shop.products.ends[shop.item]
    outside = (shop.day < begins - demo.WEEK) | (shop.day > ends + demo.WEEK)
    assert outside.mean() < 0.05  # the rest are repeated purchases
    assert (shop.products.begins > 0).sum() > 50
    assert (shop.products.ends < 365).sum() > 50


def test_seasonal_products_sell_in_their_season(shop: Shop) -> None:
    season = shop.products.season[shop.item]
    seasonal = season >= 0
    distance = np.abs((shop.day - season + 182) % 365 - 182)[seasonal]
    assert 0.1 < seasonal.mean() < 0.3
    assert (distance < 60).mean() > 0.75


def test_some_purchases_are_repeated(shop: Shop) -> None:
    order = np.lexsort((np.arange(len(shop.user)), shop.user))
    user, item = shop.user[order], shop.item[order]
    assert ((user[1:] == user[:-1]) & (item[1:] == item[:-1])).mean() > 0.04


def recall(scores: np.ndarray, train: sp.csr_matrix, test: sp.csr_matrix, k: int = 10) -> float:
    """The share of new products bought later that are among the k best of those not yet bought, over users."""
    scores = np.where(train.toarray() > 0, -np.inf, scores)
    top = np.argsort(-scores, axis=1)[:, :k]
    wanted = (test.toarray() > 0) & (train.toarray() == 0)
    found = np.take_along_axis(wanted, top, axis=1).sum(axis=1)
    users = wanted.any(axis=1)
    return float((found[users] / wanted.sum(axis=1)[users]).mean())


def test_matrix_factorisation_beats_popularity_on_later_purchases(shop: Shop) -> None:
    late = np.arange(len(shop.user)) >= 0.9 * len(shop.user)  # purchases are in the order of their days

    def matrix(chosen: np.ndarray) -> sp.csr_matrix:
        ones = np.ones(chosen.sum(), np.float32)
        return sp.csr_matrix((ones, (shop.user[chosen], shop.item[chosen])), (2000, 600))

    train, test = matrix(~late), matrix(late)
    popularity = recall(np.broadcast_to(np.asarray(train.sum(axis=0)), train.shape), train, test)
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(factors=32, regularization=1.0, iterations=10, random_state=1, num_threads=1)
        model.fit(train, show_progress=False)
    assert recall(model.user_factors @ model.item_factors.T, train, test) > 2 * popularity
    assert popularity > 0.04


def test_the_catalogue_has_a_name_of_its_own_for_every_product() -> None:
    found = demo.read(Options(users=10, items=2000, groups=2))
    assert found.items is not None
    assert found.items["name"].n_unique() == 2000
    assert found.items.columns == ["id", "name", "category"]
    assert found.items["category"].unique().sort().to_list() == ["Books", "Garden"]
    assert found.items["name"][0] == "Amber Novel"
    assert found.items["id"][0] == "p0000"


def test_the_smallest_shops_work() -> None:
    one = demo.generate(Options(users=1, items=1, days=1, purchases=1))
    assert (one.user.tolist(), one.item.tolist(), one.day.tolist()) == ([0], [0], [0])
    few = demo.generate(Options(users=10, items=3, days=2, purchases=4))
    assert len(few.user) == 4


def test_the_plain_shop_is_what_it_always_was() -> None:
    """Snapshots are named by their content: a shop that changed would be another snapshot under the same address."""
    shop = demo.generate(Options(users=60, items=40, days=90))
    digest = hashlib.sha256()
    for purchases in (shop.user, shop.item, shop.day):
        digest.update(purchases.astype("<i8").tobytes())
    assert digest.hexdigest() == "a046f08f690b328bb6204b48ded6eb4ce8ecf5c944792b47dc0c1bdab7f43b96"


def test_a_shop_with_sequences_differs_in_what_is_bought_next_alone(shop: Shop) -> None:
    ordered = demo.generate(Options(sequences=1))
    assert np.array_equal(ordered.user, shop.user)
    assert np.array_equal(ordered.day, shop.day)
    follower = ordered.products.follower
    assert follower is not None
    assert shop.products.follower is None
    assert np.array_equal(np.sort(follower), np.arange(600))
    assert np.array_equal(ordered.products.group[follower], ordered.products.group)

    def followed(one: Shop) -> float:
        order = np.argsort(one.user, kind="stable")
        user, item = one.user[order], one.item[order]
        same = user[1:] == user[:-1]
        return float((item[1:] == follower[item[:-1]])[same].mean())

    assert followed(shop) < 0.02
    assert 0.5 < followed(ordered) < 0.7  # less than was wanted, because some products are not on sale


def test_the_times_of_a_shop_with_sequences_keep_the_order_of_purchases() -> None:
    options = Options(users=20, items=30, days=10, sequences=1)
    rows, shop = demo.read(options).parts[0].rows.collect(), demo.generate(options)
    for user in range(20):
        times = rows["time"].to_numpy()[shop.user == user]
        assert (np.diff(times) >= 0).all()


def test_in_a_shop_with_sequences_the_ring_of_a_group_holds_all_of_it() -> None:
    follower = demo.generate(Options(users=5, items=40, groups=2, sequences=1)).products
    ring, product = set(), 0
    assert follower.follower is not None
    while product not in ring:
        ring.add(product)
        product = int(follower.follower[product])
    assert ring == set(np.flatnonzero(follower.group == 0).tolist())


def test_options_are_read_and_shown() -> None:
    options = Options.parse("users=10, items=5,seed=3")
    assert (options.users, options.items, options.seed) == (10, 5, 3)
    assert str(options) == "demo:users=10,items=5,days=365,purchases=0,groups=12,seed=3"
    assert str(Options.parse("sequences=1")).endswith(",seed=7,sequences=1")
    assert Options.parse("") == Options()


@pytest.mark.parametrize(
    "text",
    ["users", "users=", "users=-1", "colour=3", "users=0", "groups=13", "days=99999", "items=1.5", "sequences=2"],
)
def test_wrong_options_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--source demo:"):
        Options.parse(text)
