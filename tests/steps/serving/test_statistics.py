"""Counts and percentiles, of one process and of several."""

from __future__ import annotations

import os

import pytest

from steps.serving.asgi import OTHER
from steps.serving.histogram import column, upper
from steps.serving.statistics import ANSWERED, DEGRADED, KINDS, VERSIONS, Statistics


def test_percentiles_are_those_of_the_times_to_a_tenth() -> None:
    statistics = Statistics(["/a"])
    for milliseconds in range(1, 1001):
        statistics.count("/a", 200, milliseconds / 1000)
    line = statistics.line("/a")
    assert line.requests == 1000
    assert line.percentile(50) == pytest.approx(0.5, rel=0.1)
    assert line.percentile(99) == pytest.approx(0.99, rel=0.1)
    assert line.seconds == pytest.approx(500.5)


def test_no_request_has_no_percentile() -> None:
    assert Statistics(["/a"]).line("/a").percentile(99) == 0


def test_a_time_is_counted_between_the_bounds_of_its_column() -> None:
    for seconds in (1e-6, 3e-6, 0.0005, 0.01, 1.0, 59.0):
        assert upper(column(seconds) - 1) <= seconds * 1.0001 <= upper(column(seconds)) * 1.0001
    assert column(0) == 0
    assert column(1e9) == column(1e6)


def test_mistakes_of_who_asks_are_told_from_errors() -> None:
    statistics = Statistics(["/a"])
    for status in (200, 404, 422, 500, 503):
        statistics.count("/a", status, 0.001)
    line = statistics.lines()["/a"]
    assert (line.requests, line.refused, line.errors) == (5, 2, 2)
    assert OTHER not in statistics.lines()


def test_processes_that_were_forked_count_together() -> None:
    statistics = Statistics(["/a", "/b"], workers=3)
    for place in (1, 2):
        if os.fork() == 0:
            statistics.mine = place
            for _ in range(10 * place):
                statistics.count("/b", 200, 0.001)
                statistics.answered(7)
            os._exit(0)
        assert os.wait()[1] == 0
    statistics.count("/b", 500, 0.001)
    assert (statistics.line("/b").requests, statistics.line("/b").errors) == (31, 1)
    assert statistics.versions() == {7: dict.fromkeys(KINDS, 0) | {"answers": 30}}


def test_of_many_versions_the_oldest_gives_way() -> None:
    statistics = Statistics(["/a"])
    for version in range(1, VERSIONS + 3):
        statistics.answered(version, ANSWERED, version)
    statistics.answered(VERSIONS + 2, DEGRADED)
    found = statistics.versions()
    assert sorted(found) == list(range(3, VERSIONS + 3))
    assert found[VERSIONS + 2] == dict.fromkeys(KINDS, 0) | {"answers": VERSIONS + 2, "degraded": 1}
    assert found[3]["answers"] == 3
