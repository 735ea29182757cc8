"""Writes the rendered objects that the tests compare; run `python tests/workflows/golden.py` after a meant change."""

from __future__ import annotations

import os
from pathlib import Path

from cron.command import objects
from cron.schedules import CRONS
from cron.schedules import build as build_cron
from workflows.catalog import DESCRIPTIONS, build
from workflows.render import for_version, to_yaml

TESTS = Path(__file__).resolve().parent.parent
LEGACY = TESTS.parent / "containers" / "kubernetes" / "overlays" / "legacy-k8sapi" / "workflows.yaml"
"""Everything for Argo 3.3, as `cron/deploy.py --argo 3.3 -o yaml` prints it."""


def rendered() -> dict[Path, str]:
    """Every file with its text, as the defaults render it."""
    for name in ("IMAGE_REGISTRY", "IMAGE_TAG"):
        os.environ.pop(name, None)
    found = {}
    for version, suffix in (("4.1", ""), ("3.3", "-3.3")):
        for name in DESCRIPTIONS:
            text = to_yaml([for_version(build(name), version)])
            found[TESTS / "workflows" / "golden" / f"{name}{suffix}.yaml"] = text
        for cron in CRONS:
            text = to_yaml([for_version(build_cron(cron), version)])
            found[TESTS / "cron" / "golden" / f"{cron.name}{suffix}.yaml"] = text
    found[LEGACY] = to_yaml(objects(CRONS, "3.3"))
    return found


if __name__ == "__main__":
    for path, text in rendered().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
