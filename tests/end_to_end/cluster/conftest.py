"""What the tests on a real cluster share: when they can run, a namespace a file, and the figures that they tell."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import ROOT, World

CONTEXTS = re.compile(r"kit|kind-.*")
"""Clusters that are there to be tested on. A namespace is removed before and after, which is nobody else's business."""
CONTROLLER = ("-n", "argo", "deployment/workflow-controller")
REQUEUE = "DEFAULT_REQUEUE_TIME=1s"
"""Argo's default is 10 s, which it can add to every step; the seconds that the tests tell are with this one."""


def kubectl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["kubectl", *words], capture_output=True, text=True, timeout=120, check=False)


def lacking() -> str:
    """Why the tests cannot run here; empty where they can."""
    for program in ("kubectl", "argo"):
        if not shutil.which(program):
            return f"no {program} on the PATH"
    context = kubectl("config", "current-context").stdout.strip()
    if not CONTEXTS.fullmatch(context):
        return f"kubectl's context is {context or 'not set'}, and only the kit's and kind's are tested on"
    if kubectl("get", "--raw", "/readyz").returncode:
        return f"the cluster of the context {context} does not answer"
    if kubectl("get", "crd", "workflows.argoproj.io").returncode or kubectl("get", *CONTROLLER).returncode:
        return "the cluster has no Argo Workflows in the namespace argo"
    absent = sorted(wanted_images() - present_images())
    return f"images that are not in the cluster: {', '.join(absent)}" if absent else ""


def wanted_images() -> set[str]:
    """All but the sidecar of TensorFlow Serving, which these clusters do without."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    targets = re.findall(r"^FROM with-\S+ AS (\S+)$", (ROOT / "containers" / "Dockerfile").read_text(), re.MULTILINE)
    return {f"recommender-{target}:{version}" for target in targets if target != "slot-sync"}


def present_images() -> set[str]:
    nodes = json.loads(kubectl("get", "nodes", "-o", "json").stdout)["items"]
    images = [image for node in nodes for image in node["status"].get("images", [])]
    # One whose name another has taken over is listed without any.
    names = [name for image in images for name in image.get("names") or []]
    return {re.sub(r"^(docker\.io/library|localhost)/", "", name) for name in names}


@pytest.fixture(scope="session")
def cluster() -> None:
    """A cluster with Argo Workflows and the images, whose controller is quick. CLUSTER_MUST says that there is one."""
    reason = lacking()
    if reason:
        (pytest.fail if os.environ.get("CLUSTER_MUST") else pytest.skip)(reason)
    assert kubectl("set", "env", *CONTROLLER, REQUEUE).returncode == 0
    found = kubectl("rollout", "status", *CONTROLLER, "--timeout=300s")
    assert found.returncode == 0, found.stderr


@pytest.fixture(scope="module")
def world(cluster: None, request: pytest.FixtureRequest) -> Iterator[World]:
    """An empty namespace of the file's own; one that a killed session has left is removed first."""
    name = Path(request.module.__file__).stem.removeprefix("test_").replace("_", "-")
    found = World(getattr(request.module, "NAMESPACE", f"recommender-{name}"))
    found.clean()
    yield found
    found.clean(wait=False)


@pytest.fixture
def measured(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """`measured("train  8.1 s")`: a line for the end of the test session."""
    return lambda line: record_property("measured", line)
