"""Rollback: an earlier candidate becomes the live release again, under a new version."""

from __future__ import annotations

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate

from workflows.catalog import DESCRIPTIONS
from workflows.templates import MEDIUM, PUBLISHING, REPORT, given, report, step, workflow

NAME = "rollback"

PARAMETERS = [
    Parameter(name="version", value="previous", description="the release to go back to: previous, or its number; "
              "canary takes back the version that is being tried"),
    Parameter(name="reason", value="rollback", description="why; the release keeps it"),
    Parameter(name="deadline", value="300", description="seconds that a slot has to serve the new version"),
]  # fmt: skip


def rollback() -> WorkflowTemplate:
    with workflow(
        NAME, title="Roll back", description=DESCRIPTIONS[NAME], parameters=PARAMETERS, on_exit=REPORT
    ) as template:
        model_publish = step(
            "model_publish",
            size=MEDIUM,
            flags=["rollback", "reason", "deadline"],
            outputs=["version", "slot", "candidate", "became"],
            mutex=PUBLISHING,
        )
        report(NAME)
        with DAG(name="pipeline"):
            Task(
                name="model-publish",
                template=model_publish,
                arguments={"rollback": "{{workflow.parameters.version}}", **given("reason", "deadline")},
            )
    return template
