"""Writes workflows as YAML, for the newest Argo or, with a few edits, for older ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

from workflows.catalog import Manifest, UnknownNameError

OLDEST = (3, 3)
PLURALS_SINCE = (3, 6)
"""`schedules`, `mutexes`, `semaphores`; before it was `schedule`, `mutex`, `semaphore`."""
DELETE_DELAY_SINCE = (3, 5)
ONLY_EMISSARY_SINCE = (3, 4)
EXECUTOR = "workflows.argoproj.io/container-runtime-executor"


def to_yaml(manifests: Iterable[Manifest]) -> str:
    """The objects as YAML documents, in the order of their own fields."""
    return "---\n".join(
        yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True, width=120) for manifest in manifests
    )


def with_values(manifest: Manifest, parameters: Mapping[str, str]) -> Manifest:
    """The workflow with other defaults for its parameters."""
    changed = copy.deepcopy(manifest)
    for parameter in changed["spec"].get("arguments", {}).get("parameters", []):
        if parameter["name"] in parameters:
            parameter["value"] = parameters[parameter["name"]]
    return changed


def for_version(manifest: Manifest, version: str) -> Manifest:
    """The object as that version of Argo understands it."""
    try:
        major, minor = (int(part) for part in version.removeprefix("v").split(".")[:2])
    except ValueError:
        major, minor = 0, 0
    if (major, minor) < OLDEST:
        raise UnknownNameError(f"--argo is {version!r}; write a version from 3.3 on, as in --argo 3.3")
    changed = copy.deepcopy(manifest)
    if (major, minor) < PLURALS_SINCE:
        _singular(changed)
    if (major, minor) < DELETE_DELAY_SINCE:
        for holder in _maps(changed):
            holder.get("podGC", {}).pop("deleteDelayDuration", None)
    if (major, minor) < ONLY_EMISSARY_SINCE:
        _label_executor(changed)
        # Under the old executor a pod has no container "init": the patch would make one without an image.
        for holder in (changed["spec"], *changed["spec"].get("templates", [])):
            holder.pop("podSpecPatch", None)
    return changed


def _singular(manifest: Manifest) -> None:
    for holder in _maps(manifest):
        for plural, singular in (("mutexes", "mutex"), ("semaphores", "semaphore"), ("schedules", "schedule")):
            if plural not in holder:
                continue
            listed = holder.pop(plural)
            if len(listed) != 1:
                name = manifest["metadata"]["name"]
                raise UnknownNameError(
                    f"{name} has {len(listed)} {plural}; Argo before 3.6 knows exactly one {singular}"
                )
            holder[singular] = listed[0]


def _label_executor(manifest: Manifest) -> None:
    """Where the old cluster's controller chooses an executor by label, these workflows ask for k8sapi."""
    if manifest["kind"] == "WorkflowTemplate" or manifest["kind"] == "CronWorkflow":
        labels = manifest["spec"].setdefault("workflowMetadata", {}).setdefault("labels", {})
    else:
        labels = manifest["metadata"].setdefault("labels", {})
    labels[EXECUTOR] = "k8sapi"


def _maps(value: Any) -> Iterable[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in list(value.values()):
            yield from _maps(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _maps(inner)
