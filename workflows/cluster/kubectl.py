"""The cluster through kubectl: no Argo Server is needed."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflows.cluster import preflight
from workflows.cluster.contract import NAMESPACE, ClusterError, LostError, Manifest, Say, Waiting, finished
from workflows.cluster.needs import ARGO, Needs
from workflows.cluster.status import label, waiting_nodes

POLL_SECONDS = 2.0
PATIENCE = 60.0
"""Seconds that an API server may be silent while a workflow is followed."""
LABEL = "workflows.argoproj.io/workflow"
NODE_NAME = "workflows.argoproj.io/node-name"
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
NOT_SAYING = ("", "PodInitializing", "ContainerCreating")
"""What the controller repeats of a pod that may wait for one of its other containers."""


class Kubectl:
    """Applies, creates, polls and reads logs with kubectl and its current context."""

    namespace = ""

    def __init__(self, namespace: str = "") -> None:
        if not shutil.which("kubectl"):
            raise ClusterError(
                "there is no kubectl on the PATH; install it, or set ARGO_SERVER to an Argo Server's address"
            )
        self.namespace = namespace or self.own_namespace() or NAMESPACE
        self._readers: set[subprocess.Popen[str]] = set()
        self._guard = threading.Lock()

    def own_namespace(self) -> str:
        """That of the current context; inside a pod, that of the pod."""
        found = self.run(["config", "view", "--minify", "-o", "jsonpath={..namespace}"]).stdout.strip()
        if not found and POD_NAMESPACE.exists():
            found = POD_NAMESPACE.read_text().strip()
        return found

    def require(self, needs: Needs) -> None:
        found = self.run(["get", "--raw", f"/apis/{ARGO}/v1alpha1"])
        if found.returncode != 0 and "NotFound" not in found.stderr:
            raise ClusterError(f"kubectl cannot reach a cluster: {last_line(found.stderr)}")
        lacking = list(needs.kinds) if found.returncode != 0 else preflight.lacking_kinds(found, needs.kinds)
        if lacking:
            raise ClusterError(
                f"the cluster has no Argo Workflows (it does not know {', '.join(lacking)}); install it, or choose "
                "another context with kubectl config"
            )
        for api, kind in needs.others:
            if not preflight.knows(self.run(["get", "--raw", f"/apis/{api}"]), kind):
                raise ClusterError(
                    f"the cluster has no {kind} of {api}, and nothing was applied: install Kubeflow's training "
                    "operator (version 1), or leave distributed=true out"
                )
        preflight.require(self.run, self.namespace, needs)

    def apply(self, manifest: Manifest) -> bool:
        # Client-side: with --server-side, the small CRDs would drop a suspend that someone has set.
        return not self.must(["apply", "-f", "-"], manifest).rstrip().endswith(" unchanged")

    def start(self, manifest: Manifest) -> str:
        created = self.must(["create", "-f", "-", "-o", "name"], manifest)
        return created.strip().partition("/")[2]

    def phase(self, name: str) -> tuple[str, str]:
        answer = self.run(["get", "workflow", name, "-o", "json"])
        status = json.loads(answer.stdout).get("status", {}) if answer.returncode == 0 else {}
        return status.get("phase", ""), status.get("message", "")

    def watch(self, name: str) -> Iterator[dict[str, Any]]:
        silent, seen = time.monotonic(), False
        while True:
            answer = self.run(["get", "workflow", name, "-o", "json"])
            if answer.returncode == 0:
                silent, seen = time.monotonic(), True
                found: dict[str, Any] = json.loads(answer.stdout)
                yield found
                if finished(found):
                    return
            elif "NotFound" in answer.stderr:
                if not seen:
                    raise ClusterError(f"there is no workflow {name} in namespace {self.namespace}")
                raise ClusterError(f"workflow {name} was deleted while it was followed")
            elif time.monotonic() - silent > PATIENCE:
                raise LostError(f"the cluster has not answered for {PATIENCE:.0f} s: {last_line(answer.stderr)}")
            time.sleep(POLL_SECONDS)

    def logs(self, name: str, say: Say) -> None:
        """A thread for each pod, from when it runs; returns when the workflow has ended and all was read."""
        readers: dict[str, threading.Thread] = {}
        over = False
        while not over:
            state = self.run(["get", "workflow", name, "-o", "jsonpath={.status.finishedAt}"])
            over = "NotFound" in state.stderr or (state.returncode == 0 and bool(state.stdout.strip()))
            for pod, called in self.started_pods(name).items():
                if pod not in readers:
                    readers[pod] = threading.Thread(target=self.read, args=(pod, called, say), daemon=True)
                    readers[pod].start()
            if not over:
                time.sleep(POLL_SECONDS)
        for reader in readers.values():
            reader.join(PATIENCE)

    def started_pods(self, name: str) -> dict[str, str]:
        """The pods that have, or have had, something to say, each with what to call it."""
        answer = self.run(["get", "pods", "-l", f"{LABEL}={name}", "-o", "json"])
        if answer.returncode != 0:
            return {}
        found = {}
        for pod in json.loads(answer.stdout)["items"]:
            if pod.get("status", {}).get("phase") not in (None, "Pending"):
                metadata = pod["metadata"]
                node = metadata.get("annotations", {}).get(NODE_NAME, metadata["name"])
                found[metadata["name"]] = label(node, name)
        return found

    def read(self, pod: str, called: str, say: Say) -> None:
        with subprocess.Popen(
            self.command(["logs", "--follow", "--container", "main", pod]),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is a question to a person, not the end of the logs
        ) as process:
            with self._guard:
                self._readers.add(process)
            assert process.stdout is not None
            with contextlib.suppress(ValueError):
                for row in process.stdout:
                    say(called, row.rstrip("\n"))
            with self._guard:
                self._readers.discard(process)

    def close(self) -> None:
        with self._guard:
            for process in self._readers:
                process.terminate()

    def waiting(self, workflow: Manifest) -> list[Waiting]:
        """As the controller tells it, or where that says nothing, as the pod does: it may wait for Argo's own image."""
        found = waiting_nodes(workflow)
        if all(one.reason not in NOT_SAYING for one in found):
            return found
        answer = self.run(["get", "pods", "-l", f"{LABEL}={workflow['metadata']['name']}", "-o", "json"])
        if answer.returncode != 0:
            return found
        told = pods_waiting(json.loads(answer.stdout)["items"], workflow["metadata"]["name"])
        return [told.get(one.pod, one) if one.reason in NOT_SAYING else one for one in found]

    def stop(self, name: str) -> None:
        self.must(["patch", "workflow", name, "--type", "merge", "--patch", '{"spec":{"shutdown":"Stop"}}'])

    def pause(self, schedule: str, suspended: bool) -> None:
        patch = json.dumps({"spec": {"suspend": suspended}}, separators=(",", ":"))
        self.must(["patch", "cronworkflow", schedule, "--type", "merge", "--patch", patch])

    def suspended(self, schedules: Sequence[str]) -> set[str]:
        answer = self.run(["get", "cronworkflow", *schedules, "-o", "json"])
        found = list(preflight.objects(answer.stdout)) if answer.returncode == 0 else []
        return {one["metadata"]["name"] for one in found if one["spec"].get("suspend")}

    def command(self, words: Sequence[str]) -> list[str]:
        return ["kubectl", *(["--namespace", self.namespace] if self.namespace else []), *words]

    def run(self, words: Sequence[str], manifest: Mapping[str, Any] | None = None) -> subprocess.CompletedProcess[str]:
        text = None if manifest is None else json.dumps(manifest)
        try:
            return subprocess.run(
                self.command(words), input=text, capture_output=True, text=True, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(words, 1, "", f"kubectl has not answered within {PATIENCE:.0f} s")

    def must(self, words: Sequence[str], manifest: Mapping[str, Any] | None = None) -> str:
        answer = self.run(words, manifest)
        if answer.returncode != 0:
            what = f"{manifest['kind']} {manifest['metadata']['name']}" if manifest else "this"
            raise ClusterError(f"kubectl {words[0]} refused {what}: {last_line(answer.stderr)}")
        return answer.stdout


def pods_waiting(pods: Sequence[Mapping[str, Any]], workflow: str) -> dict[str, Waiting]:
    """What each pod that has not begun waits for, by what it is called."""
    found = {}
    for pod in pods:
        metadata, status = pod["metadata"], pod.get("status", {})
        called = label(metadata.get("annotations", {}).get(NODE_NAME, metadata["name"]), workflow)
        for one in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
            state = one.get("state", {}).get("waiting", {})
            if state.get("reason", "") not in NOT_SAYING:
                found[called] = Waiting(called, state["reason"], state.get("message", ""), one.get("image", ""))
                break
    return found


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
