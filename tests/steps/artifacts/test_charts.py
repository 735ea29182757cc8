"""Places are worked out by hand; what comes from data must not become markup."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from steps.artifacts import charts
from steps.artifacts.charts import Scale, Series

SVG = "{http://www.w3.org/2000/svg}"


def parsed(chart: str) -> ElementTree.Element:
    """The chart as XML, which it must be: a page's reader forgives more."""
    return ElementTree.fromstring(str(chart).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))


@pytest.mark.parametrize(
    ("values", "zero", "names"),
    [
        ([0.178, 0.205], True, ["0.00", "0.05", "0.10", "0.15", "0.20", "0.25"]),
        ([0.6, 1.9], False, ["0.5", "1.0", "1.5", "2.0"]),
        ([120.0, 480.0], False, ["100", "200", "300", "400", "500"]),
        ([-0.3, 0.4], False, ["-0.4", "-0.2", "0.0", "0.2", "0.4"]),
        ([0.0], True, ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]),
        ([float("nan"), 1.0, 2.0], False, ["1.0", "1.2", "1.4", "1.6", "1.8", "2.0"]),
        ([], False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
    ],
)
def test_a_scale_holds_its_values_between_round_numbers(values: list[float], zero: bool, names: list[str]) -> None:
    found = Scale.over(values, zero)
    assert list(found.names) == names
    assert all(found.low <= value <= found.high for value in values if value == value)


@pytest.mark.parametrize("value", [3.0, 0.0, -2.0, 1e-9, 1e12])
def test_values_that_are_all_alike_have_a_scale(value: float) -> None:
    found = Scale.over([value, value])
    assert found.low < found.high
    assert found.low <= value <= found.high


def test_whole_numbers_are_counted_in_round_steps() -> None:
    assert list(Scale.counted(1, 5).names) == ["1", "2", "3", "4", "5"]
    assert list(Scale.counted(0, 99).names) == ["0", "20", "40", "60", "80"]
    assert Scale.counted(1, 1).share(1) == 0


def test_a_value_lies_where_it_belongs_between_the_margins() -> None:
    scale = Scale(0.0, 10.0, [0, 10], ["0", "10"])
    assert [scale.across(value) for value in (0, 5, 10, 99)] == ["8.00", "52.50", "97.00", "97.00"]


def test_a_whisker_shows_value_and_interval() -> None:
    found = parsed(charts.whisker(5.0, 2.5, 7.5, Scale(0.0, 10.0, [0, 10], ["0", "10"]), "won", "als: 5"))
    dot, span = found.find(f"{SVG}circle"), found.find(f"{SVG}line[@class='span won']")
    assert dot is not None
    assert span is not None
    assert dot.get("cx") == "52.50%"
    assert (span.get("x1"), span.get("x2")) == ("30.25%", "74.75%")
    assert found.get("aria-label") == "als: 5"


def test_lines_have_a_corner_and_a_mark_a_point() -> None:
    scale = Scale(0.0, 2.0, [0, 2], ["0", "2"])
    found = parsed(charts.lines([Series("als", "won", [(0, 0), (1, 2), (2, 1)])], scale, scale, "a chart"))
    line = found.find(f".//{SVG}polyline")
    assert line is not None
    assert line.get("points") == "8.00,100.00 52.50,0.00 97.00,50.00"
    assert [(mark.get("cx"), mark.get("cy")) for mark in found.findall(f"{SVG}circle")] == [
        ("8.00%", "194.0"),
        ("52.50%", "18.0"),
        ("97.00%", "106.0"),
    ]
    assert [title.text for title in found.iter(f"{SVG}title")] == ["als: 0", "als: 2", "als: 1"]


def test_one_point_is_no_line_and_crosses_are_text() -> None:
    scale = Scale.of(["a", "b"])
    found = parsed(charts.lines([Series("x", "failed", [(0, 0)], mark="cross")], scale, scale, "a chart"))
    assert found.find(f".//{SVG}polyline") is None
    assert [one.text for one in found.iter(f"{SVG}text") if "cross" in str(one.get("class"))] == ["×"]


def test_names_and_titles_cannot_become_markup() -> None:
    nasty = """<script>alert("1")</script>&'"""
    scale = Scale.of([nasty, "b"])
    series = Series(nasty, "won", [(0, 0), (1, 1)], titles=[nasty, nasty])
    for drawn in (charts.lines([series], scale, scale, nasty), charts.whisker(1, 0, 1, scale, "won", nasty)):
        assert "<script" not in drawn
        assert parsed(drawn).get("aria-label") == nasty
