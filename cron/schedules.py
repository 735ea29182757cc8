"""When the workflows run: native CronWorkflows that refer to the templates and carry only schedule and parameters."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cron.expression import Schedule, ScheduleError

HOUR = 3600
UTC = "UTC"


@dataclass(frozen=True)
class Cron:
    """One schedule of one workflow."""

    name: str
    workflow: str
    what: str
    schedule: str
    deadline: int
    """Seconds for which a run that was missed is still started; shorter than the time between two runs."""
    timezone: str = UTC
    parameters: Mapping[str, str] = field(default_factory=dict)
    like: str = ""
    """The workflow that this one may start: what is set for that holds here too."""

    def times(self) -> Schedule:
        try:
            return Schedule.read(self.schedule, self.timezone)
        except ScheduleError as error:
            raise ScheduleError(f"{self.name}: {error}") from error


CRONS = (
    Cron("retrain-nightly", "retrain", "retrain every night", "15 2 * * *", deadline=4 * HOUR),
    Cron("batch-predict-weekly", "batch-predict", "predict for all users on Mondays", "30 4 * * 1", deadline=12 * HOUR),
    Cron(
        "monitor-hourly",
        "monitor",
        "look every hour how it does, and retrain if worse",
        "5 * * * *",
        deadline=HOUR // 2,
        like="retrain",
    ),
    Cron("cleanup-weekly", "cleanup", "clean up on Sundays", "0 5 * * 0", deadline=12 * HOUR),
)


def find(name: str) -> Cron:
    """The schedule of that name; the workflow's name does as well."""
    for cron in CRONS:
        if name in (cron.name, cron.workflow):
            return cron
    raise ScheduleError(f"there is no schedule {name!r}; there are {', '.join(cron.name for cron in CRONS)}")


def chosen(
    schedules: Mapping[str, str], timezone: str, parameters: Mapping[str, str], environ: Mapping[str, str] | None = None
) -> list[Cron]:
    """The schedules with what flags, else the environment, say; checked."""
    given = os.environ if environ is None else environ
    by_name = {find(name).name: text for name, text in schedules.items()}
    values = by_workflow(parameters)

    def set_for(workflow: str) -> dict[str, str]:
        return {**from_text(f"{_prefix(workflow)}_PARAMETERS", given), **values.get(workflow, {})}

    found = []
    for cron in CRONS:
        changed = replace(
            cron,
            schedule=by_name.get(cron.name)
            or given.get(f"{_prefix(cron.workflow)}_SCHEDULE", "").strip()
            or cron.schedule,
            timezone=timezone or given.get("SCHEDULE_TIMEZONE", "").strip() or cron.timezone,
            parameters={**(set_for(cron.like) if cron.like else {}), **set_for(cron.workflow)},
        )
        changed.times()
        found.append(changed)
    return found


def _prefix(workflow: str) -> str:
    """What the variables of a workflow begin with."""
    return workflow.replace("-", "_").upper()


def by_workflow(parameters: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """`retrain.models=als` belongs to retrain."""
    found: dict[str, dict[str, str]] = {}
    for key, value in parameters.items():
        name, dot, parameter = key.partition(".")
        if not dot:
            raise ScheduleError(f"-p {key}={value}: say of which workflow, as in -p retrain.{key}={value}")
        found.setdefault(find(name).workflow, {})[parameter] = value
    return found


def from_text(variable: str, environ: Mapping[str, str]) -> dict[str, str]:
    """`RETRAIN_PARAMETERS="source=s3://… models=als"`, with quotes as in a shell."""
    found = {}
    try:
        words = shlex.split(environ.get(variable, ""))
    except ValueError as error:
        raise ScheduleError(f"{variable} cannot be read: {error}") from error
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ScheduleError(f"{variable} has {word!r}; write NAME=VALUE, separated by spaces")
        found[name] = value
    return found


def build(cron: Cron) -> dict[str, Any]:
    """The CronWorkflow as it is applied. It never says `suspend`, so that applying it again resumes nothing."""
    from hera.workflows import CronWorkflow, Parameter
    from hera.workflows import models as m

    from workflows.templates import LABELS

    manifest: dict[str, Any] = CronWorkflow(
        name=cron.name,
        schedules=[cron.schedule],
        timezone=cron.timezone,
        concurrency_policy="Forbid",
        starting_deadline_seconds=cron.deadline,
        successful_jobs_history_limit=3,
        failed_jobs_history_limit=5,
        labels=LABELS,
        annotations={"workflows.argoproj.io/description": cron.what},
        workflow_template_ref=m.WorkflowTemplateRef(name=cron.workflow),
        arguments=[Parameter(name=name, value=value) for name, value in cron.parameters.items()],
    ).to_dict()
    # Hera has no argument for it, and a cron's own labels do not reach its runs.
    manifest["spec"]["workflowMetadata"] = {"labels": dict(LABELS)}
    return manifest
