"""The model server over real HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import numpy as np
import pytest
import requests

from steps.artifacts.candidate import Candidate
from steps.artifacts.shop_rules import Boost, ShopRules
from steps.clients.object_store import Store
from steps.models.als import ALS, ALSSettings
from steps.models.ease import Ease, EaseSettings
from steps.models.ids import IdTable
from steps.models.interactions import Interactions
from steps.models.popularity import Popularity
from steps.serving import api
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.models import Model, Serving
from steps.serving.server import in_background
from steps.serving.standing import Standing

Make = Callable[..., Candidate]


@pytest.fixture
def live(folder_store: Store) -> Iterator[Live]:
    with Live(folder_store.models, 0.05) as found:
        yield found


@pytest.fixture
def url(live: Live) -> Iterator[str]:
    with in_background(application(Api(live))) as address:
        yield address


@pytest.fixture
def released(live: Live, folder_store: Store, make_candidate: Make, make_release: Callable[..., Any]) -> Live:
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    wait_for(live, 1)
    return live


def wait_for(live: Live, version: int) -> None:
    for _ in range(200):
        if live.model and live.model.version == version:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"version {version} never answered: {live.problem}")


def only(model: Model) -> Live:
    """What answers with one model and follows nothing."""
    return cast(Live, SimpleNamespace(serving=Serving(model), release=None, canary=None, problem="", looked=0.0))


def post(url: str, body: Any) -> requests.Response:
    return requests.post(url, json=body, timeout=60)


def test_before_a_release_it_lives_but_is_not_ready(url: str) -> None:
    assert requests.get(f"{url}/healthz", timeout=60).status_code == 200
    answer = requests.get(f"{url}/readyz", timeout=60)
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert post(f"{url}/recommend", {"user": "u000"}).status_code == 503


def test_a_user_gets_what_was_not_bought_yet(released: Live, url: str, checkerboard: Interactions) -> None:
    found = post(f"{url}/recommend", {"user": "u003", "k": 3}).json()
    assert (found["version"], found["model"], found["known"]) == (1, "als", True)
    assert found["items"][0]["item"] == "i003"
    bought = {checkerboard.items[int(code)] for code in checkerboard.matrix[[3]].indices}
    assert bought.isdisjoint(one["item"] for one in found["items"])


def test_several_users_are_answered_in_their_order(released: Live, url: str) -> None:
    found = post(f"{url}/recommend", {"users": ["u005", "a stranger"], "k": 2}).json()["recommendations"]
    assert [(one["user"], one["known"], len(one["items"])) for one in found] == [
        ("u005", True, 2),
        ("a stranger", False, 2),
    ]


def test_many_users_are_answered_as_each_alone_would_be(released: Live, url: str) -> None:
    users = [f"u{number % 50:03d}" for number in range(300)]
    asked = {"users": users, "k": 3, "exclude": ["i003", "not sold here"]}
    found = post(f"{url}/recommend", asked).json()["recommendations"]
    assert [one["user"] for one in found] == users
    alone = {user: post(f"{url}/recommend", {"user": user, "k": 3, "exclude": ["i003"]}).json() for user in users[:50]}
    assert all(one == alone[one["user"]] for one in found)


def test_somebody_new_is_answered_from_what_was_just_bought(released: Live, url: str) -> None:
    basket = ["i004", "i008", "i012"]
    found = post(f"{url}/recommend", {"items": [*basket, "not sold here"], "k": 20}).json()
    assert (found["version"], found["known"]) == (1, True)
    names = [one["item"] for one in found["items"]]
    assert all(int(name[1:]) % 2 == 0 for name in names)
    assert set(basket).isdisjoint(names)


def test_somebody_who_bought_only_what_is_unknown_gets_what_is_popular(released: Live, url: str) -> None:
    found = post(f"{url}/recommend", {"items": ["not sold here"], "k": 2}).json()
    assert (found["known"], len(found["items"])) == (False, 2)


def test_predictions_are_taken_in_both_forms(released: Live, url: str) -> None:
    columns = post(f"{url}/predict", {"users": ["u003", "u003"], "products": ["i003", "i004"]}).json()
    pairs = post(f"{url}/predict", {"data": {"ndarray": [["u003", "i003"], ["u003", "i004"]]}}).json()
    assert columns["predictions"] == pairs["data"]["ndarray"]
    assert columns["predictions"][0] > columns["predictions"][1]
    assert columns["version"] == pairs["version"] == 1


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=60)


def test_similar_items_are_those_that_the_same_people_buy(released: Live, url: str) -> None:
    found = get(f"{url}/similar/i004?k=5").json()
    assert (found["version"], found["model"], found["item"], len(found["items"])) == (1, "als", "i004", 5)
    names, scores = [one["item"] for one in found["items"]], [one["score"] for one in found["items"]]
    assert all(int(name[1:]) % 2 == 0 for name in names)
    assert "i004" not in names
    assert scores == sorted(scores, reverse=True)


def test_a_recommendation_is_explained_by_what_its_user_bought(
    released: Live, url: str, checkerboard: Interactions
) -> None:
    found = get(f"{url}/because/u003/i003?k=30").json()
    assert (found["version"], found["model"], found["user"], found["item"]) == (1, "als", "u003", "i003")
    assert found["score"] == post(f"{url}/predict", {"users": ["u003"], "products": ["i003"]}).json()["predictions"][0]
    bought = {checkerboard.items[int(code)] for code in checkerboard.matrix[[3]].indices}
    assert {one["item"] for one in found["because"]} == bought
    assert sum(one["share"] for one in found["because"]) == pytest.approx(1, abs=1e-4)
    assert len(get(f"{url}/because/u003/i003?k=2").json()["because"]) == 2


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("similar/i999", 404, "version 1 knows no item 'i999'"),
        ("similar/a%2Fb", 404, "version 1 knows no item 'a/b'"),
        ("because/u003/i999", 404, "version 1 knows no item 'i999'"),
        ("because/nobody/i003", 404, "version 1 knows no purchases of user 'nobody'"),
        ("because/a%2Fb/i003", 404, "version 1 knows no purchases of user 'a/b'"),
        ("because/%2F/i003", 404, "version 1 knows no purchases of user '/'"),
        ("because/u003/a%2Fb", 404, "version 1 knows no item 'a/b'"),
        ("because/u003/a/b", 404, "version 1 knows no item 'a/b'"),
    ],
)
def test_what_is_unknown_is_said_in_a_sentence(released: Live, url: str, path: str, status: int, said: str) -> None:
    answer = get(f"{url}/{path}")
    assert (answer.status_code, answer.json()["detail"]) == (status, said)


@pytest.mark.parametrize("path", ["because/u003", "because/u003/", "because//i003"])
def test_half_a_question_why_is_told_what_is_missing(released: Live, url: str, path: str) -> None:
    answer = get(f"{url}/{path}")
    assert answer.status_code == 422
    assert "/because/USER/ITEM" in answer.json()["detail"]


def test_ids_with_slashes_and_other_odd_characters_are_asked_about_percent_encoded() -> None:
    users, items = IdTable.of(["/", "a/b", "ü c"]), IdTable.of(["/x", "50%", "i/j"])
    bought = Interactions.of(users, items, np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 2, 2]), np.ones(5))
    scorer = Ease(EaseSettings(least_buyers=1)).fit(bought).scorer
    with in_background(application(Api(only(Model(1, "ease", scorer, bought.matrix))))) as url:
        found = get(f"{url}/because/{quote('a/b', safe='')}/{quote('50%', safe='')}").json()
        assert (found["user"], found["item"], [one["item"] for one in found["because"]]) == ("a/b", "50%", ["/x"])
        found = get(f"{url}/because/{quote('/', safe='')}/{quote('i/j', safe='')}").json()
        assert (found["user"], found["item"], [one["item"] for one in found["because"]]) == ("/", "i/j", ["/x"])
        assert get(f"{url}/because/{quote('ü c')}/i/j").json()["user"] == "ü c"
        found = get(f"{url}/similar/{quote('/x', safe='')}").json()
        assert (found["item"], {one["item"] for one in found["items"]}) == ("/x", {"50%", "i/j"})


@pytest.mark.parametrize("path", ["similar/i003?k=0", "similar/i003?k=1001", "because/u003/i003?k=x"])
def test_a_number_of_items_that_cannot_be_is_422(released: Live, url: str, path: str) -> None:
    assert get(f"{url}/{path}").status_code == 422


def test_a_model_that_cannot_tell_says_so(released: Live, url: str, checkerboard: Interactions) -> None:
    assert released.model is not None
    scorer = Popularity().fit(checkerboard).scorer
    model = replace(released.model, scorer=scorer, name="popularity")
    with in_background(application(Api(only(model)))) as other:
        similar, because = get(f"{other}/similar/i003"), get(f"{other}/because/u003/i003")
    assert (similar.status_code, similar.json()["detail"]) == (501, "popularity cannot tell which items are alike")
    assert (because.status_code, because.json()["detail"]) == (501, "popularity cannot tell why it recommends an item")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("recommend", {}),
        ("recommend", {"user": "a", "users": ["b"]}),
        ("recommend", {"user": "a", "k": 0}),
        ("recommend", {"user": "a", "kk": 1}),
        ("recommend", {"users": []}),
        ("recommend", {"users": ["a"] * 1000, "k": 1000}),
        ("recommend", {"items": []}),
        ("recommend", {"user": "a", "items": ["b"]}),
        ("predict", {}),
        ("predict", {"users": ["a"], "products": []}),
        ("predict", {"users": ["a"]}),
        ("predict", {"data": {"ndarray": [["only one"]]}}),
        ("predict", {"data": {"ndarray": [["a", "b"]]}, "users": ["a"], "products": ["b"]}),
    ],
)
def test_a_wrong_request_is_422(released: Live, url: str, path: str, body: Any) -> None:
    assert post(f"{url}/{path}", body).status_code == 422


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("recommend", r'{"user": "\ud800"}'),
        ("recommend", r'{"\ud800": 1}'),
        ("recommend", '{"user": "u003", "k": NaN}'),
        ("recommend", '{"user": "u003", "k": 1e400}'),
        ("predict", r'{"users": ["u003"], "products": ["\udfff"]}'),
    ],
)
def test_what_json_can_spell_but_not_mean_is_422_too(released: Live, url: str, path: str, body: str) -> None:
    answer = requests.post(f"{url}/{path}", data=body, headers={"content-type": "application/json"}, timeout=60)
    assert answer.status_code == 422
    assert answer.json()["detail"]


def test_the_state_tells_version_and_counts(released: Live, url: str) -> None:
    post(f"{url}/recommend", {"user": "u003"})
    post(f"{url}/recommend", {})
    state = requests.get(f"{url}/state", timeout=60).json()
    assert (state["version"], state["users"], state["items"], state["problem"]) == (1, 50, 50, "")
    assert (state["requests"]["/recommend"]["requests"], state["requests"]["/recommend"]["refused"]) == (2, 1)


def test_the_releases_are_listed(released: Live, url: str) -> None:
    [one] = get(f"{url}/releases").json()["versions"]
    assert (one["version"], one["model"], one["what"], one["reason"]) == (1, "als", "live", "promoted")


def test_the_traffic_of_the_last_hour_is_told(released: Live, url: str) -> None:
    began = time.time()
    post(f"{url}/recommend", {"users": ["u003", "u005"]})
    get(f"{url}/similar/i999")
    get(f"{url}/state")
    found = get(f"{url}/traffic").json()
    assert found["seconds"] == 10
    assert began <= found["now"] <= time.time()
    assert all(began - 10 < one["at"] <= found["now"] for one in found["columns"])
    assert sum(one["requests"] for one in found["columns"]) == 2
    assert sum(one["errors"] for one in found["columns"]) == 0
    assert sum(one["versions"].get("1", 0) for one in found["columns"]) == 2
    assert found["columns"][0]["p99"] > 0


def test_models_are_swapped_without_losing_a_request(
    released: Live, url: str, folder_store: Store, make_candidate: Make, make_release: Callable[..., Any]
) -> None:
    stop, seen, failed = threading.Event(), [], []

    def ask() -> None:
        session = requests.Session()
        while not stop.is_set():
            answer = session.post(f"{url}/recommend", json={"user": "u003", "k": 3}, timeout=60)
            (seen if answer.ok else failed).append(answer.json().get("version"))

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        make_release(folder_store, make_candidate(folder_store, f"run-{version}"), version)
        wait_for(released, version)
    threading.Event().wait(0.2)
    stop.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert sorted(set(seen)) == [1, 2, 3, 4]


def test_a_broken_release_leaves_the_old_model_answering(
    released: Live, url: str, folder_store: Store, make_candidate: Make, make_release: Callable[..., Any]
) -> None:
    made = make_candidate(folder_store, "run-2")
    folder_store.models.put(f"{made.path}/factors/item_factors.npy", b"damaged")
    make_release(folder_store, made, 2)
    for _ in range(100):
        if "has changed" in released.problem:
            break
        threading.Event().wait(0.05)
    assert "has changed" in requests.get(f"{url}/state", timeout=60).json()["problem"]
    assert post(f"{url}/recommend", {"user": "u003"}).json()["version"] == 1


def test_rules_that_take_long_are_made_beside_and_too_many_of_them_are_refused(
    checkerboard: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = ALS(ALSSettings(factors=2, regularization=0.1)).fit(checkerboard, 1).scorer
    rules = cast(Standing, SimpleNamespace(now=ShopRules(boosts=(Boost(2.0, item="i003"),))))
    served = Api(only(Model(1, "als", scorer, checkerboard.matrix)), rules=rules)
    monkeypatch.setattr(api, "MOST_WAITING", 1)
    began, go_on = threading.Event(), threading.Event()
    whole = served._answer

    def slowly(wanted: Any) -> Any:
        began.set()
        assert go_on.wait(60)
        return whole(wanted)

    monkeypatch.setattr(served, "_answer", slowly)
    with in_background(application(served)) as url, ThreadPoolExecutor(1) as beside:
        first = beside.submit(post, f"{url}/recommend", {"user": "u000", "k": 3})
        assert began.wait(60)
        assert requests.get(f"{url}/healthz", timeout=60).status_code == 200
        second = post(f"{url}/recommend", {"user": "u001", "k": 3})
        go_on.set()
        assert (second.status_code, second.headers["Retry-After"]) == (503, "1")
        assert len(first.result().json()["items"]) == 3
