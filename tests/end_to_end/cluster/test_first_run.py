"""A newcomer's first hour on a cluster: apply, retrain, ask; and the commands of the README, used for real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import KUBERNETES, ROOT, SHOP, Node, World, readme, submitted

from steps.artifacts import slots

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

NAMESPACE = "recommender"
"""The one that the overlay names: here everything is done as the README says it, letter for letter."""


@pytest.fixture(scope="module")
def applied(world: World) -> World:
    world.run("kubectl", "apply", "-k", str(KUBERNETES / "overlays" / "kind"))
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    return world


@pytest.fixture(scope="module")
def retrained(applied: World) -> subprocess.CompletedProcess[str]:
    """The first retrain, followed to its end."""
    return applied.submit(*SHOP, "--watch")


def test_a_retrain_is_followed_to_its_release(retrained: subprocess.CompletedProcess[str], applied: World) -> None:
    assert "Released version 1" in retrained.stdout
    assert "train(1:als)" in retrained.stderr, "the tree and the logs were shown"
    live = applied.live()
    assert (live.version, live.run) == (1, submitted(retrained))
    assert 1 in slots.whole_versions(applied.store().models, live.slot)


def test_then_everything_is_ready_and_the_new_version_answers(
    retrained: subprocess.CompletedProcess[str], applied: World
) -> None:
    answer = applied.answering(1)
    assert answer["known"] is True
    assert len(answer["items"]) == 3
    applied.ready()
    pods = applied.get("pods", "-l", "app.kubernetes.io/name=model-server")["items"]
    assert len(pods) == 2
    for slot in ("blue", "green"):
        status, _ = applied.ask(f"tf-serving-{slot}", "/v1/models/recommender")
        assert status == (200 if slot == applied.live().slot else 404)


def test_what_a_step_costs_on_argo(
    retrained: subprocess.CompletedProcess[str], applied: World, measured: Callable[[str], None], tmp_path: Path
) -> None:
    """The same run here, a process a step, beside the pods: the difference is what Argo and Kubernetes add."""
    environment = {**os.environ, "STORE": f"file:{tmp_path / 'store'}"}
    command = [sys.executable, str(ROOT / "workflows" / "submit.py"), *SHOP]
    began = time.monotonic()
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=300)
    whole_here = time.monotonic() - began
    here = seconds_here(tmp_path)
    name = submitted(retrained)
    there = {node.name: node for node in applied.nodes(name).values()}
    for step in ("data-publish", "plan", "train(0:popularity)", "train(1:als)", "evaluate", "model-publish", "onExit"):
        node = there.get(step) or there[f"{name}.onExit"]
        assert node.phase == "Succeeded"
        measured(f"{step:20} {node.seconds:5.1f} s on Argo, {here[step]:5.1f} s here")
    whole = Node(applied.workflow(name)["status"], name)
    measured(f"{'the whole run':20} {whole.seconds:5.1f} s on Argo, {whole_here:5.1f} s here")


def seconds_here(folder: Path) -> dict[str, float]:
    """What each step took in the only run that was begun in this folder."""
    [record] = (folder / ".runs").glob("*/record.jsonl")
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return {row["node"]: row["seconds"] for row in rows}


def test_the_argo_command_shows_what_there_is(retrained: subprocess.CompletedProcess[str], applied: World) -> None:
    name = submitted(retrained)
    listed = applied.argo("list").splitlines()
    assert any(row.startswith(name) for row in listed)
    assert listed[0].split() == readme("argo list")[0].split()
    assert "version 1 is live" in applied.argo("logs", "@latest")
    assert "Succeeded" in applied.argo("get", name, "--no-color")


def test_a_template_is_submitted_by_argo_itself(retrained: subprocess.CompletedProcess[str], applied: World) -> None:
    applied.submit("cleanup", "-p", "dry-run=true")
    started = applied.argo("submit", "--from", "workflowtemplate/cleanup", "-p", "dry-run=true", "-o", "name").strip()
    done = applied.ended(started)
    assert done["cleanup"].outputs["removed"] == "0"


def test_a_release_is_taken_back_and_everybody_is_predicted_for(
    retrained: subprocess.CompletedProcess[str], applied: World
) -> None:
    predicted = applied.submit("batch-predict", "-p", "shards=2", "-p", "k=5")
    assert "Predictions for 300 users" in predicted.stdout
    assert json.loads(applied.store().models.get("predictions/1/manifest.json"))["users"] == 300
