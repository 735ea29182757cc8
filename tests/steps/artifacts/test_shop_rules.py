"""Rules of the shop as a file: what is right comes back, and what is wrong is said in a sentence."""

from __future__ import annotations

import json

import pytest

from steps.artifacts import names, shop_rules
from steps.artifacts.shop_rules import Boost, ShopRules
from steps.clients.object_store import Store
from steps.runtime.errors import BadDataError

WHOLE = {
    "unavailable": ["p1", "p2"],
    "only": {"country": ["DE", 49.0, True]},
    "exclude": {"category": ["toys"]},
    "boosts": [{"column": "brand", "value": "own", "times": 1.2}, {"item": "p7", "times": 0.5}],
    "most_of_each": {"brand": 2},
}


def test_rules_come_back_as_they_were_written(store: Store) -> None:
    assert shop_rules.content(store.models) is None
    shop_rules.write(store.models, ShopRules.from_json(WHOLE))
    content = shop_rules.content(store.models)
    assert content is not None
    assert json.loads(content) == WHOLE
    found = shop_rules.parse(content)
    assert found.unavailable == ("p1", "p2")
    assert found.only == (("country", ("DE", 49.0, True)),)
    assert found.boosts == (Boost(1.2, column="brand", value="own"), Boost(0.5, item="p7"))
    assert found.columns == {"country", "category", "brand"}


def test_rules_that_ask_for_nothing_are_none() -> None:
    assert not ShopRules.from_json({})
    assert not ShopRules.from_json({"unavailable": [], "only": {}})
    assert ShopRules.from_json({"unavailable": ["p1"]})


WRONG = [
    ([], "rules are a JSON object, and this is []"),
    ({"unavailble": []}, "rules have no 'unavailble'; they may have unavailable, only, exclude, boosts, most_of_each"),
    ({"unavailable": "p1"}, "unavailable is 'p1': a list of items is required"),
    ({"unavailable": [7]}, "an item of unavailable is 7: a text of 1 to 256 letters is required"),
    ({"unavailable": ["\ud800"]}, "an item of unavailable is '\\ud800': that is no Unicode text"),
    ({"only": ["brand"]}, "only is ['brand']: "),
    ({"only": {"brand": "own"}}, "only has for column 'brand' 'own': a list of values is required"),
    ({"exclude": {"brand": []}}, "exclude has for column 'brand' []: a list of values is required"),
    ({"exclude": {"brand": [None]}}, "a value of column 'brand' of exclude is None: "),
    ({"boosts": [{"item": "p1"}]}, "a boost is "),
    ({"boosts": [{"item": "p1", "column": "brand", "times": 2}]}, "a boost is "),
    ({"boosts": [{"item": "p1", "times": 0}]}, "times of a boost is 0: 0.001 to 1000 are allowed"),
    ({"boosts": [{"item": "p1", "times": True}]}, "times of a boost is True: "),
    ({"boosts": [{"column": "brand", "value": {}, "times": 2}]}, "value of a boost is {}: "),
    ({"most_of_each": {"brand": 0}}, "most_of_each of column 'brand' is 0: 1 to 1000 is allowed"),
    ({"most_of_each": {"brand": 1.5}}, "most_of_each of column 'brand' is 1.5: 1 to 1000 is allowed"),
]


@pytest.mark.parametrize(("told", "said"), WRONG)
def test_what_is_wrong_is_said_in_a_sentence(told: object, said: str) -> None:
    with pytest.raises(BadDataError) as error:
        shop_rules.parse(json.dumps(told).encode())
    assert str(error.value).startswith(f"{names.RULES}: {said}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"unavailable": NaN}'])
def test_what_is_not_json_is_said_too(content: bytes) -> None:
    with pytest.raises(BadDataError, match="rules"):
        shop_rules.parse(content)
