"""The files of the page, and what a token is told that it may do, over real HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import cast
from urllib.parse import urljoin

import pytest
import requests

from steps.runtime.secret import Secret
from steps.serving.access import Tokens
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.server import in_background

READER, OWNER, TELLER = "a-token-that-may-read", "a-token-that-may-do-more", "a-token-that-only-tells"
TOKENS = Tokens.parse(Secret(""), Secret(f"read={READER},read+admin={OWNER},feedback={TELLER}"))
NOTHING_LIVE = cast(Live, SimpleNamespace(serving=None, release=None, canary=None, problem="", looked=0.0))


@pytest.fixture
def url() -> Iterator[str]:
    with in_background(application(Api(NOTHING_LIVE), tokens=TOKENS)) as address:
        yield address


def test_all_that_the_page_names_is_there_for_anybody_under_a_strict_policy(url: str) -> None:
    todo, seen = [f"{url}/"], set()
    while todo:
        address = todo.pop()
        seen.add(address)
        found = requests.get(address, timeout=60)
        assert found.status_code == 200, address
        kind = {"": "text/html", "css": "text/css", "js": "text/javascript"}[
            address.rpartition("/")[2].rpartition(".")[2]
        ]
        assert found.headers["content-type"] == f"{kind}; charset=utf-8"
        assert "default-src 'self'" in found.headers["content-security-policy"]
        assert "unsafe" not in found.headers["content-security-policy"]
        named = re.findall(r'(?:src|href)="(page/[^"]+)"|from "(\./[^"]+)"', found.text)
        todo += {urljoin(address, one or other) for one, other in named} - seen
    assert len(seen) > 5


def test_the_page_holds_nothing_that_the_policy_forbids_or_that_lies_elsewhere(url: str) -> None:
    text = requests.get(f"{url}/", timeout=60).text
    assert not re.search(r"<script(?! type=\"module\" src=)|<style|\son\w+=|\sstyle=", text)
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


@pytest.mark.parametrize("name", ["../api.py", "..%2Fapi.py", "%2e%2e/api.py", "nothing.js", "__init__.py", ""])
def test_nothing_else_can_be_read(url: str, name: str) -> None:
    with requests.Session() as session:
        asked = session.prepare_request(requests.Request("GET", f"{url}/page/"))
        asked.url = f"{url}/page/{name}"  # as it is, not as a client tidies it up
        assert session.send(asked, timeout=60).status_code == 404


@pytest.mark.parametrize(("token", "may"), [(READER, ["read"]), (OWNER, ["read", "admin"])])
def test_a_token_is_told_what_it_may_do(url: str, token: str, may: list[str]) -> None:
    found = requests.get(f"{url}/access", headers={"authorization": f"Bearer {token}"}, timeout=60)
    assert found.json() == {"tokens": True, "may": may}


@pytest.mark.parametrize(("headers", "status"), [
    ({}, 401), ({"authorization": "Bearer unknown-unknown-unknown"}, 401), ({"authorization": f"Bearer {TELLER}"}, 403),
])  # fmt: skip
def test_who_may_not_read_is_told_nothing(url: str, headers: dict[str, str], status: int) -> None:
    assert requests.get(f"{url}/access", headers=headers, timeout=60).status_code == status


def test_without_tokens_everybody_may_read_and_tell() -> None:
    with in_background(application(Api(NOTHING_LIVE))) as address:
        assert requests.get(f"{address}/access", timeout=60).json() == {"tokens": False, "may": ["read", "feedback"]}
