"""What a finished run has brought, in words and tables, and what to type next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

Outputs = Mapping[str, Mapping[str, str]]
"""The output parameters of each node, by the node's name."""

NEXT = {
    "retrain": (
        ("python -m steps.serve", "answer requests, described at http://127.0.0.1:8080/docs"),
        ("python workflows/submit.py batch-predict", "write recommendations for every user"),
        ("python workflows/submit.py rollback", "go back to the release before"),
        ("python cron/deploy.py --on local", "retrain every night from here on"),
    ),
    "rollback": (("python -m steps.serve", "answer requests"),),
    "batch-predict": (("python -m steps.serve", "answer requests one by one"),),
    "cleanup": (),
}
AFTER_A_LOOK = (
    ("python -m steps.client --shopper --count 500", "play shoppers at a server that runs"),
    ("python workflows/submit.py retrain -p canary=10", "make a new model, and try it on a tenth of the users"),
    ("python cron/deploy.py --on local", "look every hour from here on"),
)


def show(console: Console, workflow: str, outputs: Outputs, namespace: str = "") -> None:
    """The result of a run that succeeded, on a cluster if there is a namespace."""
    released = outputs.get("model-publish", {})
    plan = outputs.get("plan", {})
    if workflow == "retrain" and plan.get("train") == "false":
        say(console, f"Nothing to do: {plan.get('reason') or 'nothing has changed'}. Nothing was released.")
    elif released.get("became") == "aborted":
        taken_back(console, released["version"], "")
    elif released.get("became") == "canary":
        canary(console, released, outputs)
    elif released.get("version"):
        release(console, released, outputs.get("evaluate", {}))
    elif workflow == "retrain":
        verdict(console, outputs)
    elif workflow == "batch-predict":
        merged = outputs.get("merge", {})
        say(console, f"Predictions for {merged.get('users', '?')} users: {merged.get('predictions', '?')}")
    elif workflow == "monitor":
        looked(console, outputs, namespace)
    elif workflow == "cleanup":
        done = outputs.get("cleanup", {})
        say(console, f"Removed {done.get('removed', '?')} objects, {done.get('bytes', '?')} bytes.")
    commands(console, on_cluster(workflow, namespace) if namespace else NEXT.get(workflow, ()))


def looked(console: Console, outputs: Outputs, namespace: str) -> None:
    """What monitor has found, and what came of the retraining where there was one."""
    found = outputs.get("monitor", {})
    for text in (f"{found.get('reason', '')}.", f"The page: {found.get('report', '')}"):
        say(console, text)
    begun = {name.removeprefix("retrain."): one for name, one in outputs.items() if name.startswith("retrain.")}
    if begun:
        show(console, "retrain", begun, namespace)
    else:
        commands(console, () if namespace else AFTER_A_LOOK)


def on_cluster(workflow: str, namespace: str) -> tuple[tuple[str, str], ...]:
    """What to type next where a workflow ran on a cluster."""
    answer = (f"kubectl -n {namespace} port-forward service/model-server 8080:80", "then http://127.0.0.1:8080/docs")
    more = tuple(
        (f"python workflows/submit.py {name} --on argo -n {namespace}", what)
        for name, what in (
            ("batch-predict", "write recommendations for every user"),
            ("rollback", "go back to the release before"),
        )
    )
    schedules = ((f"python cron/deploy.py -n {namespace}", "retrain every night from here on"),)
    found = {"retrain": (answer, *more, *schedules), "rollback": (answer,), "batch-predict": (answer,)}
    return found.get(workflow, ())


def say(console: Console, text: str, style: str = "") -> None:
    """A line of text, never wrapped: it may hold an address or a command that someone copies."""
    console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)


def release(console: Console, released: Mapping[str, str], evaluated: Mapping[str, str]) -> None:
    where = f" in slot {released['slot']}" if released.get("slot") else ""
    say(console, f"Released version {released['version']}{where}: {released.get('candidate', '')}", style="bold")
    judgement(console, evaluated)
    shown = sample(evaluated.get("sample", ""))
    if shown is not None:
        console.print(shown)


def canary(console: Console, tried: Mapping[str, str], outputs: Outputs) -> None:
    """What became of a version that was tried first."""
    judged = outputs.get("canary.canary-verdict", {})
    promoted = outputs.get("canary.canary-promote", {})
    if promoted.get("version"):
        release(console, promoted, {**outputs.get("evaluate", {}), "reason": judged.get("reason", "")})
    elif outputs.get("canary.canary-abort", {}).get("version"):
        taken_back(console, tried["version"], judged.get("reason", ""))
    else:
        say(console, f"Version {tried['version']} was tried; what became of it was decided elsewhere.", style="bold")


def taken_back(console: Console, version: str, reason: str) -> None:
    say(console, f"Version {version} was taken back; what was live stays live.", style="bold")
    if reason:
        say(console, f"{reason}.")


def verdict(console: Console, outputs: Outputs) -> None:
    evaluated = outputs.get("evaluate", {})
    promoted = evaluated.get("promote") == "true"
    why = "The best candidate was not approved" if promoted else "No candidate was good enough"
    say(console, f"{why}; what was live stays live.", style="bold")
    judgement(console, evaluated)


def judgement(console: Console, evaluated: Mapping[str, str]) -> None:
    """Why it was decided so, by which figures, and where they are shown at length."""
    if evaluated.get("reason"):
        say(console, f"{evaluated['reason']}.")
    if evaluated.get("metrics"):
        console.print(metrics(evaluated["metrics"]))
    if evaluated.get("report"):
        say(console, f"Report: {evaluated['report']}")


def metrics(text: str) -> Table:
    """What evaluate has measured: a column a model and a row a metric, so that it fits a narrow terminal."""
    models = {name: values for name, values in (parsed(text, dict) or {}).items() if isinstance(values, dict)}
    table = Table(box=None, pad_edge=False)
    table.add_column("metric")
    for model in models:
        table.add_column(model, justify="right")
    for name in dict.fromkeys(key for values in models.values() for key in values):
        table.add_row(name, *(number(values.get(name)) for values in models.values()))
    return table


def sample(text: str) -> Table | None:
    """A few users, what they bought, and what they would be shown."""
    rows = parsed(text, list) or []
    rows = [row for row in rows if isinstance(row, dict) and row.get("recommended")]
    if not rows:
        return None
    table = Table(title="A few recommendations", title_justify="left", pad_edge=False)
    for name in ("user", "bought", "recommended"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(str(row.get("user", "")), names(row.get("bought")), names(row["recommended"]))
    return table


def commands(console: Console, following: Sequence[tuple[str, str]]) -> None:
    if not following:
        return
    width = max(len(command) for command, _ in following)
    say(console, "Next:")
    for command, what in following:
        say(console, f"  {command.ljust(width)}   {what}")


def names(value: Any, most: int = 5) -> str:
    listed = [str(name) for name in value] if isinstance(value, list) else []
    return ", ".join(plain(listed[:most])) + (" …" if len(listed) > most else "")


def plain(listed: list[str]) -> Iterator[str]:
    """Names of products are data: rich's markup and control characters in them are only text."""
    for name in listed:
        yield "".join(character if character.isprintable() else "?" for character in name).replace("[", r"\[")


def number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return "–" if value is None else str(value)


def parsed(text: str, kind: type) -> Any:
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, kind) else None
