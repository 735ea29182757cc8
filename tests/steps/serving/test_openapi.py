"""The description of the interface, held against the routes."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, cast

import pytest

from steps.serving import openapi
from steps.serving.api import LABELS, Api
from steps.serving.live import Live


@pytest.fixture(scope="module")
def api() -> Api:
    live = SimpleNamespace(serving=None, release=None, canary=None, problem="", looked=0.0)
    return Api(cast(Live, live))


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"].rpartition("/")[2]} if "$ref" in value else set()
        return own.union(*map(references, value.values()))
    return set().union(*map(references, value)) if isinstance(value, list) else set()


def test_every_route_is_counted_by_its_name(api: Api) -> None:
    assert list(dict.fromkeys(route.label for route in api.routes())) == list(LABELS)


def test_every_route_says_in_a_sentence_what_it_does(api: Api) -> None:
    for methods in api.description["paths"].values():
        for operation in methods.values():
            assert operation["summary"].endswith(".")


def test_every_schema_that_is_named_is_there(api: Api) -> None:
    assert references(api.description) <= set(api.description["components"]["schemas"])
    assert {"Recommend", "Recommendation", "Refusal"} <= references(api.description)


def test_what_changes_what_is_live_always_takes_a_token(api: Api) -> None:
    paths = api.description["paths"]
    for path in ("/promote", "/abort", "/rollback"):
        assert paths[path]["post"]["security"] == [{"token": ["admin"]}]
        assert "409" in paths[path]["post"]["responses"]
    assert paths["/recommend"]["post"]["security"] == [{}, {"token": ["read"]}]
    assert "409" not in paths["/recommend"]["post"]["responses"]


def test_paths_name_their_parameters(api: Api) -> None:
    paths = api.description["paths"]
    assert {"/similar/{item}", "/because/{user}/{item}"} <= set(paths)
    for path, methods in paths.items():
        for operation in methods.values():
            named = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_the_page_needs_nothing_from_elsewhere_and_leads_to_every_body(api: Api) -> None:
    page = openapi.page(api.description).text
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert "style=" not in page
    assert set(re.findall(r'href="#(\w+)"', page)) <= set(re.findall(r'id="(\w+)"', page))
    assert 'href="#Recommend"' in page
    assert "<code>items</code>" in page
    assert "`" not in re.sub(r"<pre>.*?</pre>", "", page, flags=re.DOTALL)
