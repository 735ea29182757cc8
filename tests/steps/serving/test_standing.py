"""Filters and the shop's rules over real HTTP, the rules followed as somebody changes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from steps.artifacts import names
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.runtime.errors import TryAgainError
from steps.runtime.secret import Secret
from steps.serving.access import Tokens
from steps.serving.api import Api, application
from steps.serving.asgi import RefusedError
from steps.serving.catalogue import Shelf
from steps.serving.live import Live
from steps.serving.messages import Recommend, Recommendation
from steps.serving.models import Serving
from steps.serving.server import in_background
from steps.serving.standing import Standing

TOKEN = "a-token-of-those-who-may-do-all"
MAY = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def rules(folder_store: Store) -> Standing:
    return Standing(folder_store.models)


@pytest.fixture
def live(
    folder_store: Store,
    rules: Standing,
    make_snapshot: Callable[..., str],
    make_candidate: Callable[..., Candidate],
    make_release: Callable[..., Any],
) -> Live:
    """Version 1, whose items have columns; looks only when told to."""
    make_release(folder_store, make_candidate(folder_store, "run-1", snapshot=make_snapshot(folder_store)))
    found = Live(folder_store.models, 3600, data=folder_store.data, also=[rules.look])
    found.refresh()
    return found


@pytest.fixture
def url(live: Live, rules: Standing) -> Iterator[str]:
    tokens = Tokens.parse(Secret(TOKEN), Secret(""))
    with in_background(application(Api(live, rules=rules), tokens=tokens)) as address:
        yield address


def post(url: str, **body: Any) -> requests.Response:
    return requests.post(f"{url}/recommend", json=body, headers=MAY, timeout=60)


def items(url: str, **body: Any) -> list[str]:
    answer = post(url, **body)
    assert answer.status_code == 200, answer.text
    return [one["item"] for one in answer.json()["items"]]


def state(url: str) -> Any:
    return requests.get(f"{url}/state", headers=MAY, timeout=60).json()["rules"]


def put(url: str, told: Any, headers: dict[str, str] = MAY) -> requests.Response:
    return requests.put(f"{url}/rules", json=told, headers=headers, timeout=60)


def test_a_list_keeps_to_columns_and_ranges(url: str) -> None:
    found = items(url, user="u003", k=50, only={"category": ["lamp"]}, ranges={"price": {"least": 10, "most": 20}})
    assert sorted(found) == ["i010", "i012", "i014", "i016", "i018"]
    assert sorted(items(url, user="u003", k=50, only={"shelf": [4], "category": ["lamp"]})) == [
        f"i{one:03d}" for one in (40, 42, 44, 46, 48)
    ]
    basket = items(url, items=["i004", "i008"], k=50, only={"category": ["lamp"]}, exclude=["i012"])
    assert sorted(basket) == [f"i{one:03d}" for one in range(0, 50, 2) if one not in (4, 8, 12)]


def test_a_list_is_not_all_of_one_kind(url: str) -> None:
    found = items(url, user="a stranger", k=10, most_of_each={"shelf": 1})
    assert sorted(int(item[1:]) // 10 for item in found) == [0, 1, 2, 3, 4]


def test_several_users_get_limited_lists_with_names(url: str) -> None:
    answer = post(url, users=["u003", "u004"], k=2, only={"category": ["chair"]}, names=True)
    found = answer.json()["recommendations"]
    assert [one["user"] for one in found] == ["u003", "u004"]
    assert all(item["name"].startswith("Oak  Chair ") for one in found for item in one["items"])


@pytest.mark.parametrize("who", [{"user": "u003"}, {"users": ["u003", "u004"]}, {"items": ["i004"]}])
def test_a_column_that_is_not_there_is_422_with_those_that_are(url: str, who: dict[str, Any]) -> None:
    answer = post(url, **who, only={"colour": ["red"]})
    said = "the items have no column 'colour'; they have category, price, article, shelf"
    assert (answer.status_code, answer.json()["detail"]) == (422, said)


@pytest.mark.parametrize(
    "limits",
    [
        {"only": {"category": []}},
        {"only": {"": ["x"]}},
        {"only": {"category": [None]}},
        {"only": {f"c{one}": ["x"] for one in range(21)}},
        {"ranges": {"price": {}}},
        {"ranges": {"price": {"least": 2, "most": 1}}},
        {"ranges": {"price": [1, 2]}},
        {"most_of_each": {"category": 0}},
        {"most_of_each": {"category": "one"}},
    ],
)
def test_limits_that_cannot_be_are_422(url: str, limits: dict[str, Any]) -> None:
    assert post(url, user="u003", **limits).status_code == 422


def test_before_the_columns_are_there_a_filter_is_to_be_asked_for_again(live: Live) -> None:
    assert live.serving is not None
    bare = Serving(replace(live.serving.live, shelf=Shelf()))
    waiting = cast(Live, SimpleNamespace(serving=bare, release=None, canary=None, problem="", looked=0.0))
    with in_background(application(Api(waiting))) as url:
        answer = post(url, user="u003", only={"category": ["lamp"]})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert post(url, user="u003").status_code == 200


def test_in_streams_one_wrong_filter_does_no_harm_to_others(live: Live) -> None:
    asked = [Recommend(user="u003", k=1, only={"colour": ["red"]}), Recommend(user="u004", k=1)]
    wrong, right = Api(live).lists(asked)
    assert isinstance(wrong, RefusedError)
    assert wrong.status == 422
    assert isinstance(right, Recommendation)
    assert right.items[0].item == "i004"


def test_rules_hold_from_the_next_look_on_and_end_with_their_file(
    url: str, live: Live, folder_store: Store, rules: Standing
) -> None:
    assert (items(url, user="u003", k=1), state(url)) == (
        ["i003"],
        {"in_force": False, "since": "", "problem": "", "without_columns": {}},
    )
    told = {"unavailable": ["i003", "gone long ago"], "exclude": {"category": ["lamp"]}}
    folder_store.models.put(names.RULES, json.dumps(told).encode())
    live.refresh()
    found = items(url, user="u003", k=50)
    assert "i003" not in found
    assert all(int(item[1:]) % 2 for item in items(url, items=["i004"], k=50))
    assert all(int(item[1:]) % 2 for item in items(url, user="a stranger", k=50))
    similar = requests.get(f"{url}/similar/i005?k=50", headers=MAY, timeout=60).json()["items"]
    assert all(int(one["item"][1:]) % 2 and one["item"] != "i003" for one in similar)
    assert state(url)["in_force"]
    folder_store.models.delete([names.RULES])
    live.refresh()
    assert items(url, user="u003", k=1) == ["i003"]
    assert not state(url)["in_force"]


def test_a_server_that_follows_takes_rules_up_by_itself(
    folder_store: Store,
    make_snapshot: Callable[..., str],
    make_candidate: Callable[..., Candidate],
    make_release: Callable[..., Any],
    rules: Standing,
) -> None:
    make_release(folder_store, make_candidate(folder_store, "run-1", snapshot=make_snapshot(folder_store)))
    with Live(folder_store.models, 0.05, data=folder_store.data, also=[rules.look]) as live:
        live.wait(60)
        folder_store.models.put(names.RULES, b'{"unavailable": ["i003"]}')
        for _ in range(600):
            if rules.now is not None:
                break
            threading.Event().wait(0.1)
        assert rules.now is not None
        assert rules.now.unavailable == ("i003",)


def test_a_wrong_file_is_told_and_the_last_good_rules_stay(
    url: str, live: Live, folder_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    folder_store.models.put(names.RULES, b'{"unavailable": ["i003"]}')
    live.refresh()
    folder_store.models.put(names.RULES, b'{"unavailable": "i003"}')
    for _ in range(3):
        live.refresh()
    said = "rules.json: unavailable is 'i003': a list of items is required"
    assert (state(url)["problem"], state(url)["in_force"]) == (said, True)
    assert "i003" not in items(url, user="u003", k=50)
    assert sum(said in message for message in caplog.messages) == 1
    folder_store.models.put(names.RULES, b'{"unavailable": ["i003"]}')
    live.refresh()
    assert (state(url)["problem"], state(url)["in_force"]) == ("", True)


def test_rules_stay_while_the_store_is_away(rules: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    rules.models.put(names.RULES, b'{"unavailable": ["i003"]}')
    rules.look()
    held = rules.now
    assert held is not None

    def away(key: str) -> bytes:
        raise TryAgainError("the store does not answer")

    with monkeypatch.context() as patched:
        patched.setattr(rules.models, "get", away)
        rules.look()
    assert (rules.now, rules.problem) == (held, "the store does not answer")
    rules.look()
    assert rules.now is held
    assert rules.problem == ""


def test_rules_are_written_by_who_may_and_hold_at_once(url: str, folder_store: Store) -> None:
    told = {"unavailable": ["i003"], "boosts": [{"column": "category", "value": "lamp", "times": 1.5}]}
    answer = put(url, told)
    assert answer.status_code == 200
    assert answer.json() == {"only": {}, "exclude": {}, "most_of_each": {}, **told}
    assert "i003" not in items(url, user="u003", k=50)
    assert requests.get(f"{url}/rules", headers=MAY, timeout=60).json() == answer.json()
    assert json.loads(folder_store.models.get(names.RULES)) == answer.json()
    assert put(url, {}).status_code == 200
    assert items(url, user="u003", k=1) == ["i003"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"unavailable": [7]}, "unavailable"),
        ({"nothing like it": 1}, "nothing like it"),
        ({"boosts": [{"times": 2}]}, "a boost is "),
        ({"boosts": [{"item": "p1", "times": 1e9}]}, "times of a boost is 1000000000.0: 0.001 to 1000 are allowed"),
        ({"only": {"category": []}}, "only"),
    ],
)
def test_wrong_rules_are_refused_in_a_sentence_and_change_nothing(
    url: str, folder_store: Store, told: Any, said: str
) -> None:
    answer = put(url, told)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert not folder_store.models.exists(names.RULES)


def test_rules_are_nothing_for_who_may_only_read(live: Live, rules: Standing) -> None:
    tokens = Tokens.parse(Secret(""), Secret("read=a-token-of-those-who-read"))
    with in_background(application(Api(live, rules=rules), tokens=tokens)) as url:
        assert put(url, {}, {"authorization": "Bearer a-token-of-those-who-read"}).status_code == 403
    with in_background(application(Api(live, rules=rules))) as url:
        assert put(url, {}, {}).status_code == 403


def test_columns_that_rules_speak_of_in_vain_are_told(url: str, live: Live, folder_store: Store) -> None:
    folder_store.models.put(names.RULES, b'{"exclude": {"colour": ["red"], "category": ["lamp"]}}')
    live.refresh()
    assert state(url)["without_columns"] == {"1": ["colour"]}
    assert all(int(item[1:]) % 2 for item in items(url, user="u003", k=50))
