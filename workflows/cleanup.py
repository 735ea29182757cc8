"""Cleanup: old snapshots, candidates and slots go; what is live and the release before it stay."""

from __future__ import annotations

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate

from workflows.catalog import DESCRIPTIONS
from workflows.templates import PUBLISHING, SMALL, given, step, workflow

NAME = "cleanup"

PARAMETERS = [
    Parameter(name="keep-snapshots", value="5", description="snapshots to keep, newest first"),
    Parameter(name="keep-runs", value="10", description="runs whose candidates are kept, newest first"),
    Parameter(name="min-age-days", value="7", description="nothing younger than this is removed"),
    Parameter(name="dry-run", value="false", enum=["false", "true"], description="true only says what would go"),
]  # fmt: skip


def cleanup() -> WorkflowTemplate:
    with workflow(NAME, title="Clean up", description=DESCRIPTIONS[NAME], parameters=PARAMETERS) as template:
        flags = ["keep-snapshots", "keep-runs", "min-age-days", "dry-run"]
        clean = step("cleanup", size=SMALL, flags=flags, outputs=["removed", "bytes"], mutex=PUBLISHING)
        with DAG(name="pipeline"):
            Task(name="cleanup", template=clean, arguments=given(*flags))
    return template
