"""A pytest plugin: leaves one line on whether the tests that need a cluster ran, in the file $CLUSTER_REPORT."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ran: set[str] = set()
skipped: dict[str, str] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "cluster" not in report.keywords:
        return
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "expected to fail"
        skipped[report.nodeid] = str(reason).removeprefix("Skipped: ")
    elif report.when == "call" or report.failed:
        ran.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return  # one of several processes: the one that started it hears of every test
    if not ran and not skipped:
        line = "there are none"
    elif not skipped:
        line = f"all {len(ran)} ran"
    else:
        line = f"{len(ran)} ran, {len(skipped)} did not: {'; '.join(sorted(set(skipped.values())))}"
    Path(os.environ["CLUSTER_REPORT"]).write_text(f"cluster tests: {line}\n", encoding="utf-8")
