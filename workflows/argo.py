"""Runs a workflow on Argo: applies its template, submits it, follows it to its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Mapping
from typing import Any

from rich.console import Console

from workflows import results, rules
from workflows.catalog import Manifest
from workflows.cluster import contract, status
from workflows.cluster.contract import Cluster
from workflows.runner.display import Display, summary
from workflows.runner.record import new_name
from workflows.runner.tree import Phase, Tree


def connect(namespace: str) -> Cluster:
    """Through the Argo Server that ARGO_SERVER names, else through kubectl."""
    if os.environ.get("ARGO_SERVER", "").strip():
        from workflows.cluster.server import Server

        server = Server(namespace)
        server.check()
        return server
    from workflows.cluster.kubectl import Kubectl

    kubectl = Kubectl(namespace or os.environ.get("ARGO_NAMESPACE", "").strip())
    kubectl.check()
    return kubectl


def submit(
    manifest: Manifest, parameters: Mapping[str, str], *, namespace: str = "", follow: bool = True, scheduled: str = ""
) -> int:
    """Applies, starts and follows; returns the exit code for the command line."""
    rules.must_hold([manifest])
    cluster = connect(namespace)
    cluster.apply(manifest)
    template = manifest["metadata"]["name"]
    labels = manifest["metadata"].get("labels", {})
    annotations = {contract.SCHEDULED: scheduled} if scheduled else {}
    wanted = contract.workflow(template, new_name(template), parameters, labels=labels, annotations=annotations)
    name = cluster.start(wanted)
    console = Console(stderr=True)
    console.print(f"Workflow {name} was submitted.", markup=False, highlight=False)
    if not follow:
        sys.stdout.write(f"{name}\n")
        return 0
    return see_through(cluster, name, template, console)


def see_through(cluster: Cluster, name: str, template: str, console: Console) -> int:
    """Shows the tree and the logs until the workflow has ended; leaving does not stop it."""
    before = signal.getsignal(signal.SIGINT)
    display = Display(console)
    display.tree = Tree(name)
    labels: dict[str, str] = {}

    def say(pod: str, row: str) -> None:
        console.print(f"{labels.get(pod, pod)} | {row}", markup=False, highlight=False, soft_wrap=True)

    reader = threading.Thread(target=read_logs, args=(cluster, name, say, console), name="logs", daemon=True)
    reader.start()
    try:
        with display:
            for workflow in cluster.watch(name):
                labels |= status.pod_names(workflow)
                show(display, workflow)
        reader.join(5.0)
    except KeyboardInterrupt:
        console.print(f"No longer following {name}; it goes on. To stop it: argo stop {name}", markup=False)
        return 130
    finally:
        signal.signal(signal.SIGINT, before)
    return tell(display.tree, template, console)


def show(display: Display, workflow: Mapping[str, Any]) -> None:
    tree = status.read(workflow)
    display.tree = tree
    for node in tree.leaves():
        display.changed(node)


def read_logs(cluster: Cluster, name: str, say: contract.Say, console: Console) -> None:
    try:
        cluster.logs(name, say)
    except Exception as error:  # noqa: BLE001 (logs are a comfort: without them the workflow is followed all the same)
        console.print(f"The logs cannot be followed: {error}", markup=False, highlight=False)


def tell(tree: Tree, template: str, console: Console) -> int:
    console.print(summary(tree))
    root = tree.root
    if root.phase is Phase.SUCCEEDED:
        results.show(Console(), template, {node.path: node.outputs for node in tree.leaves()})
        return 0
    for node in tree.leaves():
        if node.phase.bad:
            console.print(
                f"{node.name} {node.phase.lower()}: {node.message}", markup=False, highlight=False, soft_wrap=True
            )
    console.print(f"{root.name} {root.phase.lower()}: {root.message}", style="red", markup=False, soft_wrap=True)
    console.print(f"Go on from where it stopped:\n  argo retry {root.name}", markup=False, highlight=False)
    return 1
