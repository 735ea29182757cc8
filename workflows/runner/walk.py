"""Walks a built workflow from its entrypoint to its exit handler, on this machine."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from workflows.runner.dag import Dag
from workflows.runner.durations import seconds
from workflows.runner.expressions import ExpressionError
from workflows.runner.leaf import Leaf
from workflows.runner.session import Outcome, Session, StoppedError
from workflows.runner.substitution import TagError, as_text, substitute
from workflows.runner.support import NO_RESOURCE
from workflows.runner.suspend import suspend
from workflows.runner.tree import Node, Phase

EXIT = "onExit"


class Walk:
    """One workflow that goes on; `run` returns how it has ended."""

    def __init__(self, manifest: Mapping[str, Any], session: Session) -> None:
        self.spec = manifest["spec"]
        self.session = session
        self.templates: dict[str, Mapping[str, Any]] = {t["name"]: t for t in self.spec["templates"]}

    def run(self) -> Outcome:
        """The entrypoint, then the exit handler; an interrupted run has neither succeeded nor failed."""
        began = time.monotonic()
        session, tree = self.session, self.session.tree
        timer = self.deadline()
        tree.change(tree.root, phase=Phase.RUNNING, started=began)
        try:
            with session.mutexes(mutexes(self.spec), lambda name: tree.change(tree.root, message=f"waits for {name}")):
                outcome = self.template(self.spec["entrypoint"], "", "", self.arguments(), tree.root, "")
        except StoppedError as stop:
            outcome = Outcome(Phase.FAILED, message=str(stop))
        finally:
            if timer:
                timer.cancel()
        if not session.interrupted and "onExit" in self.spec:
            outcome = self.leave(outcome, time.monotonic() - began)
        tree.change(tree.root, phase=outcome.phase, message=outcome.message, seconds=time.monotonic() - began)
        return outcome

    def deadline(self) -> threading.Timer | None:
        limit = self.spec.get("activeDeadlineSeconds")
        if limit is None:
            return None

        def expire() -> None:
            self.session.stop(f"the workflow was not done within {limit} s", interrupted=False)

        timer = threading.Timer(seconds(limit), expire)
        timer.daemon = True
        timer.start()
        return timer

    def arguments(self) -> dict[str, str]:
        """The workflow's own parameters also reach the entrypoint's inputs of the same name."""
        prefix = "workflow.parameters."
        return {key.removeprefix(prefix): value for key, value in self.session.scope.items() if key.startswith(prefix)}

    def leave(self, outcome: Outcome, elapsed: float) -> Outcome:
        """Runs the exit handler; where all else was well, its failure is the workflow's."""
        self.session.go_on()
        self.session.scope |= {
            "workflow.status": str(outcome.phase),
            "workflow.failures": failures(self.session.tree.root),
            "workflow.duration": f"{elapsed:.6f}",
        }
        try:
            left = self.template(self.spec["onExit"], EXIT, EXIT, self.arguments(), None, outcome.lineage)
        except StoppedError as stop:
            left = Outcome(Phase.FAILED, message=str(stop))
        if left.phase.bad and outcome.phase is Phase.SUCCEEDED:
            return Outcome(left.phase, outcome.outputs, f"the exit handler failed: {left.message}")
        return outcome

    def template(
        self, name: str, path: str, label: str, arguments: Mapping[str, str], parent: Node | None, lineage: str
    ) -> Outcome:
        """Runs one template as the node at `path`; the entrypoint's node is the root itself if it is a DAG."""
        template, tree = self.templates[name], self.session.tree
        is_dag = "dag" in template
        node = (
            tree.root if is_dag and not path else tree.add(parent, path or name, label or name, name, leaf=not is_dag)
        )
        try:
            outcome = self.node(template, path, node, arguments, lineage)
        except (TagError, ExpressionError, InputError) as error:
            outcome = Outcome(Phase.ERROR, message=str(error))
        except StoppedError as stop:
            tree.change(node, phase=Phase.FAILED, message=str(stop))
            raise
        tree.change(node, phase=outcome.phase, message=outcome.message, outputs=dict(outcome.outputs))
        return outcome

    def node(
        self, template: Mapping[str, Any], path: str, node: Node, arguments: Mapping[str, str], lineage: str
    ) -> Outcome:
        session = self.session
        scope = {**session.scope, **inputs(template, arguments, session.scope)}

        def waiting(name: str) -> None:
            session.tree.change(node, message=f"waits for mutex {name}")

        names = [str(substitute(name, scope)) for name in mutexes(template)]
        with session.mutexes(names, waiting) as held:
            if "container" in template:
                return Leaf(session, node, template, scope, lineage).run(held)
            if "resource" in template:
                return Outcome(Phase.ERROR, message=f"{template['name']} {NO_RESOURCE}")
            session.tree.change(node, phase=Phase.RUNNING, started=node.started or time.monotonic(), message="")
            if "dag" in template:
                return Dag(session, template, path, node, scope, self.template, lineage).run()
            return suspend(session, node, template, scope, lineage)


class InputError(ValueError):
    """A template did not get an argument that it needs, or got one that it does not allow."""


def inputs(template: Mapping[str, Any], arguments: Mapping[str, str], scope: Mapping[str, str]) -> dict[str, str]:
    """What `{{inputs.parameters.x}}` stands for: the argument, else the parameter's own value or default."""
    found = {}
    for parameter in template.get("inputs", {}).get("parameters", []):
        name = parameter["name"]
        value = arguments.get(name, parameter.get("value", parameter.get("default")))
        if value is None:
            raise InputError(f"template {template['name']} needs a value for {name!r}")
        # Tags of the workflow may stand in a value too: a source whose name holds {{workflow.scheduledTime}}.
        value = substitute(as_text(value), scope, strict=False)
        if "enum" in parameter and value not in parameter["enum"]:
            raise InputError(f"{name!r} is {value!r}; it may be {', '.join(parameter['enum'])}")
        found[f"inputs.parameters.{name}"] = value
    return found


def mutexes(holder: Mapping[str, Any]) -> list[str]:
    """Names of the mutexes that a workflow or a template holds while it runs."""
    return [mutex["name"] for mutex in holder.get("synchronization", {}).get("mutexes", [])]


def failures(root: Node) -> str:
    """`{{workflow.failures}}`: a JSON list as a JSON text, for so the controller writes it; decode it twice."""
    found = [
        {
            "displayName": node.name,
            "message": node.message,
            "templateName": node.template,
            "phase": str(node.phase),
            "podName": node.path,
            "finishedAt": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        for node in root.walk()
        if node.leaf and node.phase.bad
    ]
    return json.dumps(json.dumps(found or None, ensure_ascii=False), ensure_ascii=False)


def global_scope(
    manifest: Mapping[str, Any], name: str, parameters: Mapping[str, str], scheduled: str = "", created: str = ""
) -> dict[str, str]:
    """What `{{workflow.…}}` stands for in a run; a parameter's value may name the others of them."""
    began = datetime.fromisoformat(created) if created else datetime.now(UTC)
    scope = {
        "workflow.name": name,
        "workflow.namespace": "default",
        "workflow.uid": name,
        "workflow.mainEntrypoint": manifest["spec"]["entrypoint"],
        "workflow.serviceAccountName": manifest["spec"].get("serviceAccountName", "default"),
        "workflow.creationTimestamp": began.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "workflow.creationTimestamp.RFC3339": began.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    if scheduled:
        scope["workflow.scheduledTime"] = scheduled
    values = {}
    for parameter in manifest["spec"].get("arguments", {}).get("parameters", []):
        value = parameters.get(parameter["name"], parameter.get("value", parameter.get("default")))
        if value is None:
            raise InputError(f"the workflow needs a value for {parameter['name']!r}; give -p {parameter['name']}=…")
        value = substitute(as_text(value), scope, strict=False)
        if "enum" in parameter and value not in parameter["enum"]:
            raise InputError(f"{parameter['name']!r} is {value!r}; it may be {', '.join(parameter['enum'])}")
        values[parameter["name"]] = value
    listed = [{"name": key, "value": value} for key, value in values.items()]
    return scope | {
        "workflow.parameters": json.dumps(listed, ensure_ascii=False),
        **{f"workflow.parameters.{key}": value for key, value in values.items()},
    }
