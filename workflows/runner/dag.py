"""Walks one DAG template: what may start, what is skipped or omitted, how the whole has ended.

The rules are those of Argo's controller (workflow/controller/dag.go), also where they surprise: a fan-out of which
every item was skipped has succeeded, and an omitted task counts as failed if what it waited for has failed.
"""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from workflows.runner import expressions
from workflows.runner.expressions import ExpressionError
from workflows.runner.fanout import FanoutError, Item, items
from workflows.runner.record import digest
from workflows.runner.session import Outcome, Session, StoppedError
from workflows.runner.substitution import TagError, substitute, tags
from workflows.runner.tree import Node, Phase

Task = Mapping[str, Any]
Execute = Callable[[str, str, str, Mapping[str, str], Node, str], Outcome]
"""Runs a template: its name, the node's path, the node's name, the arguments, the parent node, the lineage."""
SIDE_BY_SIDE = 64
"""Items of one fan-out that are looked after at the same time, whatever the limits on running containers say."""


@dataclass
class Ended:
    """A task that has ended, with the outcomes of its items where it was a fan-out."""

    outcome: Outcome
    group: list[Outcome] | None = None
    parents: list[str] = field(default_factory=list)

    def has(self, result: str) -> bool:
        phase, children = self.outcome.phase, [outcome.phase for outcome in self.group or []]
        answers = {
            "Succeeded": phase is Phase.SUCCEEDED,
            "Failed": phase is Phase.FAILED,
            "Errored": phase is Phase.ERROR,
            "Skipped": phase is Phase.SKIPPED,
            "Omitted": phase is Phase.OMITTED,
            "Daemoned": False,
            "AnySucceeded": Phase.SUCCEEDED in children,
            "AllFailed": bool(children) and all(child is Phase.FAILED for child in children),
        }
        return answers[result]


class Dag:
    """One DAG node that is being walked."""

    def __init__(
        self,
        session: Session,
        template: Mapping[str, Any],
        path: str,
        node: Node,
        scope: Mapping[str, str],
        execute: Execute,
        lineage: str,
    ) -> None:
        self.session = session
        self.template = template
        self.path = path
        self.node = node
        self.scope = scope
        self.execute = execute
        self.lineage = lineage
        self.tasks: dict[str, Task] = {task["name"]: task for task in template["dag"].get("tasks", [])}
        self.needs = {name: list(expressions.dependencies(self.depends(task))) for name, task in self.tasks.items()}
        self.ended: dict[str, Ended] = {}
        self.slots = threading.BoundedSemaphore(int(template.get("parallelism") or 2**20))

    def run(self) -> Outcome:
        """Starts every task as soon as what it waits for has ended."""
        done: queue.Queue[tuple[str, Ended | BaseException]] = queue.Queue()
        waiting, running = dict(self.tasks), 0
        while waiting or running:
            for name in [name for name in waiting if all(need in self.ended for need in self.needs[name])]:
                task = waiting.pop(name)
                running += 1
                self.start(task, done)
            if not running:
                raise ExpressionError(f"tasks {', '.join(waiting)} wait for one another")
            name, ended = done.get()
            running -= 1
            if isinstance(ended, BaseException):
                self.drain(done, running)
                raise ended
            self.ended[name] = ended
        return self.outcome()

    def start(self, task: Task, done: queue.Queue[tuple[str, Ended | BaseException]]) -> None:
        def work() -> None:
            try:
                ended: Ended | BaseException = self.task(task)
            except BaseException as error:  # noqa: BLE001 (handed over to the thread that waits, which raises it)
                ended = error
            done.put((task["name"], ended))

        threading.Thread(target=work, name=f"{self.path}.{task['name']}", daemon=True).start()

    def drain(self, done: queue.Queue[tuple[str, Ended | BaseException]], running: int) -> None:
        """After a stop, waits until every task that was running has noticed."""
        self.session.stop("another task could not go on", interrupted=False)
        for _ in range(running):
            done.get()

    @staticmethod
    def depends(task: Task) -> str:
        return str(task.get("depends") or " && ".join(task.get("dependencies", [])))

    def task(self, task: Task) -> Ended:
        """One task, from its condition to the end of its last item."""
        name = task["name"]
        self.session.check()
        needs = self.needs[name]
        try:
            if needs and not expressions.depends(self.depends(task), lambda need, result: self.ended[need].has(result)):
                return self.settled(task, Phase.OMITTED, "what it depends on did not end that way")
            scope = {**self.scope, **self.results()}
            if self.refused(task, scope):
                return self.settled(task, Phase.SKIPPED, f"when {task['when']!r} is false")
            expanded = items(task, scope)
        except (ExpressionError, FanoutError, TagError) as error:
            return self.settled(task, Phase.ERROR, str(error))
        if expanded is None:
            return Ended(self.item(task, Item(name, {}), scope, self.node), parents=needs)
        if not expanded:
            return self.settled(task, Phase.SKIPPED, "it has no items")
        return self.group(task, expanded, scope)

    def refused(self, task: Task, scope: Mapping[str, str]) -> bool:
        """Whether `when` is false before the items are known; that decides for a fan-out over another task's output."""
        condition = task.get("when", "")
        if not condition or any(tag == "item" or tag.startswith("item.") for tag in tags(condition)):
            return False
        fixed_items = "withItems" in task or ("withParam" in task and not any(tags(task["withParam"])))
        return not fixed_items and not expressions.when(substitute(condition, scope))

    def settled(self, task: Task, phase: Phase, message: str) -> Ended:
        """A task that ends without having run."""
        leaf = self.session.tree.add(self.node, self.below(task["name"]), task["name"], task["template"], leaf=True)
        self.session.tree.change(leaf, phase=phase, message=message)
        return Ended(Outcome(phase, message=message, lineage=self.before(task)), parents=self.needs[task["name"]])

    def group(self, task: Task, expanded: list[Item], scope: Mapping[str, str]) -> Ended:
        """The items of a fan-out, side by side."""
        node = self.session.tree.add(self.node, self.below(task["name"]), task["name"], task["template"])
        self.session.tree.change(node, phase=Phase.RUNNING)
        with ThreadPoolExecutor(min(len(expanded), SIDE_BY_SIDE)) as pool:
            futures = [pool.submit(self.one_of, task, item, {**scope, **item.scope}, node) for item in expanded]
        try:
            outcomes = [future.result() for future in futures]
        except StoppedError as stop:
            self.session.tree.change(node, phase=Phase.FAILED, message=str(stop))
            raise
        bad = [outcome for outcome in outcomes if outcome.phase.bad]
        phase = bad[-1].phase if bad else Phase.SUCCEEDED
        self.session.tree.change(node, phase=phase)
        message, lineage = bad[-1].message if bad else "", digest([outcome.lineage for outcome in outcomes])
        return Ended(Outcome(phase, message=message, lineage=lineage), outcomes, self.needs[task["name"]])

    def one_of(self, task: Task, item: Item, scope: Mapping[str, str], parent: Node) -> Outcome:
        try:
            return self.item(task, item, scope, parent)
        except BaseException:
            # Its siblings would otherwise go on to their end before anyone learns of it.
            self.session.stop("another task could not go on", interrupted=False)
            raise

    def item(self, task: Task, item: Item, scope: Mapping[str, str], parent: Node) -> Outcome:
        """A task, or one item of it: its own condition, its arguments, its template."""
        path = self.below(item.name)
        try:
            if "when" in task and not expressions.when(substitute(task["when"], scope)):
                return self.unstarted(task, item, parent, Phase.SKIPPED, f"when {task['when']!r} is false")
            given = substitute(task.get("arguments", {}).get("parameters", []), scope)
        except (ExpressionError, TagError) as error:
            return self.unstarted(task, item, parent, Phase.ERROR, str(error))
        with self.session.slot(self.slots):
            arguments = {parameter["name"]: parameter["value"] for parameter in given}
            return self.execute(task["template"], path, item.name, arguments, parent, self.before(task))

    def unstarted(self, task: Task, item: Item, parent: Node, phase: Phase, message: str) -> Outcome:
        node = self.session.tree.add(parent, self.below(item.name), item.name, task["template"], leaf=True)
        self.session.tree.change(node, phase=phase, message=message)
        return Outcome(phase, message=message, lineage=self.before(task))

    def before(self, task: Task) -> str:
        """What the task builds on: of a resumed run, it is done again where that was done again in another way."""
        return digest([self.lineage, *(self.ended[need].outcome.lineage for need in self.needs[task["name"]])])

    def below(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def results(self) -> dict[str, str]:
        """What tags may say of the tasks that have ended."""
        scope: dict[str, str] = {}
        for name, ended in dict(self.ended).items():
            scope[f"tasks.{name}.status"] = str(ended.outcome.phase)
            outputs = dict(ended.outcome.outputs)
            if ended.group is not None:
                rows = [dict(outcome.outputs) for outcome in ended.group if outcome.phase is Phase.SUCCEEDED]
                scope[f"tasks.{name}.outputs.parameters"] = json.dumps(rows, ensure_ascii=False)
                outputs = {key: aggregated([row[key] for row in rows if key in row]) for row in rows for key in row}
            scope |= {f"tasks.{name}.outputs.parameters.{key}": value for key, value in outputs.items()}
        return scope

    def outcome(self) -> Outcome:
        """Failed if a task that nobody waits for has failed, or was left out because of a failure."""
        awaited = {need for needs in self.needs.values() for need in needs}
        for name in sorted(set(self.tasks) - awaited):
            branch = self.branch(name)
            if branch.phase.bad:
                return branch
        scope = {**self.scope, **self.results()}
        outputs = {}
        for parameter in self.template.get("outputs", {}).get("parameters", []):
            source = parameter["valueFrom"]
            try:
                outputs[parameter["name"]] = substitute(source["parameter"], scope)
            except TagError as error:
                if "default" not in source:
                    return Outcome(Phase.ERROR, message=f"output {parameter['name']!r}: {error}")
                outputs[parameter["name"]] = source["default"]
        lineage = digest([self.ended[name].outcome.lineage for name in self.tasks])
        return Outcome(Phase.SUCCEEDED, outputs, lineage=lineage)

    def branch(self, name: str) -> Outcome:
        """A task's own end, or for one that did not run, the worst end of those before it."""
        ended = self.ended[name]
        if ended.outcome.phase in (Phase.SUCCEEDED, Phase.FAILED, Phase.ERROR):
            return ended.outcome
        before = [self.branch(parent) for parent in ended.parents]
        return next((outcome for outcome in before if outcome.phase.bad), Outcome(Phase.SUCCEEDED))


def aggregated(values: list[str]) -> str:
    """The outputs of a fan-out as one list: of texts, or of what they hold where each is a JSON list or map."""
    try:
        parsed = [json.loads(value) for value in values]
    except ValueError:
        parsed = []
    if parsed and all(isinstance(value, (dict, list)) for value in parsed):
        return json.dumps(parsed, ensure_ascii=False)
    return json.dumps(values, ensure_ascii=False)
