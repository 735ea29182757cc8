"""Monitor: looks at how the live release does with real users, and makes a new one when it has become worse."""

from __future__ import annotations

from hera.workflows import DAG, Parameter, Task, WorkflowTemplate

from workflows import retrain
from workflows.catalog import DESCRIPTIONS
from workflows.templates import HOUR, MEDIUM, REPORT, RETRAINING, report, step, workflow

NAME = "monitor"

FLAGS = {
    "hours": Parameter(name="hours", value="24", description="hours of feedback to look at"),
    "within": Parameter(name="within", value="24", description="hours after a list in which a click or a purchase "
              "counts for it"),
    "metric": Parameter(name="online-metric", value="ndcg", enum=["ndcg", "hit_rate", "ctr"], description="what "
              "decides, as measured with real users"),
    "min-accuracy": Parameter(name="min-accuracy", value="0.9", description="retrain below this share of the best of "
              "the last releases"),
    "tolerance": Parameter(name="online-tolerance", value="0.1", description="retrain when more than this share of "
              "the release's own baseline is lost"),
    "cool-down": Parameter(name="cool-down", value="12", description="hours after a retraining before the next"),
    "least-lists": Parameter(name="least-lists", value="100", description="lists that must have been shown to judge"),
}  # fmt: skip
"""The program's flags; two of them have another name here, for retraining has parameters of theirs."""


def monitor() -> WorkflowTemplate:
    worker = retrain.train_worker()
    with workflow(
        NAME,
        title="Monitor the recommender",
        description=DESCRIPTIONS[NAME],
        parameters=[*FLAGS.values(), *retrain.PARAMETERS],
        on_exit=REPORT,
        deadline=retrain.DEADLINE + HOUR,
    ) as template:
        look = step("monitor", size=MEDIUM, flags=list(FLAGS), outputs=["retrain", "reason", "canary", "report"])
        again = retrain.pipeline("retrain", worker, RETRAINING)
        report(NAME)
        with DAG(name="pipeline"):
            looked = Task(
                name="monitor",
                template=look,
                arguments={flag: f"{{{{workflow.parameters.{one.name}}}}}" for flag, one in FLAGS.items()},
            )
            Task(
                name="retrain",
                template=again,
                depends="monitor.Succeeded",
                when=f"{looked.get_parameter('retrain')} == true",
            )
    return template
