"""The cluster through an Argo Server, with Hera's service and two streams that it lacks: watch and logs."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import pydantic
import requests
from hera.exceptions import Forbidden, HeraException, NotFound
from hera.workflows import WorkflowsService
from hera.workflows import models as m

from workflows.cluster.contract import NAMESPACE, ClusterError, LostError, Manifest, Say, Waiting, finished
from workflows.cluster.needs import Needs
from workflows.cluster.status import waiting_nodes

PATIENCE = 60.0
PAUSE = 1.0
TRIES = 5
"""Of changing a CronWorkflow, for the controller writes into the same object."""
LAST_USED = "cronworkflows.argoproj.io/last-used-schedule"


def address(environ: Mapping[str, str]) -> str:
    """The server's URL, from the variables that the argo command reads too."""
    host = environ["ARGO_SERVER"].strip()
    if "://" not in host:
        secure = environ.get("ARGO_SECURE", "true").strip().lower() not in ("false", "0", "no")
        host = f"{'https' if secure else 'http'}://{host}"
    base = environ.get("ARGO_BASE_HREF", "").strip().strip("/")
    # Without the slash at the end, joining addresses would drop the last part of the path.
    return f"{host.rstrip('/')}/{base}/" if base else f"{host.rstrip('/')}/"


class Server:
    """Applies, submits and follows through the REST API of an Argo Server."""

    def __init__(
        self, namespace: str = "", environ: Mapping[str, str] | None = None, patience: float = PATIENCE
    ) -> None:
        given = os.environ if environ is None else environ
        self.patience = patience
        self.namespace = namespace or given.get("ARGO_NAMESPACE", "").strip() or NAMESPACE
        insecure = given.get("ARGO_INSECURE_SKIP_VERIFY", "").strip().lower() in ("true", "1", "yes")
        self.service = WorkflowsService(
            host=address(given),
            token=given.get("ARGO_TOKEN", "").strip() or None,
            namespace=self.namespace,
            verify_ssl=not insecure,
        )

    def require(self, needs: Needs) -> None:
        """A server shows neither ConfigMaps nor Secrets nor accounts: whether we may read what we are to write is all
        that can be asked."""
        try:
            self.service.get_info()
        except (HeraException, requests.RequestException, pydantic.ValidationError) as error:
            raise ClusterError(f"the Argo Server at {self.service.host} does not answer: {sentence(error)}") from error
        readers: dict[str, Callable[[], object]] = {
            "workflowtemplates": lambda: self.service.list_workflow_templates(limit="1"),
            "workflows": lambda: self.service.list_workflows(limit="1"),
            "cronworkflows": lambda: self.service.list_cron_workflows(),
        }
        refused = [kind for kind in needs.kinds if not self.may(readers[kind])]
        if refused:
            raise ClusterError(
                f"the Argo Server at {self.service.host} does not let you read {' or '.join(refused)} of namespace "
                f"{self.namespace}; the Roles of containers/kubernetes/base say who may"
            )

    @staticmethod
    def may(read: Callable[[], object]) -> bool:
        try:
            read()
        except Forbidden:
            return False
        except (HeraException, requests.RequestException, pydantic.ValidationError):
            return True  # there is an answer, if an odd one: what follows will say more
        return True

    def apply(self, manifest: Manifest) -> bool:
        """The server does not tell whether a change changed anything, so it always may have."""
        if manifest["kind"] == "CronWorkflow":
            self.apply_schedule(manifest)
            return True
        template = m.WorkflowTemplate.model_validate(manifest)
        name = manifest["metadata"]["name"]
        try:
            try:
                there = self.service.get_workflow_template(name)
            except NotFound:
                self.service.create_workflow_template(m.WorkflowTemplateCreateRequest(template=template))
                return True
            template.metadata.resource_version = there.metadata.resource_version
            self.service.update_workflow_template(name, m.WorkflowTemplateUpdateRequest(name=name, template=template))
        except (HeraException, requests.RequestException) as error:
            raise ClusterError(f"the Argo Server refused WorkflowTemplate {name}: {sentence(error)}") from error
        return True

    def apply_schedule(self, manifest: Manifest) -> None:
        """The server only knows how to put a whole CronWorkflow, so what others wrote into it is taken along: that it
        is suspended, and what the controller remembers."""
        name = manifest["metadata"]["name"]
        for attempt in range(1, TRIES + 1):
            wanted = m.CronWorkflow.model_validate(manifest)
            try:
                try:
                    there = self.service.get_cron_workflow(name)
                except NotFound:
                    self.service.create_cron_workflow(m.CreateCronWorkflowRequest(cron_workflow=wanted))
                    return
                wanted.metadata.resource_version = there.metadata.resource_version
                wanted.spec.suspend = there.spec.suspend
                wanted.status = there.status
                used = (there.metadata.annotations or {}).get(LAST_USED)
                if used is not None:
                    wanted.metadata.annotations = {**(wanted.metadata.annotations or {}), LAST_USED: used}
                self.service.update_cron_workflow(
                    name, m.UpdateCronWorkflowRequest(name=name, namespace=self.namespace, cron_workflow=wanted)
                )
                return
            except (HeraException, requests.RequestException, pydantic.ValidationError) as error:
                if attempt == TRIES or "modified" not in str(error):
                    raise ClusterError(f"the Argo Server refused CronWorkflow {name}: {sentence(error)}") from error

    def pause(self, schedule: str, suspended: bool) -> None:
        try:
            if suspended:
                request = m.CronWorkflowSuspendRequest(name=schedule, namespace=self.namespace)
                self.service.suspend_cron_workflow(schedule, request)
            else:
                self.service.resume_cron_workflow(
                    schedule, m.CronWorkflowResumeRequest(name=schedule, namespace=self.namespace)
                )
        except (HeraException, requests.RequestException, pydantic.ValidationError) as error:
            raise ClusterError(f"the Argo Server refused CronWorkflow {schedule}: {sentence(error)}") from error

    def suspended(self, schedules: Sequence[str]) -> set[str]:
        try:
            found = self.service.list_cron_workflows().items or []
        except (HeraException, requests.RequestException, pydantic.ValidationError):
            return set()  # only for what is shown at the end
        return {str(one.metadata.name) for one in found if one.spec.suspend and one.metadata.name in schedules}

    def stop(self, name: str) -> None:
        try:
            self.service.stop_workflow(name, m.WorkflowStopRequest(name=name, namespace=self.namespace))
        except (HeraException, requests.RequestException, pydantic.ValidationError) as error:
            raise ClusterError(f"the Argo Server did not stop {name}: {sentence(error)}") from error

    def waiting(self, workflow: Manifest) -> list[Waiting]:
        return waiting_nodes(workflow)

    def close(self) -> None:
        self.service.session.close()

    def start(self, manifest: Manifest) -> str:
        metadata, spec = manifest["metadata"], manifest["spec"]
        chosen = m.SubmitOpts(
            name=metadata["name"],
            parameters=[f"{p['name']}={p['value']}" for p in spec.get("arguments", {}).get("parameters", [])] or None,
            labels=pairs(metadata.get("labels", {})) or None,
            annotations=pairs(metadata.get("annotations", {})) or None,
        )
        template = spec["workflowTemplateRef"]["name"]
        request = m.WorkflowSubmitRequest(
            resource_kind="WorkflowTemplate", resource_name=template, submit_options=chosen, namespace=self.namespace
        )
        try:
            return cast("str", self.service.submit_workflow(request).metadata.name)
        except (HeraException, requests.RequestException, pydantic.ValidationError) as error:
            raise ClusterError(f"the Argo Server did not start {template}: {sentence(error)}") from error

    def phase(self, name: str) -> tuple[str, str]:
        # Not through Hera, which would read, and judge, the whole workflow.
        query = {"fields": "status.phase,status.message"}
        try:
            with self.get(f"workflows/{self.namespace}/{name}", query, timeout=(10, 10)) as answer:
                status = (answer.json() if answer.ok else {}).get("status") or {}
        except (requests.RequestException, ValueError):
            return "", ""  # whoever asks, asks again
        return status.get("phase", ""), status.get("message", "")

    def watch(self, name: str) -> Iterator[dict[str, Any]]:
        """The server ends a stream now and then, so it is opened again until the workflow has ended."""
        path = f"workflow-events/{self.namespace}"
        query = {"listOptions.fieldSelector": f"metadata.name={name}", "listOptions.resourceVersion": "0"}
        silent = time.monotonic()
        while True:
            try:
                for event in self.stream(path, query):
                    silent = time.monotonic()
                    if event.get("type") == "DELETED":
                        raise ClusterError(f"workflow {name} was deleted while it was followed")
                    yield event["object"]
                    if finished(event["object"]):
                        return
            except (requests.RequestException, ValueError) as error:
                if time.monotonic() - silent > self.patience:
                    raise LostError(
                        f"the Argo Server has not answered for {self.patience:.0f} s: {sentence(error)}"
                    ) from error
            time.sleep(PAUSE)

    def logs(self, name: str, say: Say) -> None:
        query = {"logOptions.container": "main", "logOptions.follow": "true"}
        for entry in self.stream(f"workflows/{self.namespace}/{name}/log", query):
            say(entry.get("podName", ""), entry.get("content", ""))

    def stream(self, path: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """One JSON object a line, each inside a `result`; Hera reads the whole body as one object, and fails."""
        with self.get(path, query, timeout=(10, None)) as answer:
            answer.raise_for_status()
            for line in answer.iter_lines():
                if not line:
                    continue
                message = json.loads(line.removeprefix(b"data: "))
                if "error" in message:
                    raise ValueError(str(message["error"].get("message", message["error"])))
                yield message["result"]

    def get(self, path: str, query: Mapping[str, str], timeout: tuple[float | None, float | None]) -> requests.Response:
        return self.service.session.get(
            f"{self.service.host.rstrip('/')}/api/v1/{path}",
            params=dict(query),
            headers={"Authorization": self.service.token} if self.service.token else {},
            stream=True,
            verify=self.service.verify_ssl,
            timeout=timeout,
        )


def pairs(values: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())


def sentence(error: Exception) -> str:
    """The first line of an error that may hold a whole page."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
