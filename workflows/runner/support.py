"""What the runner understands of a workflow; everything else is refused before anything runs.

Three kinds of field: those it acts on, those that have no meaning on one machine (who runs a pod, how long its
object is kept), and all others. A field of the last kind would silently do less than on the cluster, so it is an
error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from workflows.runner.durations import seconds

Fields = Mapping[str, Any]

SPEC = {
    "entrypoint", "onExit", "arguments", "templates", "activeDeadlineSeconds", "parallelism", "synchronization",
}  # fmt: skip
SPEC_ELSEWHERE = {
    "serviceAccountName", "podGC", "ttlStrategy", "securityContext", "workflowMetadata", "podMetadata", "archiveLogs",
    "imagePullSecrets", "nodeSelector", "tolerations", "priority", "podPriorityClassName",
    "automountServiceAccountToken",
}  # fmt: skip
TEMPLATE = {
    "name", "inputs", "outputs", "container", "dag", "suspend", "retryStrategy", "activeDeadlineSeconds", "timeout",
    "synchronization", "parallelism", "volumes", "resource",
}  # fmt: skip
TEMPLATE_ELSEWHERE = {
    "metadata",
    "securityContext",
    "serviceAccountName",
    "nodeSelector",
    "tolerations",
    "priorityClassName",
}
CONTAINER = {"command", "args", "env", "envFrom", "volumeMounts"}
CONTAINER_ELSEWHERE = {"name", "image", "imagePullPolicy", "resources", "securityContext"}
TASK = {
    "name", "template", "arguments", "depends", "dependencies", "when", "withItems", "withParam", "withSequence",
}  # fmt: skip
RETRY = {"limit", "retryPolicy", "expression", "backoff"}
BACKOFF = {"duration", "factor", "maxDuration", "cap"}
INPUT = {"name", "default", "value", "enum", "description"}
OUTPUT = {"name", "valueFrom", "description"}
KINDS = ("container", "dag", "suspend", "resource")
NO_RESOURCE = "makes an object of a cluster's, which runs elsewhere"
ARGOS_OWN = {("initContainers", "init"), ("containers", "wait")}
POLICIES = {"Always", "OnFailure", "OnError"}


class UnsupportedError(ValueError):
    """A field that this runner cannot honour."""


def check(manifest: Fields) -> None:
    """Raises for the first field of a WorkflowTemplate or Workflow that the runner would not honour."""
    spec = manifest["spec"]
    _only(spec, SPEC | SPEC_ELSEWHERE | ({"podSpecPatch"} if _patches_argo(spec) else set()), "the workflow")
    _parameters(spec.get("arguments", {}), INPUT, "the workflow")
    _synchronization(spec, "the workflow")
    _lengths(spec, ("activeDeadlineSeconds",), "the workflow")
    _whole(spec, "parallelism", "the workflow")
    for template in spec.get("templates", []):
        _template(template)


def _patches_argo(spec: Fields) -> bool:
    """Whether the patch of pods is one of the rights of Argo's own containers, which do not exist here."""
    try:
        patch = json.loads(spec.get("podSpecPatch", ""))
        patched = [(part, container["name"], *container) for part, listed in patch.items() for container in listed]
    except (ValueError, TypeError, KeyError, AttributeError):
        return False
    return set(patched) <= {(part, name, "name", "securityContext") for part, name in ARGOS_OWN}


def _template(template: Fields) -> None:
    where = f"template {template.get('name')!r}"
    kinds = [kind for kind in KINDS if kind in template]
    # The patch of a pod that makes an object says nothing to this runner, which makes none; nor does it fail fast.
    known = {"podSpecPatch"} if kinds == ["resource"] else {"failFast"} if template.get("failFast") is False else set()
    _only(template, TEMPLATE | TEMPLATE_ELSEWHERE | known, where)
    if len(kinds) != 1:
        raise UnsupportedError(
            f"{where} has {' and '.join(kinds) or 'nothing to do'}; it needs one of {', '.join(KINDS)}"
        )
    _parameters(template.get("inputs", {}), INPUT, where)
    _parameters(template.get("outputs", {}), OUTPUT, where)
    _synchronization(template, where)
    _lengths(template, ("activeDeadlineSeconds", "timeout"), where)
    _whole(template, "parallelism", where)
    if "parallelism" in template and kinds != ["dag"]:
        raise UnsupportedError(f"{where} uses parallelism, which only a dag may")
    if "retryStrategy" in template:
        _retry(template["retryStrategy"], where)
    if kinds == ["container"]:
        _container(template, where)
    elif kinds == ["resource"]:
        return  # a workflow may hold one that is not wanted here: its node, if it comes to that, is an error
    elif kinds == ["dag"]:
        for field in ("retryStrategy", "activeDeadlineSeconds", "timeout"):
            if field in template:
                raise UnsupportedError(f"{where} uses {field} on a dag, which this runner does not support")
        _dag(template, where)
    else:
        _suspend(template, where)
    for output in template.get("outputs", {}).get("parameters", []):
        allowed = {
            "container": {"path", "default"},
            "dag": {"parameter", "default"},
            "suspend": {"supplied", "default"},
        }
        _only(output.get("valueFrom", {}), allowed[kinds[0]], f"output {output.get('name')!r} of {where}")


def _container(template: Fields, where: str) -> None:
    container = template["container"]
    _only(container, CONTAINER | CONTAINER_ELSEWHERE, f"the container of {where}")
    if not container.get("command"):
        raise UnsupportedError(f"the container of {where} has no command")
    for variable in container.get("env", []):
        _only(variable, {"name", "value", "valueFrom"}, f"env of {where}")
        _only(
            variable.get("valueFrom", {}),
            {"secretKeyRef", "configMapKeyRef"},
            f"env {variable.get('name')!r} of {where}",
        )
    for source in container.get("envFrom", []):
        _only(source, {"configMapRef", "secretRef"}, f"envFrom of {where}")
    for volume in template.get("volumes", []):
        # A claim is the store's volume on a cluster; here STORE says where the store is. The same with S3_CA_FILE
        # and a ConfigMap, if a step can do without it.
        known = {"name", "emptyDir", "persistentVolumeClaim"}
        known |= {"configMap"} if volume.get("configMap", {}).get("optional") else set()
        _only(volume, known, f"volume {volume.get('name')!r} of {where}")
    for mount in container.get("volumeMounts", []):
        _only(mount, {"name", "mountPath", "readOnly"}, f"volumeMounts of {where}")


def _dag(template: Fields, where: str) -> None:
    _only(template["dag"], {"tasks", "failFast"}, f"the dag of {where}")
    for task in template["dag"].get("tasks", []):
        named = f"task {task.get('name')!r} of {where}"
        _only(task, TASK, named)
        _parameters(task.get("arguments", {}), {"name", "value"}, named)
        _only(task.get("withSequence", {}), {"count", "start", "end", "format"}, f"withSequence of {named}")
        if sum(field in task for field in ("withItems", "withParam", "withSequence")) > 1:
            raise UnsupportedError(f"{named} has more than one of withItems, withParam, withSequence")


def _suspend(template: Fields, where: str) -> None:
    _only(template["suspend"] or {}, {"duration"}, f"suspend of {where}")
    _lengths(template["suspend"] or {}, ("duration",), where)
    for field in ("retryStrategy", "activeDeadlineSeconds", "timeout"):
        if field in template:
            raise UnsupportedError(f"{where} uses {field} on a suspend, which this runner does not support")


def _retry(strategy: Fields, where: str) -> None:
    _only(strategy, RETRY, f"retryStrategy of {where}")
    if strategy.get("retryPolicy", "OnFailure") not in POLICIES:
        raise UnsupportedError(
            f"retryPolicy of {where} is {strategy['retryPolicy']!r}; this runner supports {', '.join(sorted(POLICIES))}"
        )
    _whole(strategy, "limit", f"retryStrategy of {where}")
    backoff = strategy.get("backoff", {})
    _whole(backoff, "factor", f"backoff of {where}")
    _only(backoff, BACKOFF, f"backoff of {where}")
    _lengths(backoff, ("duration", "maxDuration", "cap"), where)


def _synchronization(holder: Fields, where: str) -> None:
    _only(holder.get("synchronization", {}), {"mutexes"}, f"synchronization of {where}")


def _parameters(holder: Fields, allowed: set[str], where: str) -> None:
    _only(holder, {"parameters"}, f"inputs, outputs or arguments of {where}")
    for parameter in holder.get("parameters", []):
        _only(parameter, allowed, f"parameter {parameter.get('name')!r} of {where}")


def _lengths(holder: Fields, names: Iterable[str], where: str) -> None:
    for name in names:
        if name in holder and "{{" not in str(holder[name]):
            try:
                seconds(holder[name])
            except ValueError as error:
                raise UnsupportedError(f"{name} of {where}: {error}") from error


def _whole(holder: Fields, name: str, where: str) -> None:
    if name in holder and not str(holder[name]).isdigit():
        raise UnsupportedError(f"{name} of {where} is {holder[name]!r}; it must be a whole number")


def _only(fields: Fields, allowed: set[str], where: str) -> None:
    for name in fields:
        if name not in allowed:
            raise UnsupportedError(f"{where} uses {name}, which this runner does not support")
