"""A suspend node: waits for a person's answer, or for its duration to pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workflows.runner.durations import seconds
from workflows.runner.record import Entry, digest
from workflows.runner.session import Clock, Outcome, Question, Session
from workflows.runner.substitution import substitute
from workflows.runner.tree import Node, Phase


def suspend(
    session: Session, node: Node, template: Mapping[str, Any], scope: Mapping[str, str], lineage: str = ""
) -> Outcome:
    """Asks for each supplied output on a terminal; when the duration has passed, the defaults are the answer."""
    told = substitute(template["suspend"] or {}, scope)
    given = {key: scope[key] for key in scope if key.startswith("inputs.")}
    asked = digest({"suspend": told, "inputs": given, "lineage": lineage})
    earlier = session.run.succeeded(node.path, asked)
    if earlier is not None:
        session.tree.change(node, reused=True)
        return Outcome(Phase.SUCCEEDED, earlier.outputs, earlier.message, lineage=asked)
    clock = Clock(seconds(told["duration"]) if "duration" in told else None)
    outcome = answers(session, node, template, clock, told_about(template, given))
    session.check()
    if outcome.phase is Phase.SUCCEEDED:
        session.run.append(Entry(node.path, outcome.phase, asked, outcome.outputs, outcome.message))
    return replace(outcome, lineage=asked)


def told_about(template: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, str]:
    """The inputs, without those that only say what may be answered."""
    prefix = "inputs.parameters."
    choices = {f"{prefix}{output['name']}" for output in template.get("outputs", {}).get("parameters", [])}
    return {key.removeprefix(prefix): value for key, value in given.items() if key not in choices}


def answers(
    session: Session, node: Node, template: Mapping[str, Any], clock: Clock, about: Mapping[str, str]
) -> Outcome:
    outputs: dict[str, str] = {}
    messages: list[str] = []
    supplied = template.get("outputs", {}).get("parameters", [])
    allowed = {p["name"]: p.get("enum", []) for p in template.get("inputs", {}).get("parameters", [])}
    for parameter in supplied or [{"name": "", "valueFrom": {}}]:
        name, default = parameter["name"], parameter["valueFrom"].get("default")
        question = Question(node.path, name, allowed.get(name, []), default, clock.left, session.stopped, about)
        answer = None if clock.over else session.ask(question)
        session.check()
        late = answer is None
        if answer is None:
            if clock.left is None:
                return Outcome(Phase.FAILED, message="it waits for an answer, and there is no terminal to ask on")
            session.sleep(clock.left)
            answer = default if name else ""
        if answer is None:
            return Outcome(Phase.ERROR, message=f"{name!r} was not answered in time, and has no default")
        if name:
            outputs[name] = answer
            messages.append(f"{name}: {answer}{' (nobody answered in time)' if late else ''}")
    return Outcome(Phase.SUCCEEDED, outputs, "; ".join(messages))
