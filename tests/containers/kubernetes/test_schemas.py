"""Every object is valid, strictly, for Kubernetes 1.30 to the newest, and by the definitions of those who extend it."""

from __future__ import annotations

import copy
import functools
import importlib.resources
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

SCHEMAS = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema"
SINCE = (1, 30)
VERSIONS = sorted(
    (int(found[1]), int(found[2]))
    for found in (re.fullmatch(r"v(\d+)\.(\d+)\..*-strict", folder.name) for folder in SCHEMAS.iterdir())
    if found and (int(found[1]), int(found[2])) >= SINCE
)
# Where the definitions of kinds that are not Kubernetes' own are published: a Go module, and a file in it.
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
OPENSHIFT = "github.com/openshift/api@v0.0.0-20240524162738-d899f8877d22"
EXTENSIONS = {
    "PrometheusRule": (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    "ServiceMonitor": (OPERATOR, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    "Route": (OPENSHIFT, "route/v1/zz_generated.crd-manifests/routes-Default.crd.yaml"),
}
ALTERNATIVES = ("allOf", "anyOf", "oneOf", "not")


@functools.cache
def kubernetes(version):
    """One version's definitions: the validator of an object by its API version and kind."""
    folder = SCHEMAS / f"v{version[0]}.{version[1]}.0-local-strict"
    definitions = json.loads((folder / "_definitions.json").read_text(encoding="utf-8"))
    registry = Registry().with_resource("k8s", Resource(definitions, DRAFT202012))
    found = {}
    for name, definition in definitions["$defs"].items():
        for one in definition.get("x-kubernetes-group-version-kind", []):
            api = f"{one['group']}/{one['version']}" if one["group"] else one["version"]
            found[api, one["kind"]] = Draft202012Validator({"$ref": f"k8s#/$defs/{name}"}, registry=registry)
    return found


@functools.cache
def extension(kind):
    """The validator of a kind that a cluster learns from a CustomResourceDefinition."""
    module, path = EXTENSIONS[kind]
    definition = yaml.safe_load((downloaded(module) / path).read_text(encoding="utf-8"))
    schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object"}
    return Draft202012Validator(strict(schema))


def strict(schema):
    """A definition as the API server reads it: no field but those that it names, and 80 or "80" where it says so."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    # What alternatives say of a part of the fields is no list of all of them.
    changed = {key: value if key in ALTERNATIVES else strict(value) for key, value in schema.items()}
    if "properties" in schema:
        # Not through strict() itself: a property may be called "properties" or "items".
        changed["properties"] = {name: strict(one) for name, one in schema["properties"].items()}
        if schema.get("type") == "object" and not schema.get("x-kubernetes-preserve-unknown-fields"):
            changed.setdefault("additionalProperties", False)
    return changed


@functools.cache
def downloaded(module):
    if not shutil.which("go"):
        pytest.skip(f"there is no Go to fetch the definitions of {module}")
    try:
        done = subprocess.run(
            ["go", "mod", "download", "-json", module], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        pytest.skip(f"{module} did not come in time")
    if done.returncode != 0:
        pytest.skip(f"Go could not fetch {module}: {(done.stdout + done.stderr).strip()[-200:]}")
    return Path(json.loads(done.stdout)["Dir"])


def problems(validator, one):
    return [f"{one['kind']} {one['metadata']['name']}: {error.json_path}: {error.message}" for error in
            validator.iter_errors(one)]  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: f"{version[0]}.{version[1]}")
def test_every_object_is_valid_for_each_version_of_kubernetes(objects, version):
    known = kubernetes(version)
    own = [one for one in objects if one["kind"] not in EXTENSIONS]
    assert own
    assert [said for one in own for said in problems(known[one["apiVersion"], one["kind"]], one)] == []


@pytest.mark.parametrize("kind", EXTENSIONS)
def test_every_object_of_another_api_is_valid_by_its_definition(every, kind):
    found = [one for overlay in every.values() for one in overlay.of(kind)]
    assert found
    assert [said for one in found for said in problems(extension(kind), one)] == []


def put(holder, path, value):
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value


POD = ("spec", "template", "spec")


@pytest.mark.parametrize(("name", "path", "value"), [
    ("Deployment", ("spec", "replica"), 2),
    ("Deployment", (*POD, "securityContext", "runAsNonRoot"), "yes"),
    ("Deployment", (*POD, "containers", 0, "readinessProbe", "periodSecond"), 5),
    ("Deployment", (*POD, "containers", 0, "ports", 0, "containerPort"), "http"),
    ("Deployment", (*POD, "volumes", 0, "emptyDir", "size"), "1Gi"),
    ("Service", ("spec", "ports", 0, "target"), 80),
    ("NetworkPolicy", ("spec", "podselector"), {}),
    ("Role", ("rules", 0, "verb"), ["get"]),
])  # fmt: skip
def test_the_check_catches_unknown_fields_and_wrong_types(kind, name, path, value):
    broken = copy.deepcopy(kind.of(name)[-1])
    put(broken, path, value)
    found = problems(kubernetes(VERSIONS[-1])[broken["apiVersion"], name], broken)
    assert len(found) == 1
    assert str(path[-1]) in found[0]


@pytest.mark.parametrize(("name", "path", "value"), [
    ("Route", ("spec", "tls", "terminatoin"), "edge"),
    ("Route", ("spec", "tls", "termination"), "none"),
    ("ServiceMonitor", ("spec", "endpoints", 0, "scheme"), "tls"),
    ("ServiceMonitor", ("spec", "endpoints", 0, "ports"), "metrics"),
    ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expression"), "up"),
    ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "for"), "a day"),
])  # fmt: skip
def test_the_check_of_other_apis_catches_them_too(every, name, path, value):
    broken = copy.deepcopy(next(one for overlay in every.values() for one in overlay.of(name)))
    put(broken, path, value)
    assert len(problems(extension(name), broken)) == 1
