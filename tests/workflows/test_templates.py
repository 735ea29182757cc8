"""What every container template of ours has, whatever its program."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from workflows.catalog import DESCRIPTIONS, UnknownNameError, build, check_parameters
from workflows.render import for_version, to_yaml, with_values
from workflows.rules import must_hold
from workflows.runner.expressions import retry
from workflows.settings import SettingsError
from workflows.templates import RETRY_WHEN, image

ROOT = Path(__file__).resolve().parents[2]
CONTAINERS = [
    pytest.param(template, id=f"{name}-{template['name']}")
    for name in DESCRIPTIONS
    for template in build(name)["spec"]["templates"]
    if "container" in template
]


@pytest.mark.parametrize("template", CONTAINERS)
def test_the_store_is_reached_by_settings_and_optional_secrets(template):
    container = template["container"]
    assert container["envFrom"] == [{"configMapRef": {"name": "recommender-settings"}}]
    variables = {variable["name"]: variable for variable in container["env"]}
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        assert variables[key]["valueFrom"]["secretKeyRef"] == {"name": "recommender-s3", "key": key, "optional": True}
    assert variables["RUN"]["value"] == "{{workflow.name}}"
    assert [variables[name]["value"] for name in ("OUTPUTS", "TMPDIR", "HOME")] == ["/outputs", "/scratch", "/scratch"]


def tfjob(template):
    """The object as it is once the tags stand for something."""
    return yaml.safe_load(re.sub(r"\{\{[^}]*\}\}", "2", template["resource"]["manifest"]))


def test_a_worker_is_the_step_that_trains_alone():
    templates = {template["name"]: template for template in build("retrain")["spec"]["templates"]}
    alone, together = templates["train"], templates["train-together"]
    job = tfjob(together)
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    pod = worker["template"]["spec"]
    # The operator looks for this name, and gives the pods names of its own.
    [container] = pod["containers"]
    assert container == tfjob({"resource": {"manifest": yaml.safe_dump(alone["container"])}}) | {"name": "tensorflow"}
    assert pod["volumes"] == alone["volumes"]
    assert pod["securityContext"] == build("retrain")["spec"]["securityContext"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("recommender-workflow", False)
    assert (worker["replicas"], worker["restartPolicy"]) == (2, "OnFailure")
    assert job["spec"]["runPolicy"]["activeDeadlineSeconds"] == alone["activeDeadlineSeconds"]
    assert together["serviceAccountName"] == "recommender-trainer"
    assert "replicas: {{inputs.parameters.workers}}\n" in together["resource"]["manifest"]


def test_an_old_argo_gets_no_patch_of_a_pod_that_it_builds_otherwise():
    [old] = [t for t in for_version(build("retrain"), "3.3")["spec"]["templates"] if t["name"] == "train-together"]
    assert "podSpecPatch" not in old
    assert tfjob(old)["kind"] == "TFJob"


@pytest.mark.parametrize("template", CONTAINERS)
def test_no_secret_is_an_argument_or_a_plain_value(template):
    for variable in template["container"]["env"]:
        if any(word in variable["name"] for word in ("KEY", "SECRET", "PASSWORD")):
            assert "value" not in variable
    assert not any("secret" in word.lower() or "password" in word.lower() for word in template["container"]["args"])


@pytest.mark.parametrize(("status", "code", "again"), [
    ("Failed", "75", True), ("Failed", "137", True), ("Failed", "143", True), ("Error", "-1", True),
    ("Failed", "1", False), ("Failed", "2", False), ("Failed", "65", False), ("Failed", "69", False),
    ("Failed", "130", False),
])  # fmt: skip
def test_the_retry_rule_is_that_of_the_exit_codes(status, code, again):
    assert retry(RETRY_WHEN, {"lastRetry.status": status, "lastRetry.exitCode": code}) is again


def test_images_come_from_the_registry_and_tag_of_the_environment(monkeypatch):
    monkeypatch.delenv("IMAGE_REGISTRY", raising=False)
    monkeypatch.delenv("IMAGE_TAG", raising=False)
    assert image("data_publish") == "recommender-data-publish:0.1.0"
    monkeypatch.setenv("IMAGE_REGISTRY", "registry.example.com:5000/shop/")
    monkeypatch.setenv("IMAGE_TAG", "abc")
    assert image("train") == "registry.example.com:5000/shop/recommender-train:abc"


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_claim_is_mounted_in_every_step_as_the_store(name, monkeypatch):
    assert "persistentVolumeClaim" not in to_yaml([build(name)])
    monkeypatch.setenv("STORE_CLAIM", "shop-store")
    manifest = build(name)
    must_hold([manifest])
    for template in manifest["spec"]["templates"]:
        if "container" in template:
            assert {"name": "store", "persistentVolumeClaim": {"claimName": "shop-store"}} in template["volumes"]
            assert {"name": "store", "mountPath": "/store"} in template["container"]["volumeMounts"]


@pytest.mark.parametrize(("value", "user"), [(None, 10001), ("2000", 2000), ("", None)])
def test_the_pods_run_as_the_user_that_is_named_or_as_whom_the_cluster_chooses(monkeypatch, value, user):
    monkeypatch.delenv("RUN_AS_USER", raising=False)
    if value is not None:
        monkeypatch.setenv("RUN_AS_USER", value)
    manifest = build("cleanup")
    must_hold([manifest])
    context = manifest["spec"]["securityContext"]
    assert [context.get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")] == [user] * 3
    assert context["runAsNonRoot"] is True


@pytest.mark.parametrize("value", ["0", "root", "-1", "1.5", "٣"])
def test_a_user_that_cannot_be_is_refused(monkeypatch, value):
    monkeypatch.setenv("RUN_AS_USER", value)
    with pytest.raises(SettingsError, match=f"RUN_AS_USER is '{value}'; write a user's number from 1 on"):
        build("cleanup")


@pytest.mark.parametrize("value", ["12h", "90", "90s", "1h30m", "500ms", "0.5h"])
def test_a_time_to_approve_is_one_that_argo_reads_too(value):
    check_parameters(build("retrain"), {"approve-within": value})


@pytest.mark.parametrize("value", ["", "1d", "soon", "13h", "0", "0s", "-1h", "1 h", "12h1s"])
def test_a_time_to_approve_that_argo_does_not_read_or_would_not_outlive_is_refused(value):
    with pytest.raises(UnknownNameError, match="write a time such as 90s, 30m or 1h30m, at most 12h"):
        check_parameters(build("retrain"), {"approve-within": value})


def test_a_canary_may_be_tried_for_a_day():
    check_parameters(build("retrain"), {"canary-for": "24h"})
    for value in ("25h", "0", "1d"):
        with pytest.raises(UnknownNameError, match=r"parameter canary-for is .* at most 24h"):
            check_parameters(build("retrain"), {"canary-for": value})


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_what_is_over_goes_after_a_while_and_a_failure_stays_longer(name):
    spec = build(name)["spec"]
    # The pods of what failed stay as long as their workflow, for their logs are nowhere else.
    assert spec["podGC"] == {"strategy": "OnPodSuccess", "deleteDelayDuration": "600s"}
    assert 0 < spec["ttlStrategy"]["secondsAfterSuccess"] < spec["ttlStrategy"]["secondsAfterFailure"] == 7 * 24 * 3600


def test_publishing_is_under_one_mutex_in_every_workflow_that_publishes():
    publishers = [
        template
        for name in DESCRIPTIONS
        for template in build(name)["spec"]["templates"]
        if template.get("container", {}).get("command", [""])[-1] == "steps.model_publish"
    ]
    names = {template["name"] for template in publishers}
    assert names == {"model-publish", "canary-promote", "canary-abort"}
    assert {template["synchronization"]["mutexes"][0]["name"] for template in publishers} == {
        "recommender-model-publish"
    }


def test_cleaning_up_waits_for_whoever_publishes():
    """It must not remove a candidate while a rollback makes it live again."""
    [clean] = [template for template in build("cleanup")["spec"]["templates"] if "container" in template]
    assert clean["synchronization"] == {"mutexes": [{"name": "recommender-model-publish"}]}


def test_a_database_gets_its_user_and_its_password_from_the_secret_of_the_sources():
    publish = build("retrain")["spec"]["templates"][0]
    found = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in publish["container"]["env"] if "valueFrom" in one}
    for name in ("PGUSER", "PGPASSWORD", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        assert found[name] == {"name": "recommender-sources", "key": name, "optional": True}


def test_the_readme_names_every_object_that_the_templates_expect():
    readme = (ROOT / "README.md").read_text()
    text = "".join(to_yaml([build(name)]) for name in DESCRIPTIONS)
    expected = set(re.findall(r"(?:serviceAccountName|KeyRef:\n +key: \w+\n +name|configMapRef:\n +name): (\S+)", text))
    assert expected == {f"recommender-{what}" for what in ("workflow", "trainer", "s3", "sources", "settings")}
    section = readme.partition("## On Argo Workflows")[2].partition("\n## ")[0]
    assert {name for name in expected if f"`{name}`" not in section} == set()


def keys(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


NOT_IN_3_3 = {
    "schedules", "mutexes", "semaphores", "deleteDelayDuration", "stopStrategy", "cap", "workflowLevelArtifactGC",
    "artifactGC", "initless", "podResources", "resourceClaims", "timezoneOffset", "hostUsers", "annotationsFrom",
}  # fmt: skip


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_the_form_for_3_3_has_no_field_that_3_3_lacks(name):
    assert not NOT_IN_3_3 & set(keys(for_version(build(name), "3.3")))


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_argos_own_containers_hold_what_a_restricted_namespace_asks_of_every_container(name):
    patch = json.loads(build(name)["spec"]["podSpecPatch"])
    found = [(part, one["name"], one["securityContext"]) for part, listed in patch.items() for one in listed]
    least = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert found == [("initContainers", "init", least), ("containers", "wait", least)]
    assert "podSpecPatch" in for_version(build(name), "3.4")["spec"]
    assert "podSpecPatch" not in for_version(build(name), "3.3")["spec"]


def test_the_form_for_3_3_keeps_the_mutex_and_asks_for_the_old_executor():
    old = for_version(build("retrain"), "3.3.8")
    publish = next(template for template in old["spec"]["templates"] if template["name"] == "model-publish")
    assert publish["synchronization"] == {"mutex": {"name": "recommender-model-publish"}}
    labels = old["spec"]["workflowMetadata"]["labels"]
    assert labels["workflows.argoproj.io/container-runtime-executor"] == "k8sapi"


@pytest.mark.parametrize(("version", "delay", "mutexes"), [
    ("3.3", False, False), ("3.4.1", False, False), ("3.5", True, False), ("3.6.0", True, True),
    ("4.1", True, True), ("v4.0.5", True, True),
])  # fmt: skip
def test_each_version_gets_only_the_edits_that_it_needs(version, delay, mutexes):
    text = to_yaml([for_version(build("retrain"), version)])
    assert ("deleteDelayDuration" in text) is delay
    assert ("mutexes:" in text) is mutexes
    assert ("container-runtime-executor" in text) is (version == "3.3")


@pytest.mark.parametrize("version", ["3.2", "2", "new", ""])
def test_a_version_that_is_too_old_is_refused(version):
    with pytest.raises(UnknownNameError, match=r"write a version from 3\.3 on"):
        for_version(build("cleanup"), version)


def test_two_mutexes_cannot_be_written_for_an_old_argo():
    manifest = build("rollback")
    manifest["spec"]["templates"][0]["synchronization"]["mutexes"].append({"name": "other"})
    with pytest.raises(UnknownNameError, match=r"rollback has 2 mutexes; Argo before 3\.6 knows exactly one mutex"):
        for_version(manifest, "3.3")


def test_the_original_is_left_alone():
    manifest = build("retrain")
    before = to_yaml([manifest])
    for_version(manifest, "3.3")
    with_values(manifest, {"models": "als"})
    assert to_yaml([manifest]) == before


def test_values_become_the_defaults():
    changed = with_values(build("retrain"), {"models": "als"})
    assert {p["name"]: p["value"] for p in changed["spec"]["arguments"]["parameters"]}["models"] == "als"


def test_unknown_names_are_answered_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="there is no workflow 'train'; there are retrain, batch-predict"):
        build("train")
    with pytest.raises(UnknownNameError, match="cleanup has no parameter 'keep'; it has keep-snapshots, keep-runs"):
        check_parameters(build("cleanup"), {"keep": "1"})
    with pytest.raises(UnknownNameError, match="parameter dry-run is 'maybe'; it may be false, true"):
        check_parameters(build("cleanup"), {"dry-run": "maybe"})
