"""Lists that may not hold everything: exactly what would be left of the whole order of the items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from steps.artifacts.feedback import BOUGHT, Event
from steps.artifacts.shop_rules import Boost, ShopRules
from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.item_to_item import ItemToItem
from steps.models.recommender import Recommendations
from steps.models.scorer import Scorer, Shared
from steps.serving import limits as module
from steps.serving.answers import Answers
from steps.serving.asgi import RefusedError
from steps.serving.catalogue import Catalogue
from steps.serving.limits import Choice, Limits, limits_of
from steps.serving.messages import Recommend, Recommendation
from steps.serving.models import Model, Nothing, Serving, Wanted
from steps.serving.recent import Recent
from steps.serving.statistics import Statistics

USERS, HISTORY = ["u0", "u1", "u2"], [[3, 4, 5], [0, 7], []]
"""Of the last one nothing was learned."""


def table(count: int) -> pl.DataFrame:
    numbers = range(count)
    return pl.DataFrame(
        {
            "id": [f"i{one:05d}" for one in numbers],
            "category": [f"c{one % 7}" for one in numbers],
            "brand": [f"b{one % 40}" if one % 11 else None for one in numbers],
            "price": [float(one % 100) if one % 13 else None for one in numbers],
        }
    )


def shared(count: int) -> Shared:
    popularity = np.random.default_rng(5).permutation(count).astype(np.float32) / np.float32(2**20)
    return Shared(
        IdTable.of(USERS),
        IdTable.of([f"i{one:05d}" for one in range(count)]),
        np.array([True, True, False]),
        popularity,
    )


def bought(count: int) -> sp.csr_matrix:
    rows = [row for row, items in enumerate(HISTORY) for _ in items]
    items = [item for one in HISTORY for item in one]
    return sp.csr_matrix((np.ones(len(items), np.bool_), (rows, items)), (len(USERS), count))


@cache
def by_products(count: int) -> Scorer:
    """Quarters, of which no two are alike, some of them negative: no order of calculation rounds them."""
    values = (np.random.default_rng(3).permutation(count) - count // 3).astype(np.float32) / 4
    return Factors(shared(count), np.array([[1], [0.5], [0]], np.float32), values[:, None])


@cache
def by_purchases(count: int) -> Scorer:
    """Whole eighths, so that ties are ties."""
    weights = np.random.default_rng(4).integers(-40, 100, (count, count)).astype(np.float32) / 8
    history = sp.csr_matrix(bought(count), dtype=np.float32)
    return ItemToItem(shared(count), np.arange(count, dtype=np.int32), history, weights)


WAYS = {"products": by_products, "purchases": by_purchases}


@cache
def catalogue(how: str, count: int) -> Catalogue:
    return Catalogue.of(table(count), WAYS[how](count))


@cache
def rows(count: int) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in table(count).iter_rows(named=True)}


def made(how: str = "purchases", count: int = 300) -> Model:
    """A model that has its catalogue."""
    model = Model(7, how, WAYS[how](count), bought(count))
    model.shelf.fill(lambda: catalogue(how, count))
    return model


@dataclass(frozen=True)
class Case:
    """A model and what it would answer about all items."""

    model: Model

    def order(self, wanted: Wanted, recent: Any) -> list[tuple[str, float]]:
        """Every item that the user does not have, best first, asked for without any limit."""
        whole = Wanted(len(self.model.scorer.items), wanted.user, wanted.items, wanted.exclude)
        return [(one.item, one.score) for one in self.model.answer([whole], recent)[0].items]

    def left(self, wanted: Wanted, recent: Any, allowed: Callable[[dict[str, Any]], bool]) -> list[tuple[str, float]]:
        """What is left of it."""
        return [pair for pair in self.order(wanted, recent) if allowed(self.about(pair[0]))]

    def about(self, item: str) -> dict[str, Any]:
        return rows(len(self.model.scorer.items))[item]


CASES = [("products", 300, None), ("purchases", 300, None), ("purchases", 300, 20), ("products", 6000, None)]
"""How scores come about, how many items there are, and how few are scored alone, if that is to be another number."""


@pytest.fixture(params=CASES, ids=lambda case: f"{case[1]} by {case[0]}" + (f", {case[2]} are few" if case[2] else ""))
def case(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Case:
    how, count, few = request.param
    if few is not None:
        monkeypatch.setattr(module, "FEW", few)
    return Case(made(how, count))


WHO = [
    Wanted(12, "u0"),
    Wanted(12, "u1", exclude=("i00001", "i00002", "not sold here")),
    Wanted(12, "u2"),
    Wanted(12, "a stranger"),
    Wanted(12, items=("i00010", "i00017")),
    Wanted(300, "u0"),
]


@pytest.fixture(params=WHO, ids=lambda one: f"{one.k} for {one.user or 'a basket'}")
def who(request: pytest.FixtureRequest) -> Wanted:
    wanted: Wanted = request.param
    return wanted


@pytest.fixture
def recent() -> Recent:
    """What was bought since the training."""
    found = Recent()
    found.take([Event("e1", BOUGHT, "u1", ("i00020",), 7, None, "2026-01-01T00:00:00.000Z")])
    return found


def pairs(found: Recommendation) -> list[tuple[str, float]]:
    return [(one.item, one.score) for one in found.items]


def limited(case: Case, wanted: Wanted, limits: Limits, recent: Any) -> list[tuple[str, float]]:
    asked = Wanted(wanted.k, wanted.user, wanted.items, wanted.exclude, limits=limits)
    [found] = case.model.answer([asked], recent)
    assert (found.version, found.user) == (7, wanted.user)
    assert found.known == case.model.answer([wanted], recent)[0].known
    return pairs(found)


FILTERS: list[tuple[Limits, Callable[[dict[str, Any]], bool]]] = [
    (Limits(only=(("category", ("c1", "c4", "nothing of that name")),)), lambda one: one["category"] in ("c1", "c4")),
    (Limits(only=(("price", (7.0, 50.0)),)), lambda one: one["price"] in (7, 50)),
    (Limits(only=(("price", (1e9,)),)), lambda one: False),
    (Limits(ranges=(("price", 10, 19.5),)), lambda one: one["price"] is not None and 10 <= one["price"] <= 19.5),
    (
        Limits(only=(("category", ("c1",)), ("brand", ("b3", "b8"))), ranges=(("price", 1, float("inf")),)),
        lambda one: (
            one["category"] == "c1" and one["brand"] in ("b3", "b8") and one["price"] is not None and one["price"] >= 1
        ),
    ),
    (
        Limits(rules=ShopRules(unavailable=("i00000", "i00021", "gone"), exclude=(("category", ("c2",)),))),
        lambda one: one["id"] not in ("i00000", "i00021") and one["category"] != "c2",
    ),
    (
        Limits(only=(("category", ("c1",)),), rules=ShopRules(only=(("brand", ("b1", "b2")),))),
        lambda one: one["category"] == "c1" and one["brand"] in ("b1", "b2"),
    ),
]


@pytest.mark.parametrize("number", range(len(FILTERS)))
def test_a_list_is_what_is_left_of_the_order_of_all_items(case: Case, who: Wanted, recent: Recent, number: int) -> None:
    limits, allowed = FILTERS[number]
    assert limited(case, who, limits, recent) == case.left(who, recent, allowed)[: who.k]


def greedy(order: Sequence[tuple[str, float]], case: Case, most: dict[str, int], k: int) -> list[tuple[str, float]]:
    counts: dict[tuple[str, Any], int] = {}
    taken = []
    for item, score in order:
        values = [(column, case.about(item)[column]) for column in most]
        if all(value[1] is None or counts.get(value, 0) < most[value[0]] for value in values):
            taken.append((item, score))
            for value in values:
                counts[value] = counts.get(value, 0) + 1
    return taken[:k]


@pytest.mark.parametrize("most", [{"category": 1}, {"category": 3, "brand": 1}, {"brand": 2}])
def test_no_more_of_a_kind_than_may_be_are_in_a_list(
    case: Case, who: Wanted, recent: Recent, most: dict[str, int]
) -> None:
    limits = Limits(most_of_each=tuple(most.items()))
    assert limited(case, who, limits, recent) == greedy(case.order(who, recent), case, most, who.k)
    by_the_shop = Limits(rules=ShopRules(most_of_each=tuple(most.items())))
    assert limited(case, who, by_the_shop, recent) == limited(case, who, limits, recent)


@pytest.mark.parametrize("most", [{}, {"category": 2}])
def test_what_is_boosted_comes_as_much_sooner_as_was_said(
    case: Case, who: Wanted, recent: Recent, most: dict[str, int]
) -> None:
    boosts = (Boost(8, column="brand", value="b5"), Boost(0.25, column="category", value="c3"), Boost(2, item="i00050"))
    limits = Limits(rules=ShopRules(boosts=boosts, most_of_each=tuple(most.items())))

    def boosted(pair: tuple[str, float]) -> tuple[str, float]:
        about, times = case.about(pair[0]), 1.0
        times *= 8 if about["brand"] == "b5" else 1
        times *= 0.25 if about["category"] == "c3" else 1
        times *= 2 if pair[0] == "i00050" else 1
        return pair[0], pair[1] * times if pair[1] > 0 else pair[1] / times

    order = sorted(map(boosted, case.order(who, recent)), key=lambda pair: (-pair[1], pair[0]))
    assert limited(case, who, limits, recent) == greedy(order, case, most, who.k)


def test_what_is_like_an_item_keeps_to_the_rules_of_the_shop() -> None:
    model = made()
    rules = ShopRules(only=(("category", ("c1", "c2")),))
    order = model.similar(9, 300)
    assert order is not None
    wanted = [one for one in order if rows(300)[one.item]["category"] in ("c1", "c2")]
    found = model.similar(9, 5, Limits(rules=rules))
    assert found == wanted[:5]


def test_popular_items_are_limited_too(case: Case) -> None:
    limits, allowed = FILTERS[0]
    wanted = Wanted(9, "u0", limits=limits)
    expected = case.left(Wanted(9, "a stranger"), Nothing(), allowed)[:9]
    assert pairs(case.model.popular(wanted)) == expected


def test_answers_do_not_depend_on_who_asks_at_the_same_time(case: Case, recent: Recent) -> None:
    mixed = [*WHO, *(Wanted(one.k, one.user, one.items, one.exclude, limits=FILTERS[0][0]) for one in WHO)]
    together = case.model.answer(mixed, recent)
    assert together == [case.model.answer([one], recent)[0] for one in mixed]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(only=(("colour", ("red",)),)), "the items have no column 'colour'; they have category, brand, price"),
        (Limits(most_of_each=(("name", 2),)), "the items have no column 'name'; they have category, brand, price"),
        (Limits(ranges=(("brand", 1, 2),)), "column 'brand' holds no numbers: a range of it cannot be had"),
    ],
)
def test_a_column_that_cannot_be_used_is_said_and_breaks_nothing(limits: Limits, said: str) -> None:
    model = made()
    statistics = Statistics(["/recommend"])
    found = Answers(statistics, Nothing()).of(Serving(model), [Wanted(3, "u0"), Wanted(3, "u1", limits=limits)])
    assert isinstance(found[0], Recommendation)
    refused = found[1]
    assert isinstance(refused, RefusedError)
    assert (refused.status, str(refused)) == (422, said)
    assert (statistics.versions()[7]["answers"], statistics.versions()[7]["errors"]) == (1, 0)


def test_what_the_shop_says_of_items_holds_before_their_columns_are_there_and_the_rest_from_then_on() -> None:
    model = Model(7, "purchases", by_purchases(300), bought(300))
    rules = ShopRules(unavailable=("i00001",), only=(("category", ("c1",)),), most_of_each=(("none such", 1),))
    wanted = Wanted(300, "u0", limits=Limits(rules=rules))
    before = [one.item for one in model.answer([wanted], Nothing())[0].items]
    assert len(before) == 300 - 3 - 1
    model.shelf.fill(lambda: catalogue("purchases", 300))
    after = [one.item for one in model.answer([wanted], Nothing())[0].items]
    assert after == [item for item in before if int(item[1:]) % 7 == 1]


def test_true_and_one_are_two_values_whoever_asks_first() -> None:
    stock = table(300).with_columns((pl.col("price").fill_null(0) % 2 == 0).alias("in_stock"))
    model = Model(7, "products", by_products(300), bought(300))
    model.shelf.fill(lambda: Catalogue.of(stock, by_products(300)))

    def found(value: bool | float) -> int:
        asked = Recommend(user="u0", k=300, only={"in_stock": [value]})
        return len(model.answer([Wanted(300, "u0", limits=limits_of(asked, None))], Nothing())[0].items)

    assert found(1.0) == found(0.0) == 0
    assert min(found(True), found(False)) > 50
    assert found(1.0) == found(0.0) == 0


def test_no_more_is_asked_for_than_a_list_has_room_for() -> None:
    """Of 7 categories 2 each are 14: a list of 300 needs no look at the last items."""
    model = made("products", 6000)
    choice = Choice.of(Limits(most_of_each=(("category", 2),)), model.scorer.items, model.shelf, model.shelf.catalogue)
    assert choice.room == 14
    asked = []

    def ranked(count: int) -> Recommendations:
        asked.append(count)
        return model.scorer.recommend(np.array([0], np.int32), count)

    assert len(choice.best(ranked, 300).items[0]) == 14
    assert max(asked) < 1000


def test_what_is_not_available_stays_hidden_where_the_catalogue_comes_in_the_middle() -> None:
    model = Model(7, "products", by_products(6000), bought(6000))
    best = [one.item for one in model.answer([Wanted(3, "u0")], Nothing())[0].items]
    rules = ShopRules(unavailable=tuple(best), only=(("category", ("c1",)),))

    class Late:
        """Brings the catalogue while an answer is made."""

        def of(self, user: str) -> Sequence[str]:
            model.shelf.fill(lambda: catalogue("products", 6000))
            return ()

    for _ in range(2):
        found = model.answer([Wanted(3, "u0", limits=Limits(rules=rules))], Late())[0]
        assert set(best).isdisjoint(one.item for one in found.items)
