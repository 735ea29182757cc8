"""Leaves what became of a run, whether it ended well or not: the exit handler of every workflow."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from steps.artifacts import canary, names, records, release, verdict
from steps.artifacts.canary import Canary
from steps.artifacts.release import Release
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Bucket, open_store
from steps.runtime.errors import TryAgainError
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)

PATIENCE, PAUSE = 60.0, 2.0
"""Seconds that the store may be away, and between two looks whether it is back."""


def parser() -> Parser:
    flags = Parser(
        prog="run_report",
        description=__doc__ or "",
        epilog="example: RUN=first python -m steps.run_report --workflow retrain --status Succeeded",
    )
    flags.add_argument("--workflow", default="", help="the workflow's name, such as retrain")
    flags.add_argument("--status", default="", help="how it ended: Succeeded, Failed or Error")
    flags.add_argument("--failures", default="", help="what failed, as the engine tells it")
    return flags


def run(step: Step) -> None:
    run_name = names.require_run(step.settings.run)
    failures = read_failures(step.flags.failures)
    address = patiently(lambda: leave(step, run_name, failures))
    for one in failures:
        log.warning("%s", sentence(one))
    step.output("report", address)


def patiently(act: Callable[[], str]) -> str:
    """Waits for a store that is away: an exit handler of a workflow that was stopped is not tried a second time."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return act()
        except TryAgainError as error:
            if time.monotonic() >= until:
                raise
            log.warning("%s; trying again", error)
            time.sleep(PAUSE)


def leave(step: Step, run_name: str, failures: list[object]) -> str:
    """Writes the report; where it is now."""
    flags, models = step.flags, open_store(step.settings).models
    judged = verdict.find(models, run_name)
    live = release.live(models)
    released = live if live and live.run == run_name else None
    tried = next((one for one in canary.newest_first(models) if one.run == run_name), None)
    report = {
        "run": run_name,
        "workflow": flags.workflow,
        "status": flags.status or "unknown",
        "failures": failures,
        "verdict": {"promote": judged.promote, "reason": judged.reason, "winner": judged.winner} if judged else None,
        "release": asdict(released) if released else None,
        "canary": asdict(tried) if tried else None,
        "note": note(models, flags.status, judged, released, tried),
        "live_version": live.version if live else 0,
        "ended": records.now(),
    }
    models.put(names.run_report(run_name), records.encode(report))
    log.info("run %s: %s%s", run_name, report["status"], f"; {report['note']}" if report["note"] else "")
    return models.address(names.run_report(run_name))


def note(models: Bucket, status: str, judged: Verdict | None, released: Release | None, tried: Canary | None) -> str:
    """What neither the status nor the verdict says: that a promoted model was not released, or not yet."""
    if status != "Succeeded" or judged is None or not judged.promote or released is not None:
        return ""
    if any(release.read(models, version).run == judged.run for version in reversed(release.versions(models))):
        return ""  # another run has released since
    if tried:
        over = canary.ended(models, tried)
        return f"{tried}: {over.outcome}, {over.reason}" if over else f"{tried}: still being tried"
    return "nobody approved the promoted model, so nothing was released"


def read_failures(text: str) -> list[object]:
    """The list that Argo passes: JSON inside a JSON text, or `null`; anything else is kept as it came."""
    value: object = text
    for _ in range(2):
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                break
    if isinstance(value, list):
        return value
    return [value] if value not in ("", None) else []


def sentence(failure: object) -> str:
    """What failed and why, where the engine tells it as Argo does; otherwise what it tells."""
    if not isinstance(failure, dict) or "displayName" not in failure:
        return str(failure)
    why = f": {failure['message']}" if failure.get("message") else ""
    ended = "ended in error" if failure.get("phase") == "Error" else "failed"
    return f"{failure['displayName']} {ended}{why}"


if __name__ == "__main__":
    sys.exit(main(parser(), run))
