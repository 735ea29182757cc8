"""Everything rendered is valid by Argo 4's own types, strictly, and by its linter."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cron.schedules import CRONS
from cron.schedules import build as build_cron
from workflows.catalog import DESCRIPTIONS, build
from workflows.cluster.contract import workflow
from workflows.render import to_yaml

PACKAGE = "@kubernetes-models/argo-workflows@2.0.0"
CHECK = Path(__file__).with_name("schemas") / "check.mjs"


def everything():
    submitted = workflow("retrain", "retrain-20261121-1", {"models": "als"}, labels={"a": "b"}, annotations={"c": "d"})
    return [*(build(name) for name in DESCRIPTIONS), *(build_cron(cron) for cron in CRONS), submitted]


@pytest.fixture(scope="session")
def schemas():
    """The folder with Argo's types: ARGO_SCHEMAS, else fetched once into a cache."""
    given = os.environ.get("ARGO_SCHEMAS", "")
    if not shutil.which("node"):
        pytest.skip("node is not installed; it runs the validators of Argo's types")
    if given:
        return Path(given)
    cache = (
        Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser()
        / "recommender-tests"
        / "argo-schemas-2.0.0"
    )
    if (cache / "complete").exists():
        return cache
    if not shutil.which("npm"):
        pytest.skip("npm is not installed, and ARGO_SCHEMAS names no folder with Argo's types")
    cache.mkdir(parents=True, exist_ok=True)
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts", PACKAGE]
    try:
        fetched = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=120, check=False)
    except subprocess.TimeoutExpired:
        pytest.skip("the npm registry did not answer in time, and ARGO_SCHEMAS names no folder")
    if fetched.returncode != 0:
        pytest.skip(f"npm could not fetch {PACKAGE}: {fetched.stderr.strip()[-200:]}")
    (cache / "complete").touch()
    return cache


def problems(schemas, manifests):
    command = ["node", str(CHECK), str(schemas)]
    checked = subprocess.run(
        command,
        input=json.dumps([adapted(one) for one in manifests]),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    return json.loads(checked.stdout)


def adapted(manifest):
    """Two places where the package differs from the definitions that a cluster has (manifests/base/crds/full).

    There a container of a template needs no name, and a parameter has a description.
    """
    changed = copy.deepcopy(manifest)
    spec = changed["spec"]
    for parameter in spec.get("arguments", {}).get("parameters", []):
        assert isinstance(parameter.pop("description", ""), str)
    for template in spec.get("templates", []):
        if "container" in template:
            template["container"].setdefault("name", "main")
    return changed


def test_everything_rendered_is_valid(schemas):
    assert problems(schemas, everything()) == []


@pytest.mark.parametrize(("path", "value", "said"), [
    (("spec", "entrypont"), "x", "unknown field spec.entrypont"),
    (("spec", "podGC", "strategy"), "Never", "/spec/podGC/strategy: enum"),
    (("spec", "activeDeadlineSeconds"), "1h", "/spec/activeDeadlineSeconds: type integer"),
    (("spec", "templates", 0, "retryStrategy", "retryPolicy"), "always", "/retryStrategy/retryPolicy: enum"),
    (("spec", "templates", 0, "container", "imagePullPolicyy"), "x", "[0].container.imagePullPolicyy"),
    (("spec", "templates", 0, "container", "securityContext", "root"), 1, "unknown field"),
    (("spec", "templates", 0, "container", "image"), 3, "/spec/templates/0/container/image: type string"),
    (("spec", "templates", 0, "volumes", 0, "emptyDir", "size"), "1", "templates[0].volumes[0].emptyDir.size"),
])  # fmt: skip
def test_the_check_catches_unknown_fields_types_and_enums(schemas, path, value, said):
    broken = build("retrain")
    holder = broken
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    found = problems(schemas, [broken])
    assert len(found) == 1
    assert said in found[0]


def test_the_check_catches_a_cron_that_argo_4_does_not_know(schemas):
    broken = build_cron(CRONS[0])
    broken["spec"]["schedule"] = broken["spec"].pop("schedules")[0]
    broken["spec"]["concurrencyPolicy"] = "Never"
    found = " ".join(problems(schemas, [broken]))
    assert "unknown field spec.schedule" in found
    assert "required schedules" in found
    assert "/spec/concurrencyPolicy: enum" in found


@pytest.mark.skipif(not shutil.which("argo"), reason="there is no argo command on the PATH")
def test_argo_lint_accepts_everything(tmp_path):
    (tmp_path / "all.yaml").write_text(to_yaml(everything()))
    linted = subprocess.run(["argo", "lint", "--offline", str(tmp_path)], capture_output=True, text=True, check=False)
    assert linted.returncode == 0, linted.stdout + linted.stderr


@pytest.mark.skipif(not shutil.which("argo"), reason="there is no argo command on the PATH")
def test_argo_lint_would_notice(tmp_path):
    broken = build("retrain")
    dag = next(template["dag"] for template in broken["spec"]["templates"] if "dag" in template)
    dag["tasks"][0]["template"] = "nowhere"
    (tmp_path / "all.yaml").write_text(to_yaml([broken]))
    linted = subprocess.run(["argo", "lint", "--offline", str(tmp_path)], capture_output=True, text=True, check=False)
    assert linted.returncode == 1
    assert "nowhere" in linted.stdout + linted.stderr
