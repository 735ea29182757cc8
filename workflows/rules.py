"""Rules for rendered objects that no schema knows: names that must exist, outputs that must be reachable, hardening."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from workflows.runner.expressions import RESULTS, ExpressionError, dependencies
from workflows.runner.substitution import tags

Manifest = Mapping[str, Any]
GLOBALS = (
    "workflow.name", "workflow.namespace", "workflow.uid", "workflow.status", "workflow.failures", "workflow.duration",
    "workflow.parameters", "workflow.creationTimestamp", "workflow.scheduledTime", "workflow.serviceAccountName",
    "workflow.mainEntrypoint", "retries", "pod.name", "node.name", "item", "inputs.parameters",
)  # fmt: skip
OPEN = ("workflow.creationTimestamp.", "workflow.labels.", "workflow.annotations.", "item.", "lastRetry.")


class RuleError(ValueError):
    """An object that breaks a rule, with every rule that it breaks."""


def must_hold(manifests: Sequence[Manifest]) -> None:
    """Raises with all that is wrong with these objects, seen together."""
    found = list(broken(manifests))
    if found:
        raise RuleError("; ".join(found))


def broken(manifests: Sequence[Manifest]) -> Iterator[str]:
    """One sentence for each rule that is broken."""
    known = {m["metadata"]["name"]: m for m in manifests if m["kind"] == "WorkflowTemplate"}
    for manifest in manifests:
        for sentence in _broken(manifest, known):
            yield f"{manifest['kind']} {manifest['metadata']['name']}: {sentence}"


def _broken(manifest: Manifest, known: Mapping[str, Manifest]) -> Iterator[str]:
    if len(manifest["metadata"]["name"]) > (52 if manifest["kind"] == "CronWorkflow" else 63):
        yield "its name is too long: a CronWorkflow has 52 characters at most, anything else 63"
    if manifest["kind"] == "CronWorkflow":
        yield from cron(manifest, known)
        return
    spec = manifest["spec"]
    if "workflowTemplateRef" in spec:
        yield from reference(spec, known)
        return
    templates = {template["name"]: template for template in spec.get("templates", [])}
    if len(templates) != len(spec.get("templates", [])):
        yield "two templates have the same name"
    for field in ("entrypoint", "onExit"):
        if field in spec and spec[field] not in templates:
            yield f"{field} names {spec[field]!r}, which is no template of it"
    if "entrypoint" not in spec:
        yield "it has no entrypoint"
    parameters = {f"workflow.parameters.{name}" for name in names(spec.get("arguments", {}))}
    for template in templates.values():
        for check in CHECKS:
            for sentence in check(template, templates, parameters, spec):
                yield f"template {template['name']}: {sentence}"


def cron(manifest: Manifest, known: Mapping[str, Manifest]) -> Iterator[str]:
    spec = manifest["spec"]
    if not spec.get("timezone"):
        yield "it has no timezone; without one it follows the controller's clock"
    if "suspend" in spec:
        yield "it sets suspend; applying it would resume what someone has suspended"
    if not (spec.get("schedules") or spec.get("schedule")):
        yield "it has no schedule"
    yield from reference(spec["workflowSpec"], known)


def reference(spec: Manifest, known: Mapping[str, Manifest]) -> Iterator[str]:
    template = spec.get("workflowTemplateRef", {}).get("name", "")
    if template not in known:
        yield f"it refers to the WorkflowTemplate {template!r}, which is not there"
        return
    allowed = names(known[template]["spec"].get("arguments", {}))
    for name in names(spec.get("arguments", {})):
        if name not in allowed:
            yield f"it gives {name!r}, which {template} does not have"


Check = Callable[[Manifest, Mapping[str, Manifest], set[str], Manifest], Iterator[str]]


def tasks_exist(template: Manifest, templates: Mapping[str, Manifest], _: set[str], spec: Manifest) -> Iterator[str]:
    """Templates and tasks that are named are there, and get the arguments that they need."""
    tasks = template.get("dag", {}).get("tasks", [])
    present = {task["name"] for task in tasks}
    for task in tasks:
        if task.get("template") not in templates:
            yield f"task {task['name']} names the template {task.get('template')!r}, which is not there"
            continue
        wanted = templates[task["template"]].get("inputs", {}).get("parameters", [])
        given = names(task.get("arguments", {}))
        for parameter in wanted:
            if parameter["name"] not in given and not {"value", "default", "valueFrom"} & set(parameter):
                yield f"task {task['name']} does not give {parameter['name']!r} to {task['template']}"
        for name in given:
            if name not in {parameter["name"] for parameter in wanted}:
                yield f"task {task['name']} gives {name!r}, which {task['template']} does not take"
        yield from _depends(task, present)
    yield from _cycle(tasks)


def _depends(task: Manifest, present: set[str]) -> Iterator[str]:
    if "dependencies" in task:
        yield f"task {task['name']} uses dependencies, which also run after a skipped task; write depends"
    try:
        named = dependencies(task.get("depends", ""))
    except ExpressionError as error:
        yield f"task {task['name']}: {error}"
        return
    for other, results in named.items():
        if other not in present:
            yield f"task {task['name']} depends on {other!r}, which is not there"
        for result in results:
            if result not in RESULTS:
                yield f"task {task['name']} depends on {other} without a result, or with an unknown one: {result!r}"


def _cycle(tasks: Sequence[Manifest]) -> Iterator[str]:
    try:
        left = {task["name"]: set(dependencies(task.get("depends", ""))) for task in tasks}
    except ExpressionError:
        return
    while left:
        free = [name for name, needs in left.items() if not needs & set(left)]
        if not free:
            yield f"tasks {', '.join(sorted(left))} wait for one another"
            return
        for name in free:
            del left[name]


def tags_resolve(
    template: Manifest, templates: Mapping[str, Manifest], parameters: set[str], spec: Manifest
) -> Iterator[str]:
    """Every tag stands for something: a parameter, or an output of a task before this one."""
    inputs = {f"inputs.parameters.{name}" for name in names(template.get("inputs", {}))}
    tasks = template.get("dag", {}).get("tasks", [])
    plain = {key: value for key, value in template.items() if key != "dag"}
    outputs = {tag for task in tasks for tag in task_outputs(task, templates)}
    for tag in tags(plain):
        if not resolves(tag, inputs | parameters | outputs):
            yield f"{{{{{tag}}}}} stands for nothing"
    for task in tasks:
        before = ancestors(task["name"], {one["name"]: one for one in tasks})
        reachable = {tag for one in tasks if one["name"] in before for tag in task_outputs(one, templates)}
        for tag in tags(task):
            if not resolves(tag, inputs | parameters | reachable):
                yield f"task {task['name']}: {{{{{tag}}}}} stands for nothing, or for a task that is not before it"
            elif tag.split(".")[0] == "item" and not {"withItems", "withParam", "withSequence"} & set(task):
                yield f"task {task['name']} uses {{{{{tag}}}}} without items"


def resolves(tag: str, known: set[str]) -> bool:
    return tag in known or tag in GLOBALS or tag.startswith(OPEN)


def task_outputs(task: Manifest, templates: Mapping[str, Manifest]) -> Iterator[str]:
    prefix = f"tasks.{task['name']}"
    yield from (f"{prefix}.status", f"{prefix}.outputs.parameters")
    for name in names(templates.get(task.get("template", ""), {}).get("outputs", {})):
        yield f"{prefix}.outputs.parameters.{name}"


def ancestors(name: str, tasks: Mapping[str, Manifest]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        try:
            needs = set(dependencies(tasks[waiting.pop()].get("depends", "")))
        except (ExpressionError, KeyError):
            continue
        waiting += needs - found
        found |= needs
    return found


def outputs_reachable(template: Manifest, *_: object) -> Iterator[str]:
    """Under the k8sapi executor, and with a read-only root, an output must lie on a mounted volume."""
    if "container" not in template:
        return
    mounts = [mount["mountPath"] for mount in template["container"].get("volumeMounts", [])]
    for parameter in template.get("outputs", {}).get("parameters", []):
        path = parameter.get("valueFrom", {}).get("path", "")
        if not any(PurePosixPath(path).is_relative_to(mount) and path != mount for mount in mounts):
            yield f"output {parameter['name']} at {path!r} is not below a mounted volume"


def volumes_match(
    template: Manifest, templates: Mapping[str, Manifest], parameters: set[str], spec: Manifest
) -> Iterator[str]:
    """A mount has its volume, and a volume its mount."""
    if "container" not in template:
        return
    declared = {volume["name"] for volume in template.get("volumes", [])}
    shared = {volume["name"] for volume in spec.get("volumes", [])}
    mounted = [mount["name"] for mount in template["container"].get("volumeMounts", [])]
    paths = [mount["mountPath"] for mount in template["container"].get("volumeMounts", [])]
    for name in mounted:
        if name not in declared | shared:
            yield f"it mounts the volume {name!r}, which is not there"
    for name in sorted(declared - set(mounted)):
        yield f"it has the volume {name!r}, which it does not mount"
    if len(set(paths)) != len(paths):
        yield "two volumes are mounted at the same path"


def container_complete(
    template: Manifest, templates: Mapping[str, Manifest], parameters: set[str], spec: Manifest
) -> Iterator[str]:
    """Command, image with a tag, resources, retries and deadline are written out, and the container is hardened."""
    if "container" not in template:
        return
    container = template["container"]
    if not container.get("command"):
        yield "its container has no command, so Argo would ask a registry for it"
    if ":" not in container.get("image", "").rpartition("/")[2]:
        yield f"its image {container.get('image')!r} has no tag"
    for kind in ("requests", "limits"):
        if not {"cpu", "memory"} <= set(container.get("resources", {}).get(kind, {})):
            yield f"its container has no {kind} of cpu and memory"
    context = container.get("securityContext", {})
    hardened = {"runAsNonRoot": True, "readOnlyRootFilesystem": True, "allowPrivilegeEscalation": False}
    for field, wanted in hardened.items():
        if context.get(field) is not wanted:
            yield f"its container does not have {field}: {str(wanted).lower()}"
    if context.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "its container does not drop all capabilities"
    pod = template.get("securityContext") or spec.get("securityContext", {})
    if not pod.get("runAsNonRoot") or pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "its pod is not hardened: runAsNonRoot and the seccomp profile RuntimeDefault"
    if "activeDeadlineSeconds" not in template:
        yield "it has no activeDeadlineSeconds"
    strategy = template.get("retryStrategy")
    if strategy is not None and not (strategy.get("retryPolicy") and strategy.get("expression")):
        yield "its retryStrategy needs both a retryPolicy and an expression"


CHECKS: tuple[Check, ...] = (tasks_exist, tags_resolve, outputs_reachable, volumes_match, container_complete)


def names(holder: Manifest) -> set[str]:
    return {parameter["name"] for parameter in holder.get("parameters", [])}
