"""States of a workflow as a controller writes them, one after another."""

from __future__ import annotations


def node(key, name, kind, phase, *, display="", boundary="wf-1", template="", outputs=None, finished=True, **more):
    found = {
        "id": key, "name": name, "displayName": display or name.rpartition(".")[2], "type": kind, "phase": phase,
        "boundaryID": boundary, "templateName": template, "startedAt": "2026-11-21T10:00:00Z",
        "finishedAt": "2026-11-21T10:00:05Z" if finished else None,
    }  # fmt: skip
    if outputs:
        found["outputs"] = {"parameters": [{"name": k, "value": v} for k, v in outputs.items()]}
    return found | more


def state(nodes, phase, *, finished, message=""):
    status = {"phase": phase, "message": message, "nodes": {one["id"]: one for one in nodes}}
    if finished:
        status["finishedAt"] = "2026-11-21T10:01:00Z"
    return {"kind": "Workflow", "metadata": {"name": "wf"}, "status": status}


ROOT = node("wf-1", "wf", "DAG", "Running", boundary="", template="pipeline", finished=False)
PLAN = node(
    "wf-2", "wf.plan", "Retry", "Succeeded", template="plan", outputs={"train": "true"}, children=["wf-3", "wf-4"]
)
PLAN_0 = node("wf-3", "wf.plan(0)", "Pod", "Failed", display="plan(0)", template="plan")
PLAN_1 = node("wf-4", "wf.plan(1)", "Pod", "Succeeded", display="plan(1)", template="plan")
GROUP = node("wf-5", "wf.train", "TaskGroup", "Succeeded", template="train")
ALS = node("wf-6", "wf.train(0:als)", "Retry", "Succeeded", display="train(0:als)", template="train", children=["wf-7"])
ALS_0 = node("wf-7", "wf.train(0:als)(0)", "Pod", "Succeeded", display="train(0:als)(0)", template="train")
PUBLISH = node("wf-8", "wf.model-publish", "Skipped", "Skipped", template="model-publish", message="when false")
EXIT = node("wf-9", "wf.onExit", "Pod", "Succeeded", display="wf.onExit", boundary="", template="run-report")
BAD = node("wf-8", "wf.model-publish", "Pod", "Failed", template="model-publish", message="Error (exit code 69)")

BEGUN = {"kind": "Workflow", "metadata": {"name": "wf"}}
RUNNING = state([ROOT, PLAN, PLAN_0, PLAN_1], "Running", finished=False)
ALL = [ROOT | {"phase": "Succeeded"}, PLAN, PLAN_0, PLAN_1, GROUP, ALS, ALS_0, PUBLISH, EXIT]
SUCCEEDED = state(ALL, "Succeeded", finished=True)
FAILED = state([*ALL[:-2], BAD, EXIT], "Failed", finished=True, message="child 'wf-8' failed")
