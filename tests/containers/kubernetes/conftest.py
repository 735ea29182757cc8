"""What the tests of the kustomize tree share: each overlay as objects, and the pods that are in them."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

specification = importlib.util.spec_from_file_location("kubernetes_golden", Path(__file__).with_name("golden.py"))
assert specification
assert specification.loader
golden = importlib.util.module_from_spec(specification)
specification.loader.exec_module(golden)
rendered = functools.cache(golden.render)

Object = dict[str, Any]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for an `overlay` runs once for each."""
    if "overlay" in metafunc.fixturenames:
        metafunc.parametrize("overlay", golden.OVERLAYS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where a tool must be built first, whichever test is the first to need it waits for that."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session", name="golden")
def golden_module() -> ModuleType:
    return golden


@pytest.fixture
def objects(overlay: str) -> Overlay:
    """Everything in an overlay."""
    return of(overlay)


@pytest.fixture
def kind() -> Overlay:
    return of("kind")


@pytest.fixture
def every() -> dict[str, Overlay]:
    return {overlay: of(overlay) for overlay in golden.OVERLAYS}


def of(overlay: str) -> Overlay:
    try:
        return Overlay(rendered(overlay))
    except golden.MissingToolError as error:
        pytest.skip(str(error))


class Overlay(list[Object]):
    """The objects of an overlay, to be asked for by kind and name."""

    def of(self, *kinds: str) -> list[Object]:
        return [one for one in self if one["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object:
        found = [one for one in self.of(kind) if one["metadata"]["name"] == name]
        assert len(found) == 1, f"{len(found)} objects are {kind} {name}"
        return found[0]

    def names(self, kind: str) -> set[str]:
        return {one["metadata"]["name"] for one in self.of(kind)}

    def pods(self) -> Iterator[tuple[str, Object]]:
        """Every template of pods, with the name of what makes them."""
        for one in self.of("Deployment"):
            yield one["metadata"]["name"], one["spec"]["template"]

    def containers(self) -> Iterator[tuple[str, Object]]:
        """Every container, also those that run before the others."""
        for name, pod in self.pods():
            for container in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                yield f"{name}/{container['name']}", container
