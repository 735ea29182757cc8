"""The cluster through kubectl: no Argo Server is needed."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workflows.cluster.contract import ClusterError, Manifest, Say, finished
from workflows.cluster.status import label

POLL_SECONDS = 2.0
PATIENCE = 60.0
"""Seconds that an API server may be silent while a workflow is followed."""
LABEL = "workflows.argoproj.io/workflow"
NODE_NAME = "workflows.argoproj.io/node-name"


class Kubectl:
    """Applies, creates, polls and reads logs with kubectl and its current context."""

    def __init__(self, namespace: str = "") -> None:
        if not shutil.which("kubectl"):
            raise ClusterError(
                "there is no kubectl on the PATH; install it, or set ARGO_SERVER to an Argo Server's address"
            )
        self.namespace = namespace

    def check(self) -> None:
        """Says before anything is applied what is missing: the cluster, or Argo Workflows in it."""
        found = self.run(["get", "crd", "workflows.argoproj.io", "workflowtemplates.argoproj.io", "-o", "name"])
        if found.returncode == 0 or "Forbidden" in found.stderr:
            return  # who may not look at definitions may still submit
        if "NotFound" in found.stderr:
            raise ClusterError(
                "the cluster has no Argo Workflows; install it, or choose another context with kubectl config"
            )
        raise ClusterError(f"kubectl cannot reach a cluster: {last_line(found.stderr)}")

    def apply(self, manifest: Manifest) -> None:
        # Client-side: with --server-side, the small CRDs would drop a suspend that someone has set.
        self.must(["apply", "-f", "-"], manifest)

    def start(self, manifest: Manifest) -> str:
        created = self.must(["create", "-f", "-", "-o", "name"], manifest)
        return created.strip().partition("/")[2]

    def watch(self, name: str) -> Iterator[dict[str, Any]]:
        silent = time.monotonic()
        while True:
            answer = self.run(["get", "workflow", name, "-o", "json"])
            if answer.returncode == 0:
                silent = time.monotonic()
                found: dict[str, Any] = json.loads(answer.stdout)
                yield found
                if finished(found):
                    return
            elif "NotFound" in answer.stderr:
                raise ClusterError(f"workflow {name} was deleted while it was followed")
            elif time.monotonic() - silent > PATIENCE:
                raise ClusterError(f"the cluster has not answered for {PATIENCE:.0f} s: {last_line(answer.stderr)}")
            time.sleep(POLL_SECONDS)

    def logs(self, name: str, say: Say) -> None:
        """A thread for each pod, from when it runs; returns when the workflow has ended and all was read."""
        readers: dict[str, threading.Thread] = {}
        over = False
        while not over:
            state = self.run(["get", "workflow", name, "-o", "jsonpath={.status.finishedAt}"])
            over = state.returncode != 0 or bool(state.stdout.strip())
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
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
        ) as process:
            assert process.stdout is not None
            with contextlib.suppress(ValueError):
                for row in process.stdout:
                    say(called, row.rstrip("\n"))

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


def last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
