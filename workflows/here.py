"""Runs a workflow on this machine from a command line: begins or resumes, shows, sums up, says how to go on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.console import Console

from workflows import results, settings
from workflows.catalog import Manifest, parameters
from workflows.runner.display import Display, print_tail, summary
from workflows.runner.record import Request, Run, RunError
from workflows.runner.session import Engine, Question
from workflows.runner.start import Finished, start
from workflows.runner.support import check
from workflows.runner.tree import Tree
from workflows.runner.walk import global_scope

INTERRUPTED = 130

MakeEngine = Callable[[Run], Engine]


def begin(
    runs: Path,
    manifest: Manifest,
    given: Mapping[str, str],
    *,
    engine: str,
    options: Mapping[str, str] | None = None,
    scheduled: str = "",
) -> Run:
    """A new run of a built workflow; everything that can be refused is refused before its folder exists."""
    check(manifest)
    global_scope(manifest, "check", given, scheduled)
    settings.check_secrets(manifest)
    request = Request(
        workflow=manifest["metadata"]["name"],
        manifest=manifest,
        parameters=dict(given),
        engine=engine,
        folder=str(Path.cwd()),
        settings=settings.place(),
        options=dict(options or {}),
        scheduled=scheduled,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return Run.begin(runs, request)


def see_through(run: Run, engine: Engine, *, limit: int = 0, logs: bool = False, console: Console | None = None) -> int:
    """Runs to the end and tells it; returns the exit code for the command line."""
    progress = console or Console(stderr=True)
    display = Display(progress, logs=logs, hint=lambda question: how_to_answer(run, question))
    tree = Tree(f"{run.name}", display.changed)
    display.tree = tree
    try:
        with display:
            finished = start(run, engine, tree, display.ask, limit=limit)
    except RunError:
        say_resume(run, progress)
        raise
    finally:
        run.close()
    return tell(run, finished, progress)


def tell(run: Run, finished: Finished, progress: Console) -> int:
    """The summary, then the result, or what went wrong and the command that goes on from there."""
    tree = finished.tree
    progress.print(summary(tree))
    if finished.outcome.phase == "Succeeded" and not finished.interrupted:
        results.show(Console(), run.request.workflow, outside(run, tree))
        return 0
    if not finished.interrupted:
        for node in tree.leaves():
            if node.phase.bad:
                print_tail(progress, node)
    what = (
        "was interrupted" if finished.interrupted else f"{finished.outcome.phase.lower()}: {finished.outcome.message}"
    )
    progress.print(f"{run.name} {what}", style="red", markup=False, highlight=False, soft_wrap=True)
    say_resume(run, progress)
    return INTERRUPTED if finished.interrupted else 1


def say_resume(run: Run, progress: Console) -> None:
    progress.print("Go on from where it stopped:", markup=False)
    progress.print(f"  {resume_command(run)}", markup=False, highlight=False, soft_wrap=True)


def how_to_answer(run: Run, question: Question) -> str:
    """What to do about a question where nobody can be asked."""
    if question.seconds is None:
        return ""
    until = datetime.now().astimezone() + timedelta(seconds=question.seconds)
    said = f"{question.node}: nobody can be asked here; unanswered at {until:%Y-%m-%d %H:%M}, "
    said += f"{question.output} is {question.default!r}." if question.output else "it goes on."
    if question.output and any(parameter["name"] == "approve" for parameter in parameters(run.request.manifest)):
        said += f" To say yes, end this process (kill {os.getpid()}), then:\n  {resume_command(run)} -p approve=auto"
    return said


def outside(run: Run, tree: Tree) -> dict[str, dict[str, str]]:
    """The outputs by node; an address inside a container becomes the one outside."""
    folder = settings.store_folder(run.request.settings["STORE"])
    outputs = {node.path: dict(node.outputs) for node in tree.leaves()}
    if run.request.engine == "docker" and folder is not None:
        for found in outputs.values():
            for name, value in found.items():
                if value.startswith(f"{settings.MOUNTED_STORE}/"):
                    found[name] = str(folder) + value.removeprefix(settings.MOUNTED_STORE)
    return outputs


def resume_command(run: Run) -> str:
    """What to type to go on with a run, from the folder where it was started."""
    runs = run.folder.parent
    words = ["python", script(), "--resume", run.name]
    if runs.absolute() != Path(run.request.folder) / ".runs":
        words += ["--runs", str(runs.absolute())]
    return shlex.join(words)


def script() -> str:
    """How submit.py is reached from here."""
    path = Path(__file__).with_name("submit.py")
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def runs_folder(given: str) -> Path:
    return Path(given or os.environ.get("RUNS", "") or ".runs").expanduser()
