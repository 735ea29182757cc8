"""What the workflows and schedules render to is committed; a difference must be meant."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import yaml

from workflows.catalog import DESCRIPTIONS

specification = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
golden = importlib.util.module_from_spec(specification)
specification.loader.exec_module(golden)


@pytest.fixture(autouse=True)
def plain_images(monkeypatch):
    for name in ("IMAGE_REGISTRY", "IMAGE_TAG"):
        monkeypatch.delenv(name, raising=False)


def test_rendered_objects_are_those_that_are_committed():
    wanted = golden.rendered()
    stale = [
        str(path.relative_to(golden.TESTS.parent))
        for path, text in wanted.items()
        if not path.exists() or path.read_text() != text
    ]
    assert not stale, f"run: python tests/workflows/golden.py  (differs: {', '.join(stale)})"


def test_no_committed_file_is_left_of_an_object_that_is_gone():
    wanted = set(golden.rendered())
    for folder in ("workflows", "cron"):
        assert set((golden.TESTS / folder / "golden").glob("*.yaml")) <= wanted


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_yaml_has_no_anchors_which_not_every_reader_knows(name):
    text = (golden.TESTS / "workflows" / "golden" / f"{name}.yaml").read_text()
    assert "&id" not in text
    assert yaml.safe_load(text)["metadata"]["name"] == name
