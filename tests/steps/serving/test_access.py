"""Tokens, their scopes, and how much a client may ask."""

from __future__ import annotations

from typing import Any

import pytest

from steps.runtime.errors import UsageError
from steps.runtime.secret import Secret
from steps.serving.access import ADMIN, ANYBODY, FEEDBACK, READ, Rate, Tokens
from steps.serving.asgi import RefusedError

SHOP, MINE = "shop-0123456789abcdef", "mine-0123456789abcdef"


def request(token: str = "", client: str = "10.0.0.1") -> dict[str, Any]:
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else []
    return {"headers": headers, "client": (client, 5000)}


def refused(tokens: Tokens, token: str, access: str) -> int:
    try:
        tokens.allow(request(token), access)
    except RefusedError as error:
        return error.status
    return 200


def test_each_token_may_do_what_its_scopes_say() -> None:
    tokens = Tokens.parse(Secret(""), Secret(f"read+feedback={SHOP}, admin={MINE}"))
    table = {
        token: [refused(tokens, token, access) for access in (ANYBODY, READ, FEEDBACK, ADMIN)]
        for token in (SHOP, MINE, SHOP[:-1], "")
    }
    assert table == {
        SHOP: [200, 200, 200, 403],
        MINE: [200, 403, 403, 200],
        SHOP[:-1]: [200, 401, 401, 401],
        "": [200, 401, 401, 401],
    }


def test_the_one_token_may_do_everything() -> None:
    tokens = Tokens.parse(Secret(MINE), Secret(""))
    assert [refused(tokens, MINE, access) for access in (READ, FEEDBACK, ADMIN)] == [200, 200, 200]
    assert refused(tokens, "", READ) == 401


def test_without_tokens_everybody_may_ask_and_nobody_may_change() -> None:
    tokens = Tokens.parse(Secret(""), Secret(""))
    assert [refused(tokens, "", access) for access in (READ, FEEDBACK, ADMIN)] == [200, 200, 403]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"write={MINE}", "entry 1 of API_TOKENS is not"),
        (f"read={SHOP},{MINE}", "entry 2 of API_TOKENS is not"),
        ("read=short", "entry 1 of API_TOKENS has to be 16"),
        ("read=with a space in it 123", "entry 1 of API_TOKENS has to be 16"),
    ],
)
def test_a_wrong_setting_is_told_without_the_secret(text: str, said: str) -> None:
    with pytest.raises(UsageError) as told:
        Tokens.parse(Secret(""), Secret(text))
    assert said in str(told.value)
    assert not any(part in str(told.value) for part in (SHOP, MINE, "short", "space in it"))


def test_nothing_that_prints_shows_a_token() -> None:
    tokens = Tokens.parse(Secret(MINE), Secret(f"read={SHOP}"))
    assert MINE not in repr(tokens)
    assert SHOP not in repr(tokens)


def test_a_client_that_asks_too_often_waits_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("steps.serving.access.time.monotonic", lambda: now[0])
    rate = Rate(5)

    def asked(client: str) -> bool:
        try:
            rate.allow(request(client=client))
        except RefusedError as error:
            return (error.status, error.headers["Retry-After"]) != (429, "1")
        return True

    assert [asked("a") for _ in range(7)] == [True] * 5 + [False] * 2
    assert asked("b")
    now[0] += 0.4
    assert [asked("a") for _ in range(3)] == [True, True, False]


def test_who_asks_too_often_gets_the_rate_and_is_told_how_long_to_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    now, passed, waits = [100.0], 0, set()
    monkeypatch.setattr("steps.serving.access.time.monotonic", lambda: now[0])
    rate = Rate(0.5)
    for _ in range(400):
        try:
            rate.allow(request())
            passed += 1
        except RefusedError as error:
            waits.add(error.headers["Retry-After"])
        now[0] += 0.1
    assert passed == pytest.approx(20, abs=2)
    assert waits == {"1", "2"}


def test_no_rate_is_no_limit() -> None:
    rate = Rate(0)
    for _ in range(10_000):
        rate.allow(request())
