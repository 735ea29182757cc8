"""Durations, tags and items."""

from __future__ import annotations

import pytest

from workflows.runner.durations import seconds
from workflows.runner.fanout import FanoutError, items
from workflows.runner.substitution import TagError, as_text, item_name, substitute, tags


@pytest.mark.parametrize(("text", "expected"), [
    (90, 90), ("90", 90), ("1.5", 1.5), ("90s", 90), ("1m30s", 90), ("2h", 7200), ("500ms", 0.5), ("1d", 86400),
])  # fmt: skip
def test_durations(text, expected):
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "5 m", "-1", "1x", "m", "1h 2m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match="is no length of time"):
        seconds(text)


def test_tags_are_replaced_everywhere_below_a_value():
    value = {"a": ["{{x}}", {"b": "<{{ y }}>"}], "{{x}}": 3, "n": None}
    assert substitute(value, {"x": "1", "y": "{{x}}"}) == {"a": ["1", {"b": "<{{x}}>"}], "{{x}}": 3, "n": None}
    assert list(tags(value)) == ["x", "y"]


def test_an_unknown_tag_is_an_error_or_stays():
    with pytest.raises(TagError, match=r"\{\{z\}\} stands for nothing here"):
        substitute("{{z}}", {})
    assert substitute("{{z}} {{x}}", {"x": "1"}, strict=False) == "{{z}} 1"


@pytest.mark.parametrize(("value", "text"), [
    ("a", "a"), (1, "1"), (1.5, "1.5"), (True, "true"), (None, "null"),
    ({"b": 1, "a": "x"}, '{"a":"x","b":1}'), ([1], "[1]"),
])  # fmt: skip
def test_values_as_text(value, text):
    assert as_text(value) == text


def test_items_are_named_as_the_controller_names_them():
    assert item_name("train", 1, "als") == "train(1:als)"
    assert item_name("s", 0, {"shards": "4", "shard": "0"}) == "s(0:shard:0,shards:4)"
    assert item_name("t", 2, "f(x)") == "t(2:fx)"


def test_a_map_item_can_be_asked_for_its_keys():
    [item] = items({"name": "t", "withItems": [{"a": 1, "b": "x"}]}, {}) or []
    assert item.scope == {"item": '{"a":1,"b":"x"}', "item.a": "1", "item.b": "x"}


@pytest.mark.parametrize(("sequence", "expected"), [
    ({"count": 3}, ["0", "1", "2"]),
    ({"count": "{{n}}"}, ["0", "1"]),
    ({"count": 2, "start": 5}, ["5", "6"]),
    ({"start": 3, "end": 1}, ["3", "2", "1"]),
    ({"count": 0}, []),
    ({"count": 2, "format": "host%02X"}, ["host00", "host01"]),
])  # fmt: skip
def test_sequences(sequence, expected):
    found = items({"name": "t", "withSequence": sequence}, {"n": "2"})
    assert [item.scope["item"] for item in found] == expected


@pytest.mark.parametrize(
    "sequence", [{}, {"count": "many"}, {"count": 1, "format": "%s"}, {"count": 1, "format": "%d%d"}]
)
def test_a_sequence_that_says_nothing_is_refused(sequence):
    with pytest.raises(FanoutError, match="withSequence of 't'"):
        items({"name": "t", "withSequence": sequence}, {})
