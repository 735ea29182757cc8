"""What the two ways to a cluster have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

Manifest = Mapping[str, Any]
SCHEDULED = "workflows.argoproj.io/scheduled-time"
"""The annotation from which `{{workflow.scheduledTime}}` is read; a CronWorkflow's runs have it by themselves."""
Say = Callable[[str, str], None]
"""Takes what a pod is called, or its name, and one line of its log."""


class ClusterError(Exception):
    """The cluster cannot be used, in one sentence that says what to do."""


class Cluster(Protocol):
    """Applies templates, starts workflows and follows them."""

    def apply(self, manifest: Manifest) -> None:
        """Creates the object, or changes the one that is there."""

    def start(self, manifest: Manifest) -> str:
        """Creates a Workflow that refers to a template; returns its name."""

    def watch(self, name: str) -> Iterator[dict[str, Any]]:
        """The Workflow each time that it may have changed, until it has finished."""

    def logs(self, name: str, say: Say) -> None:
        """Follows the logs of all its pods until it has finished."""


def workflow(
    template: str,
    name: str,
    parameters: Mapping[str, str],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Workflow that runs a template with these parameters."""
    metadata: dict[str, Any] = {"name": name}
    if labels:
        metadata["labels"] = dict(labels)
    if annotations:
        metadata["annotations"] = dict(annotations)
    spec: dict[str, Any] = {"workflowTemplateRef": {"name": template}}
    if parameters:
        spec["arguments"] = {"parameters": [{"name": key, "value": value} for key, value in parameters.items()]}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "metadata": metadata, "spec": spec}


def finished(found: Manifest) -> bool:
    """Whether a Workflow has ended; one that the controller has not seen yet has no status at all."""
    return bool(found.get("status", {}).get("finishedAt"))
