"""Runs a workflow on Argo: looks whether the cluster is ready, applies the template, submits it, follows it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from rich.console import Console

from workflows import following, rules
from workflows.catalog import Manifest
from workflows.cluster import contract, start
from workflows.cluster.contract import Cluster, ClusterError
from workflows.cluster.needs import FOLLOWING, STARTING, TEMPLATES, Needs
from workflows.runner.record import new_name


def connect(namespace: str) -> Cluster:
    """Through the Argo Server that ARGO_SERVER names, else through kubectl."""
    if os.environ.get("ARGO_SERVER", "").strip():
        from workflows.cluster.server import Server

        return Server(namespace)
    from workflows.cluster.kubectl import Kubectl

    return Kubectl(namespace or os.environ.get("ARGO_NAMESPACE", "").strip())


def submit(
    manifest: Manifest, parameters: Mapping[str, str], *, namespace: str = "", follow: bool = True, scheduled: str = ""
) -> int:
    """Applies, starts and follows; returns the exit code for the command line."""
    rules.must_hold([manifest])
    cluster = connect(namespace)
    cluster.require(Needs.of([manifest], [*TEMPLATES, *STARTING, *(FOLLOWING if follow else ())], parameters))
    changed = start.apply(cluster, manifest)
    template = manifest["metadata"]["name"]
    labels = manifest["metadata"].get("labels", {})
    annotations = {contract.SCHEDULED: scheduled} if scheduled else {}
    console = Console(stderr=True)

    def say(sentence: str) -> None:
        console.print(sentence, markup=False, highlight=False)

    def wanted() -> Manifest:
        return contract.workflow(template, new_name(template), parameters, labels=labels, annotations=annotations)

    name = start.start(cluster, wanted, say, changed=changed)
    say(f"Workflow {name} was submitted to namespace {cluster.namespace}.")
    if not follow:
        following.commands(console, name, cluster.namespace)
        sys.stdout.write(f"{name}\n")
        return 0
    return following.see_through(cluster, name, template, console)


def follow(name: str, *, namespace: str = "") -> int:
    """Follows a workflow that somebody has submitted before."""
    cluster = connect(namespace)
    cluster.require(Needs.of([], [*STARTING[:1], *FOLLOWING]))
    first = next(iter(cluster.watch(name)), None)
    if first is None:
        raise ClusterError(f"there is no workflow {name} in namespace {cluster.namespace}")
    template = first["spec"].get("workflowTemplateRef", {}).get("name", "")
    return following.see_through(cluster, name, template, Console(stderr=True))
