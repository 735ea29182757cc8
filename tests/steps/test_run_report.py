from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store, open_store
from steps.run_report import read_failures, sentence
from steps.runtime.errors import TryAgainError
from steps.runtime.settings import Settings

Run = Callable[..., tuple[int, dict[str, str]]]


def test_a_run_that_released_is_reported_with_verdict_and_release(
    run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict]
) -> None:
    make_verdict(folder_store, "run-1")
    run_step("model_publish", RUN="run-1")
    assert run_step("run_report", "--workflow", "retrain", "--status", "Succeeded", RUN="run-1")[0] == 0
    report = json.loads(folder_store.models.get("runs/run-1.json"))
    assert (report["status"], report["release"]["version"], report["verdict"]["promote"]) == ("Succeeded", 1, True)


def test_a_run_that_failed_early_is_reported_too(run_step: Run, folder_store: Store) -> None:
    failures = json.dumps(json.dumps([{"displayName": "train", "message": "exit code 69"}]))
    assert run_step("run_report", "--status", "Failed", "--failures", failures, RUN="run-1")[0] == 0
    report = json.loads(folder_store.models.get("runs/run-1.json"))
    assert report["failures"] == [{"displayName": "train", "message": "exit code 69"}]
    assert (report["verdict"], report["release"], report["live_version"]) == (None, None, 0)


def test_a_promoted_model_that_was_not_released_is_said(
    run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict]
) -> None:
    def told(run: str, status: str) -> str:
        run_step("run_report", "--workflow", "retrain", "--status", status, RUN=run)
        return str(json.loads(folder_store.models.get(f"runs/{run}.json"))["note"])

    for run in ("asked", "released", "later"):
        make_verdict(folder_store, run)
        if run != "asked":
            run_step("model_publish", RUN=run)
    make_verdict(folder_store, "refused", promote=False)
    assert told("asked", "Succeeded") == "nobody approved the promoted model, so nothing was released"
    assert told("asked", "Failed") == ""
    assert told("released", "Succeeded") == ""
    assert told("later", "Succeeded") == ""
    assert told("refused", "Succeeded") == ""


def test_a_model_that_is_tried_first_is_said_and_what_became_of_that(
    run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict]
) -> None:
    def told() -> tuple[str, object]:
        run_step("run_report", "--workflow", "retrain", "--status", "Succeeded", RUN="tried")
        report = json.loads(folder_store.models.get("runs/tried.json"))
        return report["note"], report["canary"] and report["canary"]["version"]

    make_verdict(folder_store, "first")
    run_step("model_publish", RUN="first")
    make_verdict(folder_store, "tried")
    run_step("model_publish", "--canary", "10", RUN="tried")
    what = "version 2, shown to 10 % of the users beside version 1"
    assert told() == (f"{what}: still being tried", 2)
    run_step("model_publish", "--abort", "fewer clicks")
    assert told() == (f"{what}: aborted, fewer clicks", 2)


def test_a_model_that_was_tried_and_promoted_is_reported_as_released(
    run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict]
) -> None:
    for run in ("first", "tried"):
        make_verdict(folder_store, run)
        run_step("model_publish", "--canary", "10", RUN=run)
    run_step("model_publish", "--promote")
    run_step("run_report", "--workflow", "retrain", "--status", "Succeeded", RUN="tried")
    report = json.loads(folder_store.models.get("runs/tried.json"))
    assert (report["release"]["version"], report["note"]) == (2, "")


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """`away(2)`: a store that answers from the third time on that it is opened."""

    def begin(times: int) -> None:
        left = [times]

        def opened(settings: Settings) -> Store:
            left[0] -= 1
            if left[0] >= 0:
                raise TryAgainError("the store does not answer")
            return open_store(settings)

        monkeypatch.setattr("steps.run_report.open_store", opened)
        monkeypatch.setattr("steps.run_report.PAUSE", 0.0)

    return begin


def test_a_store_that_is_away_is_waited_for(
    run_step: Run, folder_store: Store, away: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    away(2)
    assert run_step("run_report", "--status", "Failed", RUN="run-1")[0] == 0
    assert json.loads(folder_store.models.get("runs/run-1.json"))["status"] == "Failed"
    assert capsys.readouterr().err.count("the store does not answer; trying again") == 2


def test_a_store_that_stays_away_is_exit_75(
    run_step: Run, away: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    away(1_000_000)
    monkeypatch.setattr("steps.run_report.PATIENCE", 0.2)
    assert run_step("run_report", "--status", "Failed", RUN="run-1")[0] == 75


@pytest.mark.parametrize(
    ("text", "failures"), [("", []), ("null", []), ('"null"', []), ("[]", []), ("plain words", ["plain words"])]
)
def test_what_the_engine_says_is_read_in_every_form(text: str, failures: list[object]) -> None:
    assert read_failures(text) == failures


def test_a_failure_is_told_in_a_sentence() -> None:
    told = {
        "displayName": "train(0:als)(0)",
        "phase": "Failed",
        "message": "main: Error (exit code 69)",
        "podName": "x",
    }
    assert sentence(told) == "train(0:als)(0) failed: main: Error (exit code 69)"
    assert sentence({"displayName": "train", "phase": "Error", "message": ""}) == "train ended in error"
    assert sentence("plain words") == "plain words"


def test_a_report_belongs_to_a_run(run_step: Run) -> None:
    assert run_step("run_report", "--status", "Failed")[0] == 2
