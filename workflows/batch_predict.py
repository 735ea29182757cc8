"""Batch-predict: recommendations of the live release for all users, or for those of a list, in shards."""

from __future__ import annotations

from hera.workflows import DAG, Parameter, Task, TaskResult, WorkflowTemplate

from workflows.catalog import DESCRIPTIONS
from workflows.templates import MEDIUM, REPORT, SMALL, given, report, step, workflow

NAME = "batch-predict"

PARAMETERS = [
    Parameter(name="version", value="live", description="the release to use: live, or its number"),
    Parameter(name="shards", value="4", description="parts that are worked on side by side"),
    Parameter(name="k", value="12", description="recommendations for each user"),
    Parameter(name="users-file", value="", description="a file with one user a line; empty means all users"),
]


def batch_predict() -> WorkflowTemplate:
    with workflow(
        NAME, title="Predict in batch", description=DESCRIPTIONS[NAME], parameters=PARAMETERS, on_exit=REPORT
    ) as template:
        everywhere = ["version", "k", "users-file"]
        plan = step(
            "batch_predict",
            name="plan",
            size=SMALL,
            fixed=["--stage=plan"],
            flags=["shards", *everywhere],
            outputs=["version", "shards"],
        )
        shard = step(
            "batch_predict",
            name="shard",
            size=MEDIUM,
            fixed=["--stage=shard"],
            flags=["shard", "shards", *everywhere],
            outputs=["users", "part"],
        )
        merge = step(
            "batch_predict",
            name="merge",
            size=MEDIUM,
            fixed=["--stage=merge"],
            flags=["shards", *everywhere],
            outputs=["users", "predictions"],
        )

        report(NAME)

        with DAG(name="pipeline"):
            planned = Task(name="plan", template=plan, arguments=given("shards", *everywhere))
            # "live" is looked up once, by the plan: a release in the middle of the run must not mix two versions.
            same = {"version": planned.get_parameter("version"), **given("k", "users-file")}
            predicted = Task(
                name="shards",
                template=shard,
                arguments={"shard": "{{item.shard}}", "shards": "{{item.shards}}", **same},
                with_param=planned.get_parameter("shards"),
            )
            merged = Task(name="merge", template=merge, arguments={**given("shards"), **same})
            with Task.set_next_defaults(on=TaskResult.succeeded):
                planned >> predicted
                predicted >> merged
    return template
