"""Follows a workflow on a cluster: the live tree, the logs, what its pods wait for, and what Ctrl-C is to mean."""

from __future__ import annotations

import json
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from workflows import results
from workflows.cluster import contract, status
from workflows.cluster.contract import Cluster, LostError, Waiting
from workflows.runner.display import Display, summary
from workflows.runner.tree import Phase, Tree

FAILED, LOST, INTERRUPTED = 1, 75, 130
STOP, LEAVE, KEEP = "stop", "leave", "keep"
PATIENCE = 20.0
"""Seconds after which a pod that waits for something else than its turn is worth a sentence."""
LONGER = 60.0
"""The same for a pod that is only said to be made, and for a workflow that no controller has taken up."""
ARGOS_OWN = re.compile(r"^time=\S+ level=(?:DEBUG|INFO) .*\bargo=true\b")
"""What Argo's executor writes into the log of a step, and is no news; its warnings and errors are."""
CAUSES = {
    "ErrImagePull": "image", "ImagePullBackOff": "image", "InvalidImageName": "image", "ErrImageNeverPull": "image",
    "CreateContainerConfigError": "config", "CreateContainerError": "container", "RunContainerError": "container",
    "Unschedulable": "room", "PodInitializing": "slow", "ContainerCreating": "slow",
}  # fmt: skip
"""What Kubernetes' reasons come to; it changes between those of one cause again and again."""


def see_through(cluster: Cluster, name: str, template: str, console: Console) -> int:
    """Shows the workflow until it has ended; the exit code is that of its end, or says why nobody waited for it."""
    display = Display(console)
    display.tree = Tree(name)
    names: dict[str, str] = {}
    talking = threading.Lock()

    def say(pod: str, row: str) -> None:
        text = readable(row)
        if text:
            with talking:  # nothing is printed between a question and its answer
                console.print(f"{names.get(pod, pod)} | {text}", markup=False, highlight=False, soft_wrap=True)

    reader = threading.Thread(target=read_logs, args=(cluster, name, say, console), name="logs", daemon=True)
    reader.start()
    notices = Notices(cluster, name, console)
    try:
        while not watched(cluster, name, display, names, notices):
            with talking:
                answer = asked(name, console)
            if answer == LEAVE:
                console.print(f"No longer following {name}; it goes on.", markup=False, highlight=False)
                commands(console, name, cluster.namespace)
                return INTERRUPTED
            if answer == STOP:
                cluster.stop(name)
                console.print(f"{name} is being stopped; its exit handler still runs.", markup=False, highlight=False)
        reader.join(5.0)
    except LostError as error:
        console.print(f"{error}; {name} goes on without us.", style="red", markup=False, highlight=False)
        commands(console, name, cluster.namespace)
        return LOST
    finally:
        cluster.close()
    return tell(display.tree, template, console, cluster.namespace)


def watched(cluster: Cluster, name: str, display: Display, names: dict[str, str], notices: Notices) -> bool:
    """Whether the workflow was seen to its end; not, where Ctrl-C was pressed before."""
    try:
        with display:
            for workflow in cluster.watch(name):
                names |= status.pod_names(workflow)
                show(display, workflow)
                notices.look(workflow)
    except KeyboardInterrupt:
        return False
    return True


def asked(name: str, console: Console) -> str:
    """What to do with a workflow whose follower was interrupted; where nobody can be asked, it is left alone."""
    if not (sys.stdin.isatty() and console.is_terminal):
        return LEAVE
    try:
        while True:
            console.print(f"\n{name}: stop it, leave it running, or keep following? [stop/leave/keep] (leave) ", end="",
                          markup=False, highlight=False)  # fmt: skip
            answer = sys.stdin.readline().strip().lower() or LEAVE
            found = [choice for choice in (STOP, LEAVE, KEEP) if choice.startswith(answer)]
            if found:
                return found[0]
    except KeyboardInterrupt:
        return LEAVE


def commands(console: Console, name: str, namespace: str) -> None:
    """What to type about a workflow that goes on; without the argo command, kubectl does it too."""
    for what, command in next_commands(name, namespace, argo=bool(shutil.which("argo"))).items():
        console.print(f"  {command}   # {what}", markup=False, highlight=False, soft_wrap=True)


def next_commands(name: str, namespace: str, *, argo: bool) -> dict[str, str]:
    found = {"follow it again": f"python workflows/submit.py --on argo -n {namespace} --follow {name}"}
    if argo:
        return found | {
            "its logs": f"argo logs {name} -n {namespace} --follow",
            "stop it": f"argo stop {name} -n {namespace}",
        }
    patch = """'{"spec":{"shutdown":"Stop"}}'"""
    return found | {
        "its state": f"kubectl get workflow {name} -n {namespace}",
        "stop it": f"kubectl patch workflow {name} -n {namespace} --type merge --patch {patch}",
    }


def show(display: Display, workflow: Mapping[str, Any]) -> None:
    tree = status.read(workflow)
    display.tree = tree
    for node in tree.leaves():
        display.changed(node)


@dataclass
class Notices:
    """Says once, in a sentence, what keeps a workflow from going on although nothing has failed."""

    cluster: Cluster
    name: str
    console: Console
    clock: Callable[[], float] = time.monotonic
    since: dict[tuple[str, str], float] = field(default_factory=dict)
    said: set[tuple[str, str]] = field(default_factory=set)

    def look(self, workflow: Mapping[str, Any]) -> None:
        if not workflow.get("status", {}).get("phase"):
            self.about(("", "controller"), LONGER, self.untouched)
            return
        for one in self.cluster.waiting(workflow):
            cause = CAUSES.get(one.reason)
            if cause is not None:
                self.about((one.pod, cause), LONGER if cause == "slow" else PATIENCE, lambda one=one: waits(one))  # type: ignore[misc]
        for raw in status.nodes(workflow).values():
            if raw.get("type") == "Suspend" and raw.get("phase") == "Running" and question(raw):
                self.about((raw["id"], "question"), 0.0, lambda raw=raw: self.question(raw))  # type: ignore[misc]

    def about(self, key: tuple[str, str], patience: float, sentence: Callable[[], str]) -> None:
        now = self.clock()
        if now - self.since.setdefault(key, now) >= patience and key not in self.said:
            self.said.add(key)
            self.console.print(sentence(), style="yellow", markup=False, highlight=False, soft_wrap=True)

    def untouched(self) -> str:
        return (
            f"no controller has taken up {self.name} for {LONGER:.0f} s: is Argo's workflow-controller running, and "
            f"does it watch namespace {self.cluster.namespace}? (kubectl get pods -A -l app=workflow-controller)"
        )

    def question(self, raw: Mapping[str, Any]) -> str:
        """What somebody must answer, and how. Resuming without an answer gives the default."""
        label, where = raw["displayName"], f"{self.name} -n {self.cluster.namespace}"
        inputs = raw.get("inputs", {}).get("parameters", [])
        asked = question(raw)
        lines = [f"{label}: {one['name']}: {one.get('value', '')}" for one in inputs if one["name"] not in asked]
        for name in asked:
            lines += [
                f"{label} waits for {name}: yes or no; no answer in time, or resuming without one, is no. To answer:",
                f"  argo node set {where} --node-field-selector displayName={label} --output-parameter {name}=yes",
                f"  argo resume {where}",
            ]
        return "\n".join(lines)


def question(raw: Mapping[str, Any]) -> list[str]:
    """The outputs that a suspended node still waits for."""
    outputs = raw.get("outputs", {}).get("parameters", [])
    return [one["name"] for one in outputs if "supplied" in one.get("valueFrom", {})]


def waits(one: Waiting) -> str:
    """What a pod waits for, and what can be done."""
    what = f" ({one.message.rstrip('.')})" if one.message else ""
    image = f"the image {one.image}" if one.image else "an image"
    return (
        f"{one.pod} waits: "
        + {
            "image": f"{image} cannot be pulled{what}; load it into the cluster, or set IMAGE_REGISTRY and IMAGE_TAG",
            "config": f"a ConfigMap or Secret that it names cannot be used{what}",
            "container": f"its container cannot be made{what}",
            "room": f"no node has room for it{what}",
            "slow": f"its pod has been in the making for {LONGER:.0f} s; kubectl describe pod tells why",
        }[CAUSES[one.reason]]
    )


def readable(row: str) -> str:
    """A line of a log for a person: our programs write JSON there, and Argo's executor writes among it."""
    if ARGOS_OWN.search(row):
        return ""
    try:
        found = json.loads(row)
    except ValueError:
        return row
    if not isinstance(found, dict) or "message" not in found:
        return row
    level = str(found.get("level", "info"))
    text = str(found["message"])
    return "\n".join(filter(None, (text if level == "info" else f"{level}: {text}", str(found.get("exception", "")))))


def read_logs(cluster: Cluster, name: str, say: contract.Say, console: Console) -> None:
    try:
        cluster.logs(name, say)
    except Exception as error:  # noqa: BLE001 (logs are a comfort: without them the workflow is followed all the same)
        console.print(f"The logs cannot be followed: {error}", markup=False, highlight=False)


def tell(tree: Tree, template: str, console: Console, namespace: str) -> int:
    console.print(summary(tree))
    root = tree.root
    if root.phase is Phase.SUCCEEDED:
        results.show(Console(), template, {node.path: node.outputs for node in tree.leaves()}, namespace)
        return 0
    for node in tree.leaves():
        if node.phase.bad:
            console.print(
                f"{node.name} {node.phase.lower()}: {node.message}", markup=False, highlight=False, soft_wrap=True
            )
    console.print(f"{root.name} {root.phase.lower()}: {root.message}", style="red", markup=False, soft_wrap=True)
    again = f"argo retry {root.name} -n {namespace}"
    console.print(f"Go on from where it stopped:\n  {again}", markup=False, highlight=False, soft_wrap=True)
    return FAILED
