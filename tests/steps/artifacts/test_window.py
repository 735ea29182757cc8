from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from steps.artifacts import window
from steps.artifacts.feedback import BOUGHT, CLICKED, RATED, SHOWN, Event, stamp
from steps.artifacts.served import Answers, Minute, Shadow
from steps.artifacts.window import Window
from steps.models.online import Figures

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
DAY = 86_400


def event(user: str, kind: str, *items: str, seconds: int = 0, version: int = 0) -> Event:
    time = stamp(NOON + timedelta(seconds=seconds))
    return Event(f"{user}-{kind}-{seconds}-{items}", kind, user, items, version, 4.0 if kind == RATED else None, time)


def visits(version: int, count: int, begin: str = "u") -> list[Event]:
    """Users who were shown four items; every second clicks the second of them, every fourth buys the first too."""
    found = []
    for number in range(count):
        user = f"{begin}{number}"
        found.append(event(user, SHOWN, "a", "b", "c", "d", version=version))
        if number % 2 == 0:
            found.append(event(user, CLICKED, "b", seconds=60))
        if number % 4 == 0:
            found.append(event(user, BOUGHT, "a", seconds=90))
    return found


def test_each_version_is_credited_with_what_followed_its_lists() -> None:
    seen = Window.of([*visits(7, 40), *visits(8, 20, "v"), event("u1", RATED, "a")], DAY)
    assert (seen.events, len(seen.users), seen.items) == (40 + 20 + 10 + 20 + 10 + 5 + 1, 60, ["a", "b", "c", "d"])
    found = window.by_version(seen, [])
    assert list(found) == [7, 8]
    one = found[7]
    assert (one.lists, one.users, one.places, one.clicks, one.purchases) == (40, 40, 160, 20, 10)
    assert one.metrics["hit_rate"].value == pytest.approx(10 / 40)
    assert one.metrics["ctr"].value == pytest.approx(20 / 160)
    # Every fourth took the first two, as it should be; every fourth only the second; the others nothing.
    assert one.metrics["ndcg"].value == pytest.approx((10 * 1.0 + 10 * 0.6309297535714575) / 40)
    assert one.taken_at[:3] == (10, 20, 0)
    assert found[8].lists == 20


def test_what_came_too_late_counts_for_no_list() -> None:
    seen = Window.of([event("u", SHOWN, "a", version=1), event("u", BOUGHT, "a", seconds=61)], 60)
    assert window.by_version(seen, [])[1].purchases == 0
    assert seen.newest_purchase == (NOON + timedelta(seconds=61)).timestamp() * 1000


def test_of_a_time_only_what_was_shown_until_its_end_is_told() -> None:
    late = [event(f"u{number}", SHOWN, "a", seconds=100, version=7) for number in range(9)]
    seen = Window.of([*visits(7, 40), *visits(8, 20, "v"), *late], DAY)
    assert window.shown_until(seen, 7, NOON) == window.by_version(Window.of(visits(7, 40), DAY), [])[7]
    assert window.shown_until(seen, 7, NOON + timedelta(seconds=100)).lists == 49
    assert window.shown_until(seen, 7, NOON - timedelta(seconds=1)) == Figures()


def test_without_feedback_there_is_nothing_to_see() -> None:
    seen = Window.of([], DAY)
    assert (seen.events, seen.newest_purchase, window.by_version(seen, [])) == (0, None, {})


def test_what_the_servers_counted_is_added_up() -> None:
    minutes = [
        Minute("", "", "a", {7: Answers(100, 1, 2, 0, (1.0, 5.0), Shadow(10, 0.5))}),
        Minute("", "", "b", {7: Answers(300, 0, 4, 0, (2.0, 9.0), Shadow(30, 0.9)), 8: Answers(5)}),
    ]
    found = window.by_version(Window.of(visits(7, 8), DAY), minutes)
    one = found[7]
    assert (one.lists, one.requests, one.errors, one.degraded) == (8, 400, 1, 6)
    assert one.ms == pytest.approx((1.75, 8.0))
    assert one.shadow == pytest.approx((40, 0.8))
    assert (found[8].requests, found[8].lists) == (5, 0)


def test_figures_are_read_as_they_were_written() -> None:
    figures = window.by_version(Window.of(visits(7, 40), DAY), [])[7]
    told = json.loads(json.dumps({**asdict(figures), "of a later version": 1}))
    assert Figures.from_json(told) == figures
    assert Figures.from_json({"lists": 3}) == Figures(lists=3)
