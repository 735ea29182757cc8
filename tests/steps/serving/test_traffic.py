"""The last hour in columns of ten seconds, of one process and of several."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from steps.serving.histogram import column
from steps.serving.statistics import ANSWERED, DEGRADED, FAILED, Statistics
from steps.serving.traffic import PLACES, SECONDS, VERSIONS, Traffic

BEGAN = 1_700_000_000


@pytest.fixture
def clock() -> SimpleNamespace:
    return SimpleNamespace(now=float(BEGAN))


@pytest.fixture
def traffic(clock: SimpleNamespace) -> Traffic:
    return Traffic(workers=3, clock=lambda: clock.now)


def ask(traffic: Traffic, seconds: float = 0.001, *, worker: int = 0, failed: bool = False) -> None:
    traffic.count(worker, column(seconds), failed=failed)


def test_nothing_asked_is_no_column(traffic: Traffic) -> None:
    assert traffic.moments() == []


def test_each_ten_seconds_are_a_column_with_its_own_times(traffic: Traffic, clock: SimpleNamespace) -> None:
    for milliseconds in range(1, 101):
        ask(traffic, milliseconds / 1000)
    clock.now += 9.9
    ask(traffic, failed=True)
    clock.now += 20
    ask(traffic, 2.0)
    first, second = traffic.moments()
    assert (first.at, first.requests, first.errors) == (BEGAN, 101, 1)
    assert first.p50 == pytest.approx(50, rel=0.1)
    assert first.p99 == pytest.approx(99, rel=0.1)
    assert (second.at, second.requests, second.errors) == (BEGAN + 20, 1, 0)
    assert second.p50 == second.p99 == pytest.approx(2000, rel=0.1)


def test_what_is_older_than_an_hour_is_gone_and_its_place_begins_anew(traffic: Traffic, clock: SimpleNamespace) -> None:
    for _ in range(5):
        ask(traffic)
    traffic.answered(0, 7, 5, failed=False)
    clock.now += SECONDS * (PLACES - 1)
    assert [one.at for one in traffic.moments()] == [BEGAN]
    clock.now += SECONDS
    assert traffic.moments() == []
    ask(traffic)
    [one] = traffic.moments()
    assert (one.at, one.requests, one.versions) == (BEGAN + SECONDS * PLACES, 1, {})


def test_after_hours_without_a_question_nothing_old_comes_back(traffic: Traffic, clock: SimpleNamespace) -> None:
    ask(traffic)
    clock.now += SECONDS * PLACES * 7
    assert traffic.moments() == []


def test_lists_are_told_by_the_version_that_made_them_or_could_not(traffic: Traffic) -> None:
    traffic.answered(0, 7, 3, failed=False)
    traffic.answered(1, 8, 2, failed=False)
    traffic.answered(2, 7, 1, failed=False)
    traffic.answered(2, 8, 4, failed=True)
    [one] = traffic.moments()
    assert (one.versions, one.failed) == ({"7": 4, "8": 2}, {"8": 4})
    assert (one.requests, one.p50, one.p99) == (0, 0, 0)


def test_more_versions_at_once_than_there_is_room_for_break_nothing(traffic: Traffic) -> None:
    for version in range(1, VERSIONS + 3):
        traffic.answered(0, version, 1, failed=False)
    ask(traffic, worker=1)
    [one] = traffic.moments()
    assert one.versions == {str(version): 1 for version in range(1, VERSIONS + 1)}
    assert (one.requests, one.errors, one.failed) == (1, 0, {})


def test_processes_that_were_forked_are_told_together(traffic: Traffic) -> None:
    for worker in (1, 2):
        if os.fork() == 0:
            for _ in range(10 * worker):
                ask(traffic, 0.004, worker=worker)
            os._exit(0)
        assert os.wait()[1] == 0
    ask(traffic, 0.004, failed=True)
    [one] = traffic.moments()
    assert (one.requests, one.errors) == (31, 1)
    assert one.p99 == pytest.approx(4, rel=0.1)


def test_only_what_the_site_asks_is_traffic() -> None:
    statistics = Statistics(["/recommend", "/state"], workers=2)
    statistics.mine = 1
    for label, status in (("/recommend", 200), ("/recommend", 404), ("/recommend", 503), ("/state", 200)):
        statistics.count(label, status, 0.001)
    statistics.answered(7, ANSWERED, 2)
    statistics.answered(7, DEGRADED)
    statistics.answered(8, FAILED)
    moments = statistics.traffic.moments()
    assert (sum(one.requests for one in moments), sum(one.errors for one in moments)) == (3, 1)
    assert sum(one.versions.get("7", 0) for one in moments) == 2
    assert sum(one.failed.get("8", 0) for one in moments) == 1
