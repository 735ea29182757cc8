"""Which workflows exist, and how to get one built; answers questions of a command line without loading Hera."""

from __future__ import annotations

import importlib
import re
from typing import Any

Manifest = dict[str, Any]
"""A rendered Kubernetes object."""

DESCRIPTIONS = {
    "retrain": "publish the purchases, train every model, release the best one if it beats what is live",
    "batch-predict": "write the live release's recommendations for every user as parquet and CSV",
    "rollback": "release an earlier version's model again",
    "monitor": "look at how the live release does with real users, and retrain if it has become worse",
    "cleanup": "remove old snapshots, candidates and slots",
}


APPROVE_WITHIN = 12 * 3600
"""Seconds that a run waits for an answer at most; more than that would reach into the next night's run."""
CANARY_FOR = 24 * 3600
"""Seconds for which a new version is tried at most; the night's run that falls into them is left out."""
LENGTHS = {"approve-within": APPROVE_WITHIN, "canary-for": CANARY_FOR}
"""Parameters that are a length of time, with the longest."""


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
        if name in LENGTHS:
            _check_length(name, value)


def _check_length(name: str, value: str) -> None:
    """What both Argo and the local runner read as a time; Argo knows no days."""
    from workflows.runner.durations import seconds

    if not re.fullmatch(r"\d+|(\d+(\.\d+)?(ms|s|m|h))+", value) or not 0 < seconds(value) <= LENGTHS[name]:
        raise UnknownNameError(
            f"parameter {name} is {value!r}; write a time such as 90s, 30m or 1h30m, at most {LENGTHS[name] // 3600}h"
        )
