"""What every overlay renders to is committed; a difference must be meant."""

from __future__ import annotations

import yaml


def test_an_overlay_renders_to_what_is_committed(overlay, objects, golden):
    committed = golden.GOLDEN / f"{overlay}.yaml"
    wanted = list(yaml.safe_load_all(committed.read_text(encoding="utf-8"))) if committed.exists() else []
    assert list(objects) == wanted, "if it is meant: python tests/containers/kubernetes/golden.py"


def test_no_committed_file_is_left_of_an_overlay_that_is_gone(golden):
    assert sorted(path.stem for path in golden.GOLDEN.glob("*.yaml")) == golden.OVERLAYS
