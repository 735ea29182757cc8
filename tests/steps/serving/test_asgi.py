"""What happens to a request before and after it is answered, over real HTTP."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from msgspec import Struct

from steps.serving import asgi
from steps.serving.access import Gate, Rate, Tokens
from steps.serving.asgi import Application, RefusedError, Request, Route, Text
from steps.serving.server import in_background
from steps.serving.statistics import Statistics


class Number(Struct, forbid_unknown_fields=True):
    value: int


async def double(request: Request) -> dict[str, int]:
    return {"value": 2 * request.body.value}


async def say(request: Request) -> dict[str, Any]:
    return {"parts": request.after("/say/"), "k": request.count("k", 10, 100)}


async def fail(request: Request) -> None:
    raise KeyError("the reason is for the log")


async def refuse(request: Request) -> None:
    raise RefusedError(503, "not now", {"Retry-After": "7"})


async def text(request: Request) -> Text:
    return Text("<p>ü</p>", "text/html; charset=utf-8")


async def stored(request: Request) -> Text:
    return Text("<p>old</p>", "text/html; charset=utf-8", {"Content-Security-Policy": "sandbox", "X-Other": "1"})


ROUTES = [
    Route("POST", "/double", double, dict, body=Number),
    Route("GET", "/say/", say, dict, rest=["parts"]),
    Route("GET", "/fail", fail, dict),
    Route("GET", "/refuse", refuse, dict),
    Route("GET", "/stored", stored, "text/html"),
    Route("GET", "/", text, "text/html"),
]


@pytest.fixture
def statistics() -> Statistics:
    return Statistics([route.label for route in ROUTES])


@pytest.fixture
def url(statistics: Statistics) -> Iterator[str]:
    with in_background(Application(ROUTES, statistics, Gate(Tokens(), Rate(0)))) as address:
        yield address


def test_a_body_is_read_and_answered(url: str) -> None:
    answer = requests.post(f"{url}/double", data=b'{"value": 21}', timeout=60)
    assert (answer.status_code, answer.json()) == (200, {"value": 42})
    assert answer.headers["content-type"] == "application/json"


def test_a_body_that_comes_in_pieces_is_one(url: str) -> None:
    answer = requests.post(f"{url}/double", data=iter([b'{"val', b'ue": 2', b"1}"]), timeout=60)
    assert answer.json() == {"value": 42}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[1]", "Expected `object`"),
        (b'{"value": "x"}', "Expected `int`"),
        (b'{"value": 1, "other": 2}', "unknown field"),
        (b"\xff\xfe", "malformed"),
        (b"[" * 200_000, "Expected `object`"),
        (b'{"value": 1, "%s": 2}' % (b"x" * 5000), "…"),
    ],
)
def test_a_wrong_body_is_422_in_a_short_sentence(url: str, body: bytes, said: str) -> None:
    answer = requests.post(f"{url}/double", data=body, timeout=60)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert len(answer.json()["detail"]) < 400


def test_a_body_that_is_too_large_is_refused_before_all_of_it_came(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "MOST_BYTES", 100_000)
    answer = requests.post(f"{url}/double", data=iter([b"x" * 50_000] * 3), timeout=60)
    assert answer.status_code == 413


@pytest.mark.parametrize("begun", [b"{", b""])
def test_a_body_that_never_comes_is_given_up(url: str, begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "BODY_SECONDS", 0.2)
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=30) as connection:
        connection.sendall(b"POST /double HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n" + begun)
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_what_fails_says_no_more_than_that(url: str, caplog: pytest.LogCaptureFixture) -> None:
    answer = requests.get(f"{url}/fail", timeout=60)
    assert answer.status_code == 500
    assert "reason" not in answer.text
    assert "the reason is for the log" in caplog.text


def test_a_refusal_carries_its_headers(url: str) -> None:
    answer = requests.get(f"{url}/refuse", timeout=60)
    assert (answer.status_code, answer.json(), answer.headers["retry-after"]) == (503, {"detail": "not now"}, "7")


def test_what_does_not_exist_is_404_and_a_wrong_method_405(url: str, statistics: Statistics) -> None:
    assert requests.get(f"{url}/nothing/here", timeout=60).status_code == 404
    wrong = requests.get(f"{url}/double", timeout=60)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert statistics.line(asgi.OTHER).refused == 2


def test_parts_of_a_path_are_what_was_sent(url: str) -> None:
    assert requests.get(f"{url}/say/a%2Fb/c%20d/%C3%BC?k=3", timeout=60).json() == {
        "parts": ["a/b", "c d", "ü"],
        "k": 3,
    }


@pytest.mark.parametrize("k", ["0", "101", "x", "", "-1", "1.5", "²", "9" * 50])
def test_a_number_that_cannot_be_is_422(url: str, k: str) -> None:
    assert requests.get(f"{url}/say/x", params={"k": k}, timeout=60).status_code == 422


def test_a_page_is_text_and_nothing_may_frame_it_or_come_from_elsewhere(url: str) -> None:
    answer = requests.get(url, timeout=60)
    assert (answer.text, answer.headers["content-type"]) == ("<p>ü</p>", "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_page_may_have_a_policy_of_its_own_in_place_of_the_others(url: str) -> None:
    answer = requests.get(f"{url}/stored", timeout=60)
    assert (answer.headers["content-security-policy"], answer.headers["x-other"]) == ("sandbox", "1")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_a_head_is_a_get_without_its_body(url: str) -> None:
    answer = requests.head(url, timeout=60)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "9")


def test_more_at_once_than_can_be_borne_is_503_at_once(statistics: Statistics) -> None:
    inside, go_on = threading.Event(), threading.Event()

    async def wait(request: Request) -> dict[str, int]:
        inside.set()
        await asyncio.to_thread(go_on.wait, 60)
        return {}

    routes = [Route("POST", "/double", wait, dict, body=Number)]
    application = Application(routes, statistics, Gate(Tokens(), Rate(0)), most_at_once=1)
    with in_background(application) as url:
        first = threading.Thread(target=lambda: requests.post(f"{url}/double", data=b'{"value": 1}', timeout=60))
        first.start()
        assert inside.wait(60)
        began = time.monotonic()
        answer = requests.post(f"{url}/double", data=b'{"value": 1}', timeout=60)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert time.monotonic() - began < 30
        go_on.set()
        first.join()
