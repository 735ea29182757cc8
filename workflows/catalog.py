"""Which workflows exist, and how to get one built; answers questions of a command line without loading Hera."""

from __future__ import annotations

import importlib
from typing import Any

Manifest = dict[str, Any]
"""A rendered Kubernetes object."""

DESCRIPTIONS = {
    "retrain": "publish the purchases, train every model, release the best one if it beats what is live",
    "batch-predict": "write the live release's recommendations for every user as parquet and CSV",
    "rollback": "release an earlier version's model again",
    "cleanup": "remove old snapshots, candidates and slots",
}


class UnknownNameError(ValueError):
    """A workflow or a parameter that does not exist, with those that do."""


def build(name: str) -> Manifest:
    """The WorkflowTemplate of that name, as it would be sent to Argo."""
    if name not in DESCRIPTIONS:
        raise UnknownNameError(f"there is no workflow {name!r}; there are {', '.join(DESCRIPTIONS)}")
    function = name.replace("-", "_")
    module = importlib.import_module(f"workflows.{function}")
    manifest: Manifest = getattr(module, function)().to_dict()
    return manifest


def parameters(manifest: Manifest) -> list[Manifest]:
    """The parameters that a user may give, in order."""
    found: list[Manifest] = manifest["spec"].get("arguments", {}).get("parameters", [])
    return found


def check_parameters(manifest: Manifest, given: dict[str, str]) -> None:
    """Refuses a parameter that the workflow does not have, or a value that it does not allow."""
    known = {parameter["name"]: parameter for parameter in parameters(manifest)}
    for name, value in given.items():
        if name not in known:
            workflow = manifest["metadata"]["name"]
            raise UnknownNameError(f"{workflow} has no parameter {name!r}; it has {', '.join(known) or 'none'}")
        allowed = known[name].get("enum")
        if allowed and value not in allowed:
            raise UnknownNameError(f"parameter {name} is {value!r}; it may be {', '.join(allowed)}")
