"""Renders the overlays; run `python tests/containers/kubernetes/golden.py` after a meant change to write them anew."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

TREE = Path(__file__).resolve().parents[3] / "containers" / "kubernetes"
GOLDEN = Path(__file__).resolve().with_name("golden")
OVERLAYS = sorted(folder.name for folder in (TREE / "overlays").iterdir())
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.7.1"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "recommender-tests"

Object = dict[str, Any]


class MissingToolError(Exception):
    """Nothing on this machine can render or judge, in one sentence."""


def render(overlay: str | Path) -> list[Object]:
    """The objects of an overlay, ours or a folder's, in an order that does not depend on kustomize's version."""
    folder = TREE / "overlays" / overlay
    done = subprocess.run([*kustomize(), str(folder)], capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{folder} does not build: {done.stderr.strip()}")
    return sorted(yaml.safe_load_all(done.stdout), key=lambda one: (one["kind"], one["metadata"]["name"]))


def kustomize() -> list[str]:
    """kubectl, which holds one, or kustomize itself, which Go can build."""
    if shutil.which("kubectl"):
        return ["kubectl", "kustomize"]
    return [shutil.which("kustomize") or built(KUSTOMIZE), "build"]


def built(package: str) -> str:
    """A program of a Go module, built once into a cache."""
    name, _, version = package.partition("@")
    folder = CACHE / version
    program = folder / next(part for part in reversed(name.split("/")) if not part.startswith("v"))
    if program.exists():
        return str(program)
    if not shutil.which("go"):
        raise MissingToolError(f"there is no {program.name}, and no Go to build it")
    try:
        done = subprocess.run(
            ["go", "install", package],
            env={**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MissingToolError(f"{package} was not built in time") from error
    if done.returncode != 0:
        raise MissingToolError(f"Go could not build {package}: {done.stderr.strip()[-200:]}")
    return str(program)


def as_text(objects: list[Object]) -> str:
    return yaml.safe_dump_all(list(objects), sort_keys=True, allow_unicode=True, width=120)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name in OVERLAYS:
        (GOLDEN / f"{name}.yaml").write_text(as_text(render(name)), encoding="utf-8")
