"""What the two ways to a cluster have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workflows.cluster.needs import Needs

Manifest = Mapping[str, Any]
NAMESPACE = "recommender"
"""Where our objects are, unless a flag, ARGO_NAMESPACE or kubectl's context says otherwise."""
SCHEDULED = "workflows.argoproj.io/scheduled-time"
"""The annotation from which `{{workflow.scheduledTime}}` is read; a CronWorkflow's runs have it by themselves."""
Say = Callable[[str, str], None]
"""Takes what a pod is called, or its name, and one line of its log."""


@dataclass(frozen=True)
class Waiting:
    """A pod that has not begun: what Kubernetes calls the reason, and what it says about it."""

    pod: str
    reason: str
    message: str = ""
    image: str = ""


class ClusterError(Exception):
    """The cluster cannot be used, in one sentence that says what to do."""


class LostError(ClusterError):
    """The cluster no longer answers, while something runs there."""


class Cluster(Protocol):
    """Applies templates and schedules, starts workflows and follows them."""

    namespace: str

    def require(self, needs: Needs) -> None:
        """Raises with all that is missing there, as far as we may look."""

    def apply(self, manifest: Manifest) -> bool:
        """Creates the object, or changes the one that is there; whether anything is different now."""

    def start(self, manifest: Manifest) -> str:
        """Creates a Workflow that refers to a template; returns its name."""

    def phase(self, name: str) -> tuple[str, str]:
        """The phase of a workflow and the message that goes with it, both empty until a controller takes it up."""

    def watch(self, name: str) -> Iterator[dict[str, Any]]:
        """The Workflow each time that it may have changed, until it has finished."""

    def logs(self, name: str, say: Say) -> None:
        """Follows the logs of all its pods until it has finished."""

    def waiting(self, workflow: Manifest) -> list[Waiting]:
        """The pods that have not begun, with what they wait for."""

    def stop(self, name: str) -> None:
        """Ends a workflow; its exit handler still runs."""

    def pause(self, schedule: str, suspended: bool) -> None:
        """Suspends a CronWorkflow, or lets it go on."""

    def suspended(self, schedules: Sequence[str]) -> set[str]:
        """Those of the CronWorkflows that somebody has suspended."""

    def close(self) -> None:
        """Ends what still reads logs."""


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
