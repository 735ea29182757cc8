"""The container template of every step: one factory, so image, security, retries and outputs are the same everywhere.

Everything here holds for Argo 3.3 under the k8sapi executor and for Argo 4.1 under emissary: the command is always
written out, outputs are files on an emptyDir, and a retry has both a policy and an expression.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from hera.workflows import (
    ConfigMapEnvFrom,
    ConfigMapVolume,
    Container,
    EmptyDirVolume,
    Env,
    ExistingVolume,
    Parameter,
    Resource,
    Resources,
    RetryPolicy,
    RetryStrategy,
    SecretEnv,
    Suspend,
    WorkflowTemplate,
)
from hera.workflows import models as m

from workflows.settings import MOUNTED_STORE, SettingsError

SETTINGS = "recommender-settings"
"""The ConfigMap with STORE and its companions; a pod does not start without it, for it would write into itself."""
STORE_SECRETS = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "recommender-s3")
SOURCE_SECRETS = dict.fromkeys(("KAGGLE_USERNAME", "KAGGLE_KEY", "PGUSER", "PGPASSWORD"), "recommender-sources")
AUTHORITY, AUTHORITY_FOLDER = "recommender-ca", "/etc/recommender/ca"
"""An optional ConfigMap with a certificate authority of one's own before S3; S3_CA_FILE names the file there."""
SERVICE_ACCOUNT = "recommender-workflow"
TRAINER = "recommender-trainer"
"""The account that makes TFJobs; their own pods ask Kubernetes nothing."""
LABELS = {"app.kubernetes.io/part-of": "recommender"}
OUTPUTS, SCRATCH = "/outputs", "/scratch"
STORE_CLAIM = "STORE_CLAIM"
"""Names the PersistentVolumeClaim that every step mounts, for a store that is a folder: STORE=file:/store."""
RUN_AS_USER = "RUN_AS_USER"
"""The user of the pods; empty where the cluster gives each namespace its own, as OpenShift does."""
USER = 10001
HOUR = 3600
REPORT = "run-report"
PUBLISHING = "recommender-model-publish"
"""The mutex of all that changes what is live, or removes what a release may name, in whichever workflow."""

RETRAINING = "recommender-retrain"
"""The mutex of all that retrains, in whichever workflow: two at once would train the same twice."""

NO_MORE_RIGHTS = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
ARGOS_OWN = {
    "initContainers": [{"name": "init", "securityContext": NO_MORE_RIGHTS}],
    "containers": [{"name": "wait", "securityContext": NO_MORE_RIGHTS}],
}
"""Argo leaves its own two containers of a pod as they are, and a namespace that is "restricted" refuses such a pod."""
MAKES_OBJECT = {
    "initContainers": [
        {"name": "init", "volumeMounts": [{"name": "tmp-dir-argo", "mountPath": "/tmp", "subPath": "init"}]}
    ],
    "containers": [{"name": "wait", "$patch": "delete"}, {"name": "main", "securityContext": NO_MORE_RIGHTS}],
}
"""A pod that makes an object has no "wait"; its "init" writes to /tmp, which not every image lets its user do."""

LAST_CONDITION = 5
"""A TFJob tells how it is by a list of conditions, of which the last may be at any of these places."""

RETRY_WHEN = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [75, 137, 143]"
"""A lost pod, an outside system that did not answer (75), a pod that was killed (137, 143); nothing else heals."""


@dataclass(frozen=True)
class Size:
    """What a step may use: requests are what it needs on small data, limits what it may grow to."""

    cpu_request: str
    cpu_limit: str
    memory_request: str
    memory_limit: str
    scratch: str

    def resources(self) -> Resources:
        return Resources(
            cpu_request=self.cpu_request,
            cpu_limit=self.cpu_limit,
            memory_request=self.memory_request,
            memory_limit=self.memory_limit,
        )


SMALL = Size("50m", "1", "128Mi", "1Gi", "1Gi")
MEDIUM = Size("250m", "2", "512Mi", "4Gi", "20Gi")
LARGE = Size("500m", "4", "1Gi", "8Gi", "20Gi")


def image(program: str) -> str:
    """`recommender-train:0.1.0`, or where IMAGE_REGISTRY and IMAGE_TAG say when the workflow is rendered."""
    registry = os.environ.get("IMAGE_REGISTRY", "").strip().rstrip("/")
    tag = os.environ.get("IMAGE_TAG", "").strip() or "0.1.0"
    name = f"recommender-{program.replace('_', '-')}:{tag}"
    return f"{registry}/{name}" if registry else name


def store_volume() -> list[ExistingVolume]:
    """The volume that STORE_CLAIM names when the workflow is rendered, if it names one."""
    claim = os.environ.get(STORE_CLAIM, "").strip()
    return [ExistingVolume(name="store", claim_name=claim, mount_path=MOUNTED_STORE)] if claim else []


def pod_security() -> m.PodSecurityContext:
    """Never root; as the user that RUN_AS_USER names when the workflow is rendered, or as the cluster chooses."""
    text = os.environ.get(RUN_AS_USER, str(USER)).strip()
    if text and not (text.isascii() and text.isdigit() and int(text)):
        raise SettingsError(f"{RUN_AS_USER} is {text!r}; write a user's number from 1 on, or leave it empty")
    user = int(text) if text else None
    return m.PodSecurityContext(
        run_as_non_root=True,
        run_as_user=user,
        run_as_group=user,
        fs_group=user,
        seccomp_profile=m.SeccompProfile(type="RuntimeDefault"),
    )


def step(
    program: str,
    *,
    size: Size,
    flags: Sequence[str] = (),
    fixed: Sequence[str] = (),
    outputs: Sequence[str] = (),
    optional_outputs: Mapping[str, str] | None = None,
    name: str = "",
    deadline: int = HOUR,
    retries: int = 3,
    mutex: str = "",
    secrets: Mapping[str, str] | None = None,
) -> Container:
    """The template that runs `python -m steps.<program>`; call it inside `with workflow(...)`.

    Each of `flags` becomes an input parameter and an argument of that name; `fixed` are arguments as they are.
    `outputs` are files that the program must leave; one of `optional_outputs` may be missing and then has the value
    given here. `secrets` are more variables that come from a Secret, each with that Secret's name.
    """
    optional = optional_outputs or {}
    return Container(
        name=name or program.replace("_", "-"),
        image=image(program),
        image_pull_policy="IfNotPresent",
        command=["python", "-m", f"steps.{program}"],
        args=[*fixed, *(f"--{flag}={{{{inputs.parameters.{flag}}}}}" for flag in flags)],
        env=[
            Env(name="RUN", value="{{workflow.name}}"),
            Env(name="OUTPUTS", value=OUTPUTS),
            Env(name="TMPDIR", value=SCRATCH),
            Env(name="HOME", value=SCRATCH),
            *(_secret(key, secret) for key, secret in {**STORE_SECRETS, **(secrets or {})}.items()),
        ],
        env_from=[ConfigMapEnvFrom(name=SETTINGS)],
        inputs=[Parameter(name=flag) for flag in flags],
        outputs=[_output(output) for output in outputs] + [_output(key, value) for key, value in optional.items()],
        resources=size.resources(),
        retry_strategy=retry(retries),
        active_deadline_seconds=deadline,
        synchronization=alone(mutex) if mutex else None,
        security_context=m.SecurityContext(
            run_as_non_root=True,
            read_only_root_filesystem=True,
            allow_privilege_escalation=False,
            capabilities=m.Capabilities(drop=["ALL"]),
        ),
        volumes=[
            EmptyDirVolume(name="outputs", mount_path=OUTPUTS, size_limit=m.Quantity(root="64Mi")),
            EmptyDirVolume(name="scratch", mount_path=SCRATCH, size_limit=m.Quantity(root=size.scratch)),
            ConfigMapVolume(name=AUTHORITY, mount_path=AUTHORITY_FOLDER, read_only=True, optional=True),
            *store_volume(),
        ],
        labels={**LABELS, "app.kubernetes.io/component": program.replace("_", "-")},
    )


def together(name: str, container: Container, *, job: str, workers: str, restarts: int = 10) -> Resource:
    """The template that runs a container as the workers of a TFJob, which Kubeflow's training operator starts.

    `container` is a step that is no template of its own; `job` and `workers` are inputs, as what it takes is: what the
    TFJob's name ends with, and how many there are.
    """
    whole = container._build_template().model_dump(exclude_none=True, by_alias=True, mode="json")
    pod = {
        "metadata": {"labels": whole["metadata"]["labels"]},
        "spec": {
            "serviceAccountName": SERVICE_ACCOUNT,
            "automountServiceAccountToken": False,
            "restartPolicy": "OnFailure",
            "securityContext": pod_security().model_dump(exclude_none=True, by_alias=True),
            # The operator looks for a container of this name.
            "containers": [{**whole["container"], "name": "tensorflow"}],
            "volumes": whole["volumes"],
        },
    }
    manifest = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "TFJob",
        "metadata": {"name": f"{{{{workflow.name}}}}-{{{{inputs.parameters.{job}}}}}", "labels": LABELS},
        "spec": {
            "runPolicy": {
                "activeDeadlineSeconds": whole["activeDeadlineSeconds"],
                # Where one worker is lost all of them begin again, and each of these is counted.
                "backoffLimit": restarts,
                "cleanPodPolicy": "Running",
                "ttlSecondsAfterFinished": HOUR,
            },
            "tfReplicaSpecs": {
                "Worker": {
                    "replicas": f"{{{{inputs.parameters.{workers}}}}}",
                    "restartPolicy": "OnFailure",
                    "template": pod,
                }
            },
        },
    }
    inputs = [Parameter(name=parameter["name"]) for parameter in whole["inputs"]["parameters"]]
    return Resource(
        name=name,
        # Repeated, it finds the job that is there, and waits for that one.
        action="apply",
        manifest=as_manifest(manifest),
        success_condition="status.replicaStatuses.Worker.succeeded > 0",
        failure_condition=", ".join(f"status.conditions.{place}.type == Failed" for place in range(LAST_CONDITION)),
        inputs=[*inputs, Parameter(name=job), Parameter(name=workers)],
        service_account_name=TRAINER,
        active_deadline_seconds=whole["activeDeadlineSeconds"],
        retry_strategy=retry(3),
        pod_spec_patch=json.dumps(MAKES_OBJECT),
        labels={**LABELS, "app.kubernetes.io/component": name},
    )


def as_manifest(value: Mapping[str, Any]) -> str:
    """YAML in which a tag that stands alone is no text, for it may stand for a number."""
    text = yaml.safe_dump(value, sort_keys=False, width=1000)
    return re.sub(r"^( *replicas: )'(.*)'$", r"\1\2", text, flags=re.MULTILINE)


def report(workflow_name: str) -> Container:
    """The exit handler: whatever happened, the run leaves a report."""
    return step(
        "run_report",
        size=SMALL,
        fixed=[f"--workflow={workflow_name}", "--status={{workflow.status}}", "--failures={{workflow.failures}}"],
        outputs=["report"],
        deadline=600,
    )


def question(name: str, answer: str, *, about: Sequence[str], within: str) -> Suspend:
    """A pause until somebody says yes or no; no answer within that time, a workflow's parameter, means no.

    `about` are inputs that say what is asked. The input of the answer's name lists what may be answered: from it a
    terminal, and Argo's pages, know the choice.
    """
    return Suspend(
        name=name,
        duration=f"{{{{workflow.parameters.{within}}}}}",
        inputs=[*(Parameter(name=key) for key in about), Parameter(name=answer, enum=["yes", "no"], default="no")],
        outputs=[Parameter(name=answer, value_from=m.ValueFrom(supplied=m.SuppliedValueFrom(), default="no"))],
    )


def pause(name: str, length: str) -> Suspend:
    """Waits as long as a workflow's parameter says, or until somebody resumes it."""
    return Suspend(name=name, duration=f"{{{{workflow.parameters.{length}}}}}")


def passing(name: str) -> Suspend:
    """A node that takes no pod and no time: only whether it ran says something."""
    return Suspend(name=name, duration="0")


def alone(mutex: str) -> m.Synchronization:
    """Only one holder of that name runs at a time; the others wait."""
    return m.Synchronization(mutexes=[m.Mutex(name=mutex)])


def retry(limit: int) -> RetryStrategy:
    """Policy and expression both: until Argo 3.4 the policy's default hides errors from the expression."""
    return RetryStrategy(
        limit=limit,
        retry_policy=RetryPolicy.always,
        expression=RETRY_WHEN,
        backoff=m.Backoff(duration="10s", factor=m.IntOrString(root=2), max_duration="30m"),
    )


def workflow(
    name: str,
    *,
    title: str,
    description: str,
    parameters: Sequence[Parameter] = (),
    entrypoint: str = "pipeline",
    deadline: int = 6 * HOUR,
    on_exit: str | None = None,
    mutex: str = "",
) -> WorkflowTemplate:
    """A WorkflowTemplate with what every workflow shares: pod security, clean-up, labels, a deadline."""
    return WorkflowTemplate(
        name=name,
        entrypoint=entrypoint,
        on_exit=on_exit,
        arguments=list(parameters),
        service_account_name=SERVICE_ACCOUNT,
        labels=LABELS,
        annotations={"workflows.argoproj.io/title": title, "workflows.argoproj.io/description": description},
        workflow_metadata=m.WorkflowMetadata(labels=LABELS),
        security_context=pod_security(),
        pod_spec_patch=json.dumps(ARGOS_OWN),
        active_deadline_seconds=deadline,
        synchronization=alone(mutex) if mutex else None,
        pod_gc=m.PodGC(strategy="OnPodSuccess", delete_delay_duration="600s"),
        ttl_strategy=m.TTLStrategy(seconds_after_success=3 * 24 * HOUR, seconds_after_failure=7 * 24 * HOUR),
    )


def given(*names: str) -> dict[str, str]:
    """Arguments of a task that are the workflow's own parameters of the same name."""
    return {name: f"{{{{workflow.parameters.{name}}}}}" for name in names}


def _secret(key: str, secret: str) -> SecretEnv:
    # Optional, because a store that is a folder has no keys; on S3 the program itself says which one is missing.
    return SecretEnv(name=key, secret_name=secret, secret_key=key, optional=True)


def _output(name: str, default: str | None = None) -> Parameter:
    return Parameter(name=name, value_from=m.ValueFrom(path=f"{OUTPUTS}/{name}", default=default))
