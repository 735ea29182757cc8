"""Small workflows of the tests' own, and a way to run them here."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from workflows.local import LocalEngine
from workflows.runner.record import Request, Run
from workflows.runner.session import Question
from workflows.runner.start import start
from workflows.runner.tree import Node, Phase, Tree

Template = dict[str, Any]


def container(name: str, script: str, *, outputs: Mapping[str, str | None] | None = None, **fields: Any) -> Template:
    """A container that runs a shell script; its outputs are files below /outputs."""
    inputs = fields.pop("inputs", ())
    parameters = []
    for key, default in (outputs or {}).items():
        source = {"path": f"/outputs/{key}"} | ({} if default is None else {"default": default})
        parameters.append({"name": key, "valueFrom": source})
    return {
        "name": name,
        "inputs": {"parameters": [{"name": key} for key in inputs]},
        "outputs": {"parameters": parameters},
        "container": {
            "image": "none:1",
            "command": ["sh", "-c"],
            "args": [script],
            "env": [{"name": "OUTPUTS", "value": "/outputs"}, {"name": "RUN", "value": "{{workflow.name}}"}],
            "volumeMounts": [
                {"name": "outputs", "mountPath": "/outputs"},
                {"name": "scratch", "mountPath": "/scratch"},
            ],
        },
        "volumes": [{"name": "outputs", "emptyDir": {}}, {"name": "scratch", "emptyDir": {}}],
        **fields,
    }


def task(name: str, template: str = "", *, arguments: Mapping[str, str] | None = None, **fields: Any) -> Template:
    given = [{"name": key, "value": value} for key, value in (arguments or {}).items()]
    return {"name": name, "template": template or name, "arguments": {"parameters": given}, **fields}


def manifest(templates: Sequence[Template], tasks: Sequence[Template] = (), **spec: Any) -> dict[str, Any]:
    """A WorkflowTemplate whose entrypoint is the DAG of these tasks, or the first template where there are none."""
    listed = list(templates)
    if tasks:
        listed.append({"name": "main", "dag": {"tasks": list(tasks)}})
    entry = "main" if tasks else listed[0]["name"]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "WorkflowTemplate",
        "metadata": {"name": "trial"},
        "spec": {"entrypoint": entry, "templates": listed, **spec},
    }


@dataclass
class Ran:
    """A finished run: how it ended, and what its nodes did."""

    run: Run
    tree: Tree
    phase: Phase
    message: str
    interrupted: bool

    def node(self, path: str) -> Node:
        found = [node for root in self.tree.roots for node in root.walk() if node.path == path]
        assert len(found) == 1, f"{path!r} is there {len(found)} times among {self.phases()}"
        return found[0]

    def phases(self) -> dict[str, str]:
        return {node.path: str(node.phase) for root in self.tree.roots for node in root.walk() if node.path}

    def log(self, path: str) -> str:
        log = self.node(path).log
        assert log is not None
        return log.read_text()


class Runner:
    """Begins and resumes runs below a folder of the test."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self.folder = folder

    def __call__(
        self,
        workflow: dict[str, Any],
        parameters: Mapping[str, str] | None = None,
        *,
        resume: str = "",
        ask: Callable[[Question], str | None] = lambda question: None,
        limit: int = 4,
        changed: Callable[[Node], None] | None = None,
        scheduled: str = "",
    ) -> Ran:
        if resume:
            run = Run.open(self.runs, resume, parameters=parameters)
        else:
            request = Request(
                "trial",
                workflow,
                dict(parameters or {}),
                "local",
                str(self.folder),
                {"STORE": "file:/none"},
                {},
                scheduled,
            )
            run = Run.begin(self.runs, request)
        tree = Tree(run.name, changed)
        with contextlib.closing(run):
            finished = start(run, LocalEngine(self.folder, run.request.settings), tree, ask, limit=limit)
        return Ran(run, tree, finished.outcome.phase, finished.outcome.message, finished.interrupted)


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


class Make:
    """The builders above, for tests: below tests/ nothing is a package that could be imported."""

    container = staticmethod(container)
    task = staticmethod(task)
    manifest = staticmethod(manifest)


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that answers from files; returns the folder with what it was told."""
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    # Without site-packages it starts at once, and a test starts it dozens of times.
    program.write_text(f"#!{sys.executable} -IS\n" + Path(__file__).with_name("fake_kubectl.py").read_text())
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_FOLDER", str(tmp_path))
    for name in ("ARGO_SERVER", "ARGO_NAMESPACE", "STORE_CLAIM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("workflows.cluster.kubectl.POLL_SECONDS", 0.05)
    return tmp_path
