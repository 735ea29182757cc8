"""Reads the nodes of a Workflow's status into the tree that the local runner shows too."""

from __future__ import annotations

import base64
import gzip
import json
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from workflows.cluster.contract import Waiting
from workflows.runner.tree import SELDOM, Node, Phase, Tree

LEAVES = ("Pod", "Retry", "Skipped", "Suspend", "HTTP", "Plugin")


def nodes(workflow: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The nodes by id; those of a big workflow are compressed, or kept elsewhere and then not known here."""
    status = workflow.get("status", {})
    packed = status.get("compressedNodes")
    if not packed:
        return status.get("nodes") or {}
    try:
        found: dict[str, Mapping[str, Any]] = json.loads(gzip.decompress(base64.b64decode(packed)))
    except (OSError, ValueError):
        return {}  # another compression, which Argo 4.1 may be set to: the phase still shows
    return found


def read(workflow: Mapping[str, Any]) -> Tree:
    """The tree of a Workflow as it is now."""
    name = workflow["metadata"]["name"]
    status = workflow.get("status", {})
    tree = Tree(name)
    root = tree.root
    root.phase = phase(status)
    root.message = status.get("message", "")
    found = nodes(workflow)
    retried = attempts(found)
    rare = seldom(workflow)
    made: dict[str, Node] = {}
    for key, raw in sorted(found.items(), key=lambda pair: (pair[1].get("startedAt") or "", pair[1]["name"])):
        if key in retried or raw["name"] == name:
            continue
        made[key] = node(raw, name, found)
        made[key].seldom = raw.get("type") == "Suspend" or raw.get("templateName") in rare
    for key, one in made.items():
        parent = parent_of(key, found)
        if parent in made:
            made[parent].children.append(one)
        elif one.path == "onExit":
            tree.roots.append(one)
        else:
            root.children.append(one)
    return tree


def seldom(workflow: Mapping[str, Any]) -> set[str]:
    """The templates of a Workflow's own copy of its WorkflowTemplate that mostly do not run."""
    return {template["name"] for template in templates(workflow) if SELDOM & set(template)}


def templates(workflow: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    spec = workflow.get("status", {}).get("storedWorkflowTemplateSpec") or workflow.get("spec", {})
    found: list[Mapping[str, Any]] = spec.get("templates", [])
    return found


def attempts(found: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Ids of the nodes that are one attempt of a Retry node, which stands for them."""
    names = {raw["name"] for raw in found.values() if raw.get("type") == "Retry"}
    return {key for key, raw in found.items() if raw["name"].rpartition("(")[0] in names and raw["name"].endswith(")")}


def parent_of(key: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """A fan-out's item belongs to its group; everything else to the DAG around it."""
    raw = found[key]
    for other, candidate in found.items():
        if candidate.get("type") == "TaskGroup" and other != key and raw["name"].startswith(candidate["name"] + "("):
            return other
    return str(raw.get("boundaryID", ""))


def node(raw: Mapping[str, Any], workflow: str, found: Mapping[str, Mapping[str, Any]]) -> Node:
    one = Node(
        path=raw["name"].removeprefix(f"{workflow}."),
        name=raw.get("displayName") or raw["name"],
        template=raw.get("templateName", ""),
        leaf=raw.get("type") in LEAVES,
        phase=phase(raw),
        message=raw.get("message", ""),
        outputs={p["name"]: str(p.get("value", "")) for p in raw.get("outputs", {}).get("parameters", [])},
    )
    if one.path == "onExit" or raw["name"] == f"{workflow}.onExit":
        one.name = "onExit"
    if raw.get("type") == "Retry":
        tries = [found[child] for child in raw.get("children", []) if child in found]
        one.attempts = len(tries)
        if one.phase.bad and tries:
            # Of itself it only says that there are no more retries, and not why the last one failed.
            one.message = tries[-1].get("message") or one.message
    elif raw.get("type") == "Pod":
        one.attempts = 1
    began, ended = seconds(raw.get("startedAt")), seconds(raw.get("finishedAt"))
    if began:
        one.seconds = max(0.0, (ended or time.time()) - began)
        one.started = time.monotonic() - max(0.0, time.time() - began)
    return one


def phase(holder: Mapping[str, Any]) -> Phase:
    try:
        return Phase(holder.get("phase") or "Pending")
    except ValueError:
        return Phase.PENDING


def seconds(text: str | None) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC).timestamp() if text else 0.0


def pod_names(workflow: Mapping[str, Any]) -> dict[str, str]:
    """What to call each pod in a log: its step's name. Pods are named after the workflow, the template and the
    node's id."""
    found = {}
    name = workflow["metadata"]["name"]
    for key, raw in nodes(workflow).items():
        if raw.get("type") == "Pod":
            number = key.rpartition("-")[2]
            called = label(raw["name"], name)
            found[key] = called
            found[f"{name}-{raw.get('templateName', '')}-{number}"] = called
    return found


def waiting_nodes(workflow: Mapping[str, Any]) -> list[Waiting]:
    """The pods that have not begun, with the reason that the controller repeats from Kubernetes."""
    name = workflow["metadata"]["name"]
    images = {template["name"]: template.get("container", {}).get("image", "") for template in templates(workflow)}
    found = []
    for raw in nodes(workflow).values():
        if raw.get("type") == "Pod" and raw.get("phase") == "Pending":
            reason, _, message = raw.get("message", "").partition(": ")
            if not re.fullmatch(r"\w*", reason):
                reason, message = "", raw["message"]
            image = images.get(raw.get("templateName", ""), "")
            found.append(Waiting(label(raw["name"], name), reason, message, image))
    return found


def label(node_name: str, workflow: str) -> str:
    """`train(0:als)` for the first attempt of that node, `train(0:als) again 1` for the one after it."""
    path = node_name.removeprefix(f"{workflow}.")
    attempt = re.search(r"\((\d+)\)$", path)
    if attempt is None:
        return path
    plain = path[: attempt.start()]
    return plain if attempt.group(1) == "0" else f"{plain} again {attempt.group(1)}"
