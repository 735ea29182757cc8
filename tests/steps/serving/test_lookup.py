"""What a person looks up, over real HTTP: items by their names, one item, one user."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from steps.artifacts.candidate import Candidate
from steps.artifacts.feedback import BOUGHT, Event
from steps.clients.object_store import Store
from steps.models.interactions import Interactions
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.messages import Recommend
from steps.serving.models import Serving
from steps.serving.recent import Recent
from steps.serving.server import in_background


@pytest.fixture
def recent() -> Recent:
    return Recent()


@pytest.fixture
def live(
    folder_store: Store,
    make_snapshot: Callable[..., str],
    make_candidate: Callable[..., Candidate],
    make_release: Callable[..., Any],
) -> Live:
    """Version 1, whose items have names."""
    make_release(folder_store, make_candidate(folder_store, "run-1", snapshot=make_snapshot(folder_store)))
    found = Live(folder_store.models, 3600, data=folder_store.data)
    found.refresh()
    return found


@pytest.fixture
def url(live: Live, recent: Recent) -> Iterator[str]:
    with in_background(application(Api(live, recent=recent))) as address:
        yield address


@pytest.fixture
def nameless(
    folder_store: Store, make_candidate: Callable[..., Candidate], make_release: Callable[..., Any]
) -> Iterator[str]:
    """A server of a release whose snapshot is gone."""
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    found = Live(folder_store.models, 3600, data=folder_store.data)
    found.refresh()
    with in_background(application(Api(found))) as address:
        yield address


def get(url: str) -> Any:
    answer = requests.get(url, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def post(url: str, body: Any) -> Any:
    answer = requests.post(url, json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_names_are_told_where_they_are_asked_for(url: str) -> None:
    plain = post(f"{url}/recommend", {"user": "u003", "k": 3})
    assert all(set(one) == {"item", "score"} for one in plain["items"])
    found = post(f"{url}/recommend", {"user": "u003", "k": 3, "names": True})
    assert [one["item"] for one in found["items"]] == [one["item"] for one in plain["items"]]
    assert found["items"][0]["name"] == "Oak  Chair 3"
    several = post(f"{url}/recommend", {"users": ["u003", "u004"], "k": 1, "names": True})["recommendations"]
    assert [one["items"][0]["name"] for one in several] == ["Oak  Chair 3", "Blue Lamp 4"]
    similar = get(f"{url}/similar/i004?k=2&names=true")["items"]
    assert all(one["name"] == f"Blue Lamp {int(one['item'][1:])}" for one in similar)
    because = get(f"{url}/because/u003/i003?k=2&names=true")["because"]
    assert all(one["name"] == f"Oak  Chair {int(one['item'][1:])}" for one in because)
    assert "name" not in get(f"{url}/similar/i004?k=1&names=false")["items"][0]


def test_neither_yes_nor_no_is_422(url: str) -> None:
    assert requests.get(f"{url}/similar/i004?names=perhaps", timeout=60).status_code == 422


def test_other_streams_are_told_names_too(live: Live) -> None:
    asked = [Recommend(user="u003", k=1, names=True), Recommend(user="u004", k=1)]
    found = Api(live).lists(asked)
    assert [one.items[0].name for one in found] == ["Oak  Chair 3", None]


def test_items_are_searched_by_name_and_id(url: str) -> None:
    found = get(f"{url}/items?search=chair%201&k=3")
    assert found["version"] == 1
    assert found["items"] == [{"item": f"i{one:03d}", "name": f"Oak  Chair {one}"} for one in (1, 11, 13)]
    assert [one["item"] for one in get(f"{url}/items?search=I04&k=30")["items"]] == [
        f"i{one:03d}" for one in range(40, 50)
    ]
    assert get(f"{url}/items?search=nothing+of+that+name")["items"] == []
    assert len(get(f"{url}/items")["items"]) == 20


def test_all_that_is_known_of_an_item_is_told(url: str) -> None:
    columns = {"category": "lamp", "price": 4.5, "article": "00004", "shelf": 0}
    assert get(f"{url}/items/i004") == {"version": 1, "item": "i004", "name": "Blue Lamp 4", "columns": columns}
    answer = requests.get(f"{url}/items/i999", timeout=60)
    assert (answer.status_code, answer.json()["detail"]) == (404, "version 1 knows no item 'i999'")


@pytest.mark.parametrize("query", ["k=0", "k=1001", f"search={'x' * 257}"])
def test_a_search_that_cannot_be_is_422(url: str, query: str) -> None:
    assert requests.get(f"{url}/items?{query}", timeout=60).status_code == 422


def test_a_user_is_told_with_purchases_old_and_new(url: str, recent: Recent, checkerboard: Interactions) -> None:
    for number, item in enumerate(("i003", "not sold here")):
        recent.take([Event(f"e{number}", BOUGHT, "u003", (item,), 1, None, "2026-01-01T00:00:00.000Z")])
    found = get(f"{url}/users/u003")
    had = [checkerboard.items[int(code)] for code in checkerboard.matrix[[3]].indices]
    assert found["bought"] == [{"item": item, "name": f"Oak  Chair {int(item[1:])}"} for item in had]
    assert found["recent"] == [{"item": "i003", "name": "Oak  Chair 3"}, {"item": "not sold here"}]
    assert (found["version"], found["user"], found["known"], found["canary"]) == (1, "u003", True, False)


def test_of_a_stranger_nothing_is_known(url: str) -> None:
    told = {"version": 1, "user": "a/b", "known": False, "bought": [], "recent": [], "canary": False}
    assert get(f"{url}/users/a%2Fb") == told
    assert requests.get(f"{url}/users/", timeout=60).status_code == 422


def test_a_user_of_the_canarys_share_is_told_by_the_canary(live: Live) -> None:
    assert live.serving is not None
    model = live.serving.live
    serving = Serving(model, canary=replace(model, version=8), percent=100)
    tried = cast(Live, SimpleNamespace(serving=serving, release=None, canary=None, problem="", looked=0.0))
    with in_background(application(Api(tried))) as url:
        found = get(f"{url}/users/u003")
    assert (found["version"], found["canary"]) == (8, True)


def test_without_names_all_is_told_that_can_be(nameless: str) -> None:
    found = post(f"{nameless}/recommend", {"user": "u003", "k": 1, "names": True})
    assert [set(one) for one in found["items"]] == [{"item", "score"}]
    assert len(get(f"{nameless}/items?k=5")["items"]) == 5
    assert get(f"{nameless}/users/u003")["known"]
    for path in ("items?search=x", "items/i003"):
        answer = requests.get(f"{nameless}/{path}", timeout=60)
        assert answer.status_code == 501
        assert "there is no snapshot s-0000000000000000" in answer.json()["detail"]
    assert "there is no snapshot" in get(f"{nameless}/state")["items_without_names"]["1"]


def test_names_that_cannot_be_had_at_the_moment_are_to_be_asked_for_again(live: Live) -> None:
    assert live.serving is not None
    bare = Serving(replace(live.serving.live, shelf=type(live.serving.live.shelf)()))
    waiting = cast(Live, SimpleNamespace(serving=bare, release=None, canary=None, problem="", looked=0.0))
    with in_background(application(Api(waiting))) as url:
        answer = requests.get(f"{url}/items/i003", timeout=60)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_a_server_is_ready_before_it_has_read_the_names(
    folder_store: Store,
    make_snapshot: Callable[..., str],
    make_candidate: Callable[..., Candidate],
    make_release: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_release(folder_store, make_candidate(folder_store, "run-1", snapshot=make_snapshot(folder_store)))
    may_read, read = threading.Event(), folder_store.data.fetch

    def slowly(*arguments: Any) -> Any:
        assert may_read.wait(60)
        return read(*arguments)

    monkeypatch.setattr(folder_store.data, "fetch", slowly)
    with Live(folder_store.models, 3600, data=folder_store.data) as live, in_background(application(Api(live))) as url:
        live.wait(60)
        assert get(f"{url}/readyz")["version"] == 1
        assert requests.get(f"{url}/items/i003", timeout=60).status_code == 503
        may_read.set()
        for _ in range(600):
            answer = requests.get(f"{url}/items/i003", timeout=60)
            if answer.ok:
                break
            threading.Event().wait(0.1)
        assert answer.json()["name"] == "Oak  Chair 3"
