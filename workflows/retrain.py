"""Retrain: purchases become a snapshot, the snapshot candidates, the best candidate a release, if it deserves it."""

from __future__ import annotations

from hera.workflows import DAG, Container, Parameter, Task, TaskResult, WorkflowTemplate

from workflows.catalog import APPROVE_WITHIN, CANARY_FOR, DESCRIPTIONS
from workflows.templates import (
    HOUR,
    LARGE,
    MEDIUM,
    PUBLISHING,
    REPORT,
    RETRAINING,
    SMALL,
    SOURCE_SECRETS,
    alone,
    given,
    passing,
    pause,
    question,
    report,
    step,
    together,
    workflow,
)

NAME = "retrain"

PARAMETERS = [
    Parameter(name="source", value="demo:", description="where the purchases are: demo:, a file, folder or zip, "
              "http(s)://, s3://, kaggle:COMPETITION, postgresql://, sqlite://"),
    Parameter(name="columns", value="", description="names of the columns: user=…,item=…,time=…,weight=…,event=…"),
    Parameter(name="event-weights", value="", description="what events count: purchase=1,view=0.1; else it is learnt"),
    Parameter(name="query", value="", description="the SQL query, where the source is a database"),
    Parameter(name="split", value="auto", description="what is held out: auto, time, last:N, random:SHARE"),
    Parameter(name="max-rejects", value="0.01", description="share of bad rows that is still accepted"),
    Parameter(name="feedback", value="true", enum=["true", "false"], description="true adds what feedback says was "
              "bought to the purchases"),
    Parameter(name="models", value="", description="models to train, separated by commas; blend combines the best "
              "of them (default: popularity,als,ease,item_knn,blend)"),
    Parameter(name="set", value="", description="settings of models: als.factors=64,als.iterations=10"),
    Parameter(name="trials", value="1", description="settings that each model tries on the validation split"),
    Parameter(name="budget", value="", description="seconds after which a model tries nothing more"),
    Parameter(name="metric", value="ndcg@10", description="the metric that decides"),
    Parameter(name="tolerance", value="0.01", description="share by which it may be worse than the live model"),
    Parameter(name="min-metric", value="", description="a floor instead of that comparison: recall@10=0.05"),
    Parameter(name="max-users", value="50000", description="users on whom candidates are compared, at most"),
    Parameter(name="seed", value="7", description="seed of everything random"),
    Parameter(name="again", value="false", enum=["false", "true"], description="true trains even if nothing changed"),
    Parameter(name="distributed", value="false", enum=["false", "true"], description="true trains deep_cf and "
              "two_tower by several workers, on a cluster with Kubeflow's training operator"),
    Parameter(name="workers", value="2", description="how many these are, where distributed is true"),
    Parameter(name="deadline", value="300", description="seconds that a slot has to serve the new version"),
    Parameter(name="approve", value="auto", enum=["auto", "manual"], description="manual waits for somebody's yes "
              "before a model goes live"),
    Parameter(name="approve-within", value="12h", description="how long it waits, 12h at most; no answer means no"),
    Parameter(name="canary", value="0", description="percent of the users that a new model is tried on before it goes "
              "live for all; 0 tries nothing"),
    Parameter(name="canary-for", value="4h", description="how long it is tried, 24h at most, before it is judged by "
              "what those users did"),
]  # fmt: skip
TRAIN_FLAGS = ["set", "trials", "budget", "metric", "seed"]
DEADLINE = 6 * HOUR + APPROVE_WITHIN + CANARY_FOR


def retrain() -> WorkflowTemplate:
    worker = train_worker()
    with workflow(
        NAME,
        title="Retrain the recommender",
        description=DESCRIPTIONS[NAME],
        parameters=PARAMETERS,
        on_exit=REPORT,
        deadline=DEADLINE,
        mutex=RETRAINING,
    ) as template:
        pipeline("pipeline", worker)
        report(NAME)
    return template


def train_worker() -> Container:
    """What several train by together. It must be made outside of a workflow, or it is a template of its own."""
    return step("train", size=LARGE, flags=["snapshot", "model", *TRAIN_FLAGS], deadline=4 * HOUR)


def pipeline(name: str, worker: Container, mutex: str = "") -> DAG:
    """The template that retrains, whichever workflow it is part of; that one must have the parameters of this.

    Only one goes on at a time: the mutex is this workflow's own, or that of the template where it is one of several.
    """
    source_flags = ["source", "columns", "event-weights", "query", "split", "max-rejects", "seed", "feedback"]
    plan_flags = [
        "models",
        "set",
        "trials",
        "budget",
        "metric",
        "tolerance",
        "min-metric",
        "seed",
        "again",
        "distributed",
        "workers",
        "canary",
    ]
    blend_flags = ["models", "metric", "seed"]
    gate_flags = ["metric", "tolerance", "min-metric", "max-users", "seed"]

    data_publish = step(
        "data_publish",
        size=MEDIUM,
        flags=source_flags,
        outputs=["snapshot", "purchases", "users", "items", "new"],
        secrets=SOURCE_SECRETS,
    )
    plan = step(
        "plan",
        size=SMALL,
        flags=["snapshot", *plan_flags],
        outputs=["train", "models", "together", "blend", "reason", "fingerprint"],
    )
    train = step(
        "train", size=LARGE, flags=["snapshot", "model", *TRAIN_FLAGS], outputs=["candidate"], deadline=4 * HOUR
    )
    train_together = together("train-together", worker, job="job", workers="workers")
    blend = step("blend", size=LARGE, flags=["snapshot", *blend_flags], outputs=["candidate"])
    evaluate = step(
        "evaluate",
        size=LARGE,
        flags=["snapshot", "fingerprint", *gate_flags],
        outputs=["promote", "reason", "winner", "metrics", "report"],
        optional_outputs={"sample": "[]"},
    )
    model_publish = step(
        "model_publish",
        size=MEDIUM,
        flags=["deadline", "canary"],
        outputs=["version", "slot", "candidate", "became"],
        mutex=PUBLISHING,
    )
    approval = question("approval", "approved", about=["report", "reason"], within="approve-within")
    passed = passing("approved")
    tried = trial()

    with DAG(name=name, synchronization=alone(mutex) if mutex else None) as found:
        published = Task(name="data-publish", template=data_publish, arguments=given(*source_flags))
        snapshot = {"snapshot": published.get_parameter("snapshot")}
        planned = Task(name="plan", template=plan, arguments={**snapshot, **given(*plan_flags)})
        # All of these ask the plan: a fan-out whose items were all skipped counts as succeeded (Argo 3.3) or as
        # skipped (4.1), so "train.Succeeded" alone would let evaluate start with nothing to evaluate.
        worth_it = f"{planned.get_parameter('train')} == true"
        trained = Task(
            name="train",
            template=train,
            arguments={**snapshot, "model": "{{item}}", **given(*TRAIN_FLAGS)},
            with_param=planned.get_parameter("models"),
            when=worth_it,
        )
        # A list of its own, for a TFJob's name may not hold what a model's name does.
        trained_together = Task(
            name="train-together",
            template=train_together,
            arguments={
                **snapshot,
                "model": "{{item.model}}",
                "job": "{{item.job}}",
                **given(*TRAIN_FLAGS, "workers"),
            },
            with_param=planned.get_parameter("together"),
            when=worth_it,
        )
        # An empty list is skipped, and one of the two may be.
        both = " && ".join(f"({one.name}.Succeeded || {one.name}.Skipped)" for one in (trained, trained_together))
        blended = Task(
            name="blend",
            template=blend,
            arguments={**snapshot, **given(*blend_flags)},
            depends=both,
            when=f"{planned.get_parameter('blend')} == true",
        )
        evaluated = Task(
            name="evaluate",
            template=evaluate,
            arguments={
                **snapshot,
                "fingerprint": planned.get_parameter("fingerprint"),
                **given(*gate_flags),
            },
            depends=f"{blended.name}.Succeeded || {blended.name}.Skipped",
            when=worth_it,
        )
        promoted = f"{evaluated.get_parameter('promote')} == true"
        # Whatever is not plainly auto asks: a misspelt "manual" must not publish.
        asked = Task(
            name="approval",
            template=approval,
            arguments={name: evaluated.get_parameter(name) for name in ("report", "reason")},
            depends="evaluate.Succeeded",
            when=f"{promoted} && '{{{{workflow.parameters.approve}}}}' != 'auto'",
        )
        # A task of its own reads the answer: before Argo 4.0.7, what reads an output of a skipped task waits for
        # ever, and this one is omitted with it. In quotes, because before 3.7 a time-out leaves no answer at all.
        yes = Task(
            name="approved",
            template=passed,
            depends="approval.Succeeded",
            when=f"'{asked.get_parameter('approved')}' == 'yes'",
        )
        released = Task(
            name="model-publish",
            template=model_publish,
            arguments=given("deadline", "canary"),
            depends=f"evaluate.Succeeded && ({asked.name}.Skipped || {yes.name}.Succeeded)",
            when=promoted,
        )
        # The first release of all goes live at once whatever share was wished for, so what became of it is asked.
        Task(
            name="canary",
            template=tried,
            arguments={"version": released.get_parameter("version")},
            depends="model-publish.Succeeded",
            when=f"'{released.get_parameter('became')}' == 'canary'",
        )
        with Task.set_next_defaults(on=TaskResult.succeeded):
            published >> planned
            planned >> trained
            planned >> trained_together
    return found


def trial() -> DAG:
    """The template in which a version is tried for a while and judged, and then goes live or is taken back.

    Where that cannot be judged, or not be made live, it is taken back too: nobody would look after it any more.
    """
    wait = pause("canary-wait", "canary-for")
    judge = step("monitor", name="canary-verdict", size=MEDIUM, fixed=["--canary"], outputs=["canary", "reason"])
    made = ["version", "slot", "candidate", "became"]
    promote = step(
        "model_publish", name="canary-promote", size=MEDIUM, fixed=["--promote"],
        flags=["version", "reason", "deadline"], outputs=made, mutex=PUBLISHING,
    )  # fmt: skip
    abort = step(
        "model_publish", name="canary-abort", size=MEDIUM, fixed=["--abort"], flags=["version", "reason"],
        outputs=made, mutex=PUBLISHING,
    )  # fmt: skip
    settled = passing("canary-settled")
    # What has failed must not keep the last of these tasks from starting.
    with DAG(name="canary", inputs=[Parameter(name="version")], fail_fast=False) as found:
        version = {"version": "{{inputs.parameters.version}}"}
        waited = Task(name="canary-wait", template=wait)
        judged = Task(name="canary-verdict", template=judge)
        decided, reason = judged.get_parameter("canary"), {"reason": judged.get_parameter("reason")}
        promoted = Task(
            name="canary-promote",
            template=promote,
            arguments={**version, **reason, **given("deadline")},
            when=f"'{decided}' == 'promote'",
        )
        aborted = Task(
            name="canary-abort",
            template=abort,
            arguments={**version, **reason},
            when=f"'{decided}' == 'abort'",
        )
        Task(
            name="canary-lost",
            template=abort,
            arguments={**version, "reason": "it could not be judged, or not be made live"},
            depends=" || ".join(f"{one.name}.{how}" for one in (judged, promoted) for how in ("Failed", "Errored")),
        )
        # Without it, all would have ended well where the canary was taken back because it could not be made live.
        Task(name="canary-settled", template=settled, depends="canary-promote.Succeeded || canary-promote.Skipped")
        with Task.set_next_defaults(on=TaskResult.succeeded):
            waited >> judged
            judged >> promoted
            judged >> aborted
    return found
