"""Simulated shoppers: what they like is known, they act on it, and another run does the same."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from steps.artifacts.feedback import Event
from steps.serving.shopper import ANYTHING, LIKES, Shoppers, Taste

KINDS = {f"{kind}{number}": kind for kind in "abcd" for number in range(10)}


@pytest.fixture
def taste() -> Taste:
    return Taste(KINDS)


def test_everybody_has_two_favourites_which_a_seed_decides(taste: Taste) -> None:
    users = [f"u{number}" for number in range(200)]
    liked = [taste.favourites(user) for user in users]
    assert liked == [Taste(KINDS).favourites(user) for user in users]
    assert liked != [Taste(KINDS, seed=8).favourites(user) for user in users]
    assert all(first != second for first, second in liked)
    assert {kind for pair in liked for kind in pair} == set("abcd")


def test_favourites_are_what_was_bought_most_where_the_past_counts() -> None:
    taste = Taste(KINDS, past=lambda user: {"u1": ["d", "b", "a"], "u2": ["c"]}.get(user, []))
    assert taste.favourites("u1") == ("d", "b")
    first, second = taste.favourites("u2")
    assert (first, second != "c") == ("c", True)
    assert taste.favourites("u3") == Taste(KINDS).favourites("u3")


def test_products_that_nobody_told_apart_are_of_a_kind_all_the_same() -> None:
    taste = Taste()
    kinds = {f"i{number}": taste.kind(f"i{number}") for number in range(500)}
    assert kinds == {item: Taste().kind(item) for item in kinds}
    assert set(kinds.values()) == set(taste.kinds)
    assert taste.wish("u1", random.Random(1)) is None


def test_what_is_liked_is_clicked_and_bought_and_the_rest_hardly_ever(taste: Taste) -> None:
    shoppers = Shoppers(taste, "run")
    first, second = taste.favourites("u")
    (other, *_) = sorted(set("abcd") - {first, second})
    clicks: Counter[str] = Counter()
    for number in range(3000):
        for kind in (first, second, other):
            done = shoppers.visit(3 * number, "u", 1, [f"{kind}{number % 10}"])
            clicks[kind] += sum(event["kind"] == "clicked" for event in done)
    assert [clicks[kind] / 3000 for kind in (first, second, other)] == pytest.approx([*LIKES, ANYTHING], abs=0.04)


def test_further_down_a_list_fewer_look(taste: Taste) -> None:
    first, _ = taste.favourites("u")
    items = [f"{first}{number}" for number in range(10)]
    clicks: Counter[str] = Counter()
    for number in range(2000):
        done = Shoppers(taste, "run").visit(number, "u", 1, items)
        clicks.update(event["items"][0] for event in done if event["kind"] == "clicked")
    assert clicks[items[0]] > 2 * clicks[items[6]] > 0


def test_a_visit_is_told_in_the_form_of_the_server(taste: Taste) -> None:
    first, _ = taste.favourites("u")
    items = [f"{first}{number}" for number in range(10)]
    events = [event for number in range(50) for event in Shoppers(taste, "run").visit(number, "u", 7, items)]
    assert {event["kind"] for event in events} == {"shown", "clicked", "bought"}
    assert len({event["id"] for event in events}) == len(events)
    for event in events:
        assert event["user"] == "u"
        assert event["items"] == items if event["kind"] == "shown" else len(event["items"]) == 1
        # A purchase that no list has led to is nobody's success.
        assert event["version"] == 7 or (event["kind"], event["version"]) == ("bought", 0)
        assert Event.from_json(event).kind == event["kind"]
    on_their_own = [event for event in events if event["version"] == 0]
    assert on_their_own
    assert all(taste.likes("u", event["items"][0]) for event in on_their_own)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_visits_end_with_a_purchase_that_no_list_has_led_to(taste: Taste, share: float) -> None:
    visits = [Shoppers(taste, "run", share).visit(number, "u", 7, ["a1"]) for number in range(1000)]
    own = [event for done in visits for event in done if (event["kind"], event["version"]) == ("bought", 0)]
    assert len(own) / 1000 == pytest.approx(share, abs=0.07)
    assert all(taste.likes("u", event["items"][0]) for event in own)


def test_nobody_buys_the_same_twice(taste: Taste) -> None:
    shoppers = Shoppers(taste, "run")
    first, _ = taste.favourites("u")
    events = [event for number in range(300) for event in shoppers.visit(number, "u", 1, [f"{first}0", f"{first}1"])]
    bought = Counter(event["items"][0] for event in events if event["kind"] == "bought")
    assert bought
    assert set(bought.values()) == {1}


def test_what_came_of_the_lists_is_counted_by_version(taste: Taste) -> None:
    shoppers = Shoppers(taste, "run")
    first, second = taste.favourites("u")
    (other, *_) = sorted(set("abcd") - {first, second})
    for number in range(200):
        shoppers.visit(number, "u", 1, [f"{other}0", f"{other}1"])
        shoppers.visit(number, "u", 2, [f"{first}0", f"{other}1"])
    good, bad = shoppers.versions[2], shoppers.versions[1]
    assert (good.lists, good.shown, good.liked, bad.liked) == (200, 400, 200, 0)
    assert good.clicked > 5 * bad.clicked
