"""A namespace of a test file's own on a real cluster: what is applied there, what runs in it, how to wait for it."""

from __future__ import annotations

import atexit
import base64
import functools
import http.client
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from steps.artifacts import release
from steps.artifacts.release import Release
from steps.clients.object_store import Store, open_store
from steps.runtime.settings import Settings

ROOT = Path(__file__).parents[3]
KUBERNETES = ROOT / "containers" / "kubernetes"
LOAD = Path(__file__).with_name("load.py")
WORKFLOW = "workflows.argoproj.io/workflow"

SETTINGS = "als.factors=16,als.iterations=5"
SHOP = ("-p", "source=demo:users=300,items=60,days=120", "-p", f"set={SETTINGS}")
ALONE = (*SHOP, "-p", "models=als")
QUICK = ("-p", "models=popularity", "-p", "min-metric=hit_rate@10=0")
"""With SHOP: one model, promoted whatever it is like, for tests of what happens around it."""

Found = TypeVar("Found")


def until(
    what: str,
    look: Callable[[], Found | None],
    within: float = 180.0,
    every: float = 0.5,
    told: Callable[[], str] = lambda: "",
) -> Found:
    """The first answer of `look` that is not empty; asks until then, but not for longer than `within` seconds."""
    end = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"after {within:.0f} s there is still not: {what}\n{told()}")
        time.sleep(every)
    return found


def api(path: str) -> dict[str, Any]:
    """What the API server answers. Asked often: through a proxy this costs a hundredth of a kubectl of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", proxy(), timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {text[:300]!r}"
        found: dict[str, Any] = json.loads(text)
        return found
    finally:
        connection.close()


@functools.cache
def proxy() -> int:
    """The port of a `kubectl proxy`, which lives as long as this process."""
    words = ["kubectl", "proxy", "--port=0", "--reject-methods=^(POST|PUT|PATCH|DELETE)$"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    atexit.register(process.terminate)
    assert process.stdout is not None
    return int(process.stdout.readline().rpartition(":")[2])


@dataclass(frozen=True)
class Node:
    """One node of a workflow's tree, as the controller tells it."""

    raw: Mapping[str, Any]
    workflow: str

    @property
    def name(self) -> str:
        """The path below the workflow: `train(0:als)(1)` is the second attempt at a fan-out's first item."""
        return str(self.raw["name"]).removeprefix(f"{self.workflow}.")

    @property
    def phase(self) -> str:
        return str(self.raw.get("phase", ""))

    @property
    def message(self) -> str:
        return str(self.raw.get("message", ""))

    @property
    def pod(self) -> str:
        return f"{self.workflow}-{self.raw['templateName']}-{self.raw['id'].rpartition('-')[2]}"

    @property
    def exit_code(self) -> str:
        return str(self.raw.get("outputs", {}).get("exitCode", ""))

    @property
    def outputs(self) -> dict[str, str]:
        return {one["name"]: one.get("value", "") for one in self.raw.get("outputs", {}).get("parameters", [])}

    @property
    def seconds(self) -> float:
        return moment(self.raw["finishedAt"]) - moment(self.raw["startedAt"])


def readme(command: str) -> list[str]:
    """The lines that the README shows below the command that begins like this."""
    rows = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    [at, *_] = [number for number, row in enumerate(rows) if row.startswith(f"$ {command}")]
    return list(itertools.takewhile(lambda row: not row.startswith(("$ ", "```")), rows[at + 1 :]))


def submitted(done: subprocess.CompletedProcess[str]) -> str:
    """The name of the workflow that submit.py has started."""
    found = re.search(r"^Workflow (\S+) was submitted", done.stderr, re.MULTILINE)
    assert found, done.stderr
    return found[1]


def nodes_of(workflow: Mapping[str, Any]) -> dict[str, Node]:
    """By name. The controller has not seen a new workflow yet: it has none."""
    name = workflow["metadata"]["name"]
    raws = (workflow.get("status", {}).get("nodes") or {}).values()
    return {node.name: node for node in (Node(raw, name) for raw in raws)}


def over(workflow: Mapping[str, Any]) -> bool:
    return bool(workflow.get("status", {}).get("finishedAt"))


def moment(text: str) -> float:
    return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


@dataclass(frozen=True)
class World:
    """A namespace, and the programs that work in it."""

    namespace: str

    # --- programs

    def run(
        self, *words: str, stdin: str | None = None, check: bool = True, within: float = 300.0, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            words, input=stdin, capture_output=True, text=True, timeout=within, check=False, cwd=ROOT,
            env={**os.environ, **environment},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True, within: float = 300.0) -> str:
        return self.run("kubectl", "-n", self.namespace, *words, stdin=stdin, check=check, within=within).stdout

    def get(self, *words: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def argo(self, *words: str, check: bool = True) -> str:
        return self.run("argo", "-n", self.namespace, *words, check=check).stdout

    def submit(self, *words: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """`submit.py --on argo` as a user types it."""
        script = str(ROOT / "workflows" / "submit.py")
        command = (sys.executable, script, *words, "--on", "argo", "-n", self.namespace)
        return self.run(*command, check=check, within=600, **environment)

    def start(self, *words: str) -> str:
        """Submits and comes back at once with the workflow's name."""
        return self.submit(*words, "--detach").stdout.strip()

    def deploy(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`deploy.py` as a user types it."""
        return self.run(
            sys.executable, str(ROOT / "cron" / "deploy.py"), *words, "-n", self.namespace, within=600, **environment
        )

    # --- what is applied

    def clean(self, wait: bool = True) -> None:
        words = ("delete", "namespace", self.namespace, "--ignore-not-found", f"--wait={str(wait).lower()}")
        self.run("kubectl", *words, "--timeout=180s")

    def apply(self, overlay: str, modest: str = ".*") -> None:
        """`kubectl apply -k` of an overlay, in this namespace instead of its own.

        Deployments of that name ask for less of the node's time, so that two such worlds have room on a small one.
        """
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.relpath(KUBERNETES / "overlays" / overlay, folder)
            asked = "/spec/template/spec/containers/0/resources/requests/cpu"
            less = yaml.safe_dump([{"op": "replace", "path": asked, "value": "20m"}])
            wrapped = {
                "resources": [path],
                "namespace": self.namespace,
                "patches": [{"target": {"kind": "Deployment", "name": modest}, "patch": less}],
            }
            (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(wrapped), encoding="utf-8")
            self.run("kubectl", "apply", "-k", folder)

    def ready(self, *deployments: str, within: int = 240) -> None:
        """Waits until deployments, all of them if none is named, have all their replicas."""
        named = deployments or self.kubectl("get", "deployments", "-o", "name").split()
        for one in named:
            self.kubectl("rollout", "status", one if "/" in one else f"deployment/{one}", f"--timeout={within}s")

    def template(self, name: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Applies a workflow's template with a change, which `change` makes to its container templates by name."""
        script = str(ROOT / "workflows" / "submit.py")
        manifest = yaml.safe_load(self.run(sys.executable, script, name, "-o", "yaml").stdout)
        change({template["name"]: template for template in manifest["spec"]["templates"]})
        self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))

    # --- workflows

    def workflow(self, name: str) -> dict[str, Any]:
        return api(f"/apis/argoproj.io/v1alpha1/namespaces/{self.namespace}/workflows/{name}")

    def phase(self, name: str) -> str:
        return str(self.workflow(name).get("status", {}).get("phase", ""))

    def nodes(self, name: str) -> dict[str, Node]:
        return nodes_of(self.workflow(name))

    def ended(self, name: str, phase: str = "Succeeded", within: float = 500.0) -> dict[str, Node]:
        """Waits for the workflow's end, which must be `phase`; returns its nodes."""
        until(f"the end of {name}", lambda: over(self.workflow(name)), within, told=lambda: self.tree(name))
        assert self.phase(name) == phase, self.tree(name)
        return self.nodes(name)

    def reached(self, name: str, node: str, phase: str = "Running", within: float = 300.0) -> Node:
        """Waits until a node is in that phase. Before `Running`, the controller has not seen the pod at work."""

        def look() -> Node | None:
            workflow = self.workflow(name)
            found = nodes_of(workflow).get(node)
            if found is not None and found.phase == phase:
                return found
            assert not over(workflow), self.tree(name)
            return None

        return until(f"{node} {phase} in {name}", look, within, told=lambda: self.tree(name))

    def tree(self, name: str) -> str:
        """What to look at when a workflow did not end as it should have."""
        found = self.workflow(name).get("status", {})
        rows = [f"{name} {found.get('phase')}: {found.get('message', '')}"]
        rows += [f"  {node.name} {node.phase} {node.message}" for node in self.nodes(name).values()]
        return "\n".join(rows)

    def approve(self, name: str, answer: str) -> None:
        """What a person types who was asked whether the new model may be published."""
        chosen = ("--node-field-selector", "displayName=approval", "--output-parameter", f"approved={answer}")
        assert self.argo("node", "set", name, *chosen).splitlines() == readme("argo node set")
        self.argo("resume", name)

    def logs(self, node: Node) -> str:
        return self.kubectl("logs", node.pod, "-c", "main")

    # --- what answers

    def address(self, service: str) -> tuple[str, int]:
        spec = self.get("service", service)["spec"]
        return spec["clusterIP"], spec["ports"][0]["port"]

    def ask(self, service: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        """One request to a Service, with what was answered."""
        connection = http.client.HTTPConnection(*self.address(service), timeout=20)
        try:
            text = None if body is None else json.dumps(body)
            headers = {"content-type": "application/json"} if text else {}
            connection.request("POST" if text else "GET", path, text, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def answering(self, version: int, within: float = 120.0) -> dict[str, Any]:
        """Waits until the model server answers with that version, several times in a row: it has several pods."""

        def look() -> dict[str, Any] | None:
            last = {}
            for number in range(8):
                status, last = self.ask("model-server", "/recommend", {"user": f"u{number:04d}", "k": 3})
                if status != 200 or last["version"] != version:
                    return None
            return last

        return until(f"version {version} answering", look, within)

    def store(self) -> Store:
        """The S3 store of this namespace, as seen from this machine."""
        settings = self.get("configmap", "recommender-settings")["data"]
        secret = self.get("secret", "recommender-s3")["data"]
        host, port = self.address("minio")
        keys = {name: base64.b64decode(value).decode() for name, value in secret.items()}
        return open_store(Settings.from_environment({**settings, **keys, "S3_ENDPOINT": f"http://{host}:{port}"}))

    def live(self) -> Release:
        found = release.live(self.store().models)
        assert found is not None, "nothing was released"
        return found

    def run_report(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.store().models.get(f"runs/{name}.json"))
        return found

    @contextmanager
    def load(self, rate: int = 100, seconds: int = 900) -> Iterator[Load]:
        """Requests to the model server's Service for as long as the block lasts."""
        host, port = self.address("model-server")
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "load.json"
            command = [sys.executable, str(LOAD), f"http://{host}:{port}", f"--rate={rate}", f"--seconds={seconds}"]
            with subprocess.Popen([*command, f"--report={report}"], stderr=subprocess.PIPE, text=True) as process:
                load = Load(process, report)
                try:
                    yield load
                finally:
                    process.terminate()

    # --- what goes wrong

    def kill(self, selector: str) -> None:
        """Its pods are gone at once, with no time to end what they do."""
        self.kubectl("delete", "pod", "-l", selector, "--grace-period=0", "--force", "--wait=true")


@dataclass
class Load:
    """Requests that are being sent."""

    process: subprocess.Popen[str]
    path: Path

    def stop(self) -> dict[str, Any]:
        """Ends it; returns what was counted."""
        self.process.terminate()
        _, said = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, said
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found
