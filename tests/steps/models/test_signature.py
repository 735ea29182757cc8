from __future__ import annotations

from dataclasses import replace

import pytest

from steps.models.signature import LOWEST, Answer, differs

RECORDED = Answer("u1", ["a", "b", "c"], [0.9, 0.5, 0.5], known=True)


def test_the_same_answer_does_not_differ() -> None:
    assert differs(RECORDED, RECORDED) == ""


def test_another_way_of_rounding_does_not_differ() -> None:
    assert differs(RECORDED, replace(RECORDED, scores=[0.9001, 0.5, 0.4999])) == ""


def test_ties_may_change_places() -> None:
    assert differs(RECORDED, replace(RECORDED, items=["a", "c", "b"])) == ""
    assert differs(RECORDED, replace(RECORDED, items=["a", "b", "d"])) == ""


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (replace(RECORDED, known=False), "known is False"),
        (replace(RECORDED, items=["a"], scores=[0.9]), "1 items"),
        (replace(RECORDED, scores=[0.9, 0.5]), "recorded"),
        (replace(RECORDED, scores=[0.9, float("nan"), 0.5]), "place 2 has score nan"),
        (replace(RECORDED, scores=[0.9, 0.6, 0.5]), "place 2 has score 0.6"),
        (replace(RECORDED, items=["b", "a", "c"]), "place 1 is 'b'"),
        (replace(RECORDED, items=["x", "b", "c"]), "place 1 is 'x'"),
    ],
)
def test_a_wrong_answer_is_described(found: Answer, said: str) -> None:
    assert said in differs(RECORDED, found)
    assert "u1" in differs(RECORDED, found)


def test_places_without_an_item_are_compared_too() -> None:
    short = Answer("u1", ["a", ""], [0.9, LOWEST], known=True)
    assert differs(short, short) == ""
    assert differs(short, replace(short, items=["a", "b"], scores=[0.9, 0.1]))


def test_the_score_of_an_empty_place_may_be_rounded_as_json_rounds_it() -> None:
    empty = Answer("u1", ["", ""], [LOWEST, LOWEST], known=True)
    assert differs(empty, replace(empty, scores=[-3.40282347e38, -3.40282347e38])) == ""
    assert "place 1" in differs(empty, replace(empty, items=["a", ""], scores=[0.1, LOWEST]))
