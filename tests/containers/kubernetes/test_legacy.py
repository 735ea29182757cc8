"""The overlay for the old executor: the controller's setting, and the workflows that go with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from workflows.render import EXECUTOR

ROOT = Path(__file__).parents[3]
WORKFLOWS = ROOT / "containers" / "kubernetes" / "overlays" / "legacy-k8sapi" / "workflows.yaml"


@pytest.fixture
def legacy(every):
    return every["legacy-k8sapi"]


@pytest.fixture(scope="module")
def workflows():
    return list(yaml.safe_load_all(WORKFLOWS.read_text(encoding="utf-8")))


def test_the_controller_uses_the_executor_for_workflows_that_ask_for_it(legacy, workflows):
    settings = legacy.named("ConfigMap", "workflow-controller-configmap")
    assert settings["metadata"]["namespace"] == "argo"
    (executor,) = yaml.safe_load(settings["data"]["containerRuntimeExecutors"])
    assert executor["name"] == "k8sapi"
    chosen = executor["selector"]["matchLabels"]
    assert chosen == {EXECUTOR: "k8sapi"}
    for one in workflows:
        assert chosen.items() <= one["spec"]["workflowMetadata"]["labels"].items(), one["metadata"]["name"]


def test_no_other_overlay_has_a_setting_that_a_newer_argo_refuses(every):
    for name, objects in every.items():
        assert ("workflow-controller-configmap" in objects.names("ConfigMap")) is (name == "legacy-k8sapi")


def test_what_the_workflows_name_is_in_the_overlay(legacy, workflows):
    templates = [one for one in workflows if one["kind"] == "WorkflowTemplate"]
    crons = [one for one in workflows if one["kind"] == "CronWorkflow"]
    assert templates
    assert crons
    for one in templates:
        assert one["spec"]["serviceAccountName"] in legacy.names("ServiceAccount")
        for template in one["spec"]["templates"]:
            for source in template.get("container", {}).get("envFrom", []):
                assert source["configMapRef"]["name"] in legacy.names("ConfigMap")
    names = {one["metadata"]["name"] for one in templates}
    assert {one["spec"]["workflowSpec"]["workflowTemplateRef"]["name"] for one in crons} <= names


def test_every_output_is_on_a_volume_because_the_executor_cannot_read_an_image(workflows):
    outputs = [
        (template, output["valueFrom"]["path"])
        for one in workflows
        for template in one["spec"].get("templates", [])
        for output in template.get("outputs", {}).get("parameters", [])
        if "container" in template
    ]
    assert outputs
    for template, path in outputs:
        mounts = [mount["mountPath"] for mount in template["container"]["volumeMounts"]]
        assert any(path.startswith(f"{mount}/") for mount in mounts), path


def test_the_file_is_what_deploy_prints(monkeypatch):
    for name in ("IMAGE_REGISTRY", "IMAGE_TAG", "STORE_CLAIM", "RUN_AS_USER", "SCHEDULE_TIMEZONE"):
        monkeypatch.delenv(name, raising=False)
    command = [sys.executable, str(ROOT / "cron" / "deploy.py"), "--argo", "3.3", "-o", "yaml"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == WORKFLOWS.read_text(encoding="utf-8"), "if it is meant: python tests/workflows/golden.py"
