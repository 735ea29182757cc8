"""What is written for Argo 3.3 has no field that Argo 3.3.8 does not know, and no value of another type.

The Python client that the Argo project published for each release carries its types; number 6.3.8 is that of 3.3.8.
"""

from __future__ import annotations

import copy
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cron.schedules import CRONS
from cron.schedules import build as build_cron
from workflows.catalog import DESCRIPTIONS, build
from workflows.render import for_version

PACKAGE = "argo-workflows==6.3.8"
PREFIX = "io_argoproj_workflow_v1alpha1_"
INT_OR_STRING = {"limit", "factor", "activeDeadlineSeconds"}
"""Written as 3 or as "3"; the client knows only the second."""


def everything(version="3.3"):
    rendered = [*(build(name) for name in DESCRIPTIONS), *(build_cron(cron) for cron in CRONS)]
    return [for_version(one, version) for one in rendered]


@pytest.fixture(scope="module")
def types():
    """A function from a kind to the client's class for it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "recommender-tests" / PACKAGE
    if not (cache / "complete").exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(cache), PACKAGE]
        try:
            fetched = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip(f"{PACKAGE} did not come in time")
        if fetched.returncode != 0:
            pytest.skip(f"pip could not fetch {PACKAGE}: {fetched.stderr.strip()[-200:]}")
        (cache / "complete").touch()
    sys.path.append(str(cache))
    pytest.importorskip("dateutil", reason="the client of Argo imports it")

    def of(kind):
        module = PREFIX + {"WorkflowTemplate": "workflow_template", "CronWorkflow": "cron_workflow"}[kind]
        name = "IoArgoprojWorkflowV1alpha1" + kind
        return getattr(importlib.import_module(f"argo_workflows.model.{module}"), name)

    yield of
    sys.path.remove(str(cache))


def problems(types, one):
    return list(wrong(types(one["kind"]), one, one["metadata"]["name"]))


def wrong(wanted, value, path):
    """Every place below, as `retrain.spec.schedules`, where the value is not what the client's type says."""
    if isinstance(wanted, list):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for number, one in enumerate(value):
            yield from wrong(wanted[0], one, f"{path}[{number}]")
    elif isinstance(wanted, dict):
        for key, one in value.items():
            yield from wrong(wanted[str][0], one, f"{path}.{key}")
    elif hasattr(wanted, "attribute_map"):
        yield from wrong_fields(wanted, value, path)
    elif type(value) is not wanted and not (isinstance(value, int) and path.rpartition(".")[2] in INT_OR_STRING):
        yield f"{path} is {value!r}, which is no {wanted.__name__}"


def wrong_fields(wanted, value, path):
    if not wanted.attribute_map:
        return  # anything goes, as in a quantity
    own = {theirs: ours for ours, theirs in wanted.attribute_map.items()}
    for key, one in value.items():
        if key not in own:
            yield f"{path}.{key} is unknown"
        elif len(known := wanted.openapi_types[own[key]]) == 1:  # more of them mean that anything goes
            yield from wrong(known[0], one, f"{path}.{key}")


@pytest.mark.parametrize("one", everything(), ids=lambda one: one["metadata"]["name"])
def test_argo_3_3_8_knows_every_field(types, one):
    assert problems(types, one) == []


def test_what_is_written_for_argo_4_is_not_for_it(types):
    found = [said for one in everything("4.1") for said in problems(types, one)]
    fields = {said.split(" ")[0].rpartition(".")[2] for said in found}
    assert fields == {"schedules", "mutexes", "deleteDelayDuration"}


@pytest.mark.parametrize(("path", "value", "said"), [
    (("spec", "entrypont"), "x", "spec.entrypont is unknown"),
    (("spec", "activeDeadlineSeconds"), "1h", "spec.activeDeadlineSeconds is '1h', which is no int"),
    (("spec", "templates", 0, "container", "imagePullPolicyy"), "x", "container.imagePullPolicyy is unknown"),
    (("spec", "templates", 0, "container", "args"), "x", "container.args is no list"),
    (("spec", "templates", 0, "volumes", 0, "emptyDir", "size"), "1", "emptyDir.size is unknown"),
])  # fmt: skip
def test_the_check_catches_unknown_fields_and_wrong_types(types, path, value, said):
    broken = holder = copy.deepcopy(for_version(build("retrain"), "3.3"))
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    (found,) = problems(types, broken)
    assert said in found
