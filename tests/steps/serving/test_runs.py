"""What is told of the last runs, from what steps have left in a store."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from steps.artifacts.candidate import Candidate
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store
from steps.serving import runs
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.messages import Run as Told
from steps.serving.reports import Looks
from steps.serving.runs import Runs
from steps.serving.server import in_background

Run = Callable[..., tuple[int, dict[str, str]]]
Judge = Callable[..., Verdict]


@pytest.fixture
def url(folder_store: Store) -> Iterator[str]:
    live = SimpleNamespace(models=folder_store.models, serving=None, release=None, canary=None, problem="", looked=0.0)
    with in_background(application(Api(cast(Live, live)))) as address:
        yield address


def told(url: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{url}/runs", timeout=60)
    assert answer.status_code == 200
    return list(answer.json()["runs"])


def newest(store: Store, later: timedelta = timedelta()) -> list[Told]:
    return Runs(store.models, Looks(store.models)).newest(datetime.now(UTC) + later)


def states(run: dict[str, Any]) -> list[tuple[str, str]]:
    return [(one["name"], one["state"]) for one in run["tree"]]


def reported(run_step: Run, run: str, workflow: str = "retrain", status: str = "Succeeded", failures: Any = ()) -> None:
    flags = ("--workflow", workflow, "--status", status, "--failures", json.dumps(list(failures)))
    assert run_step("run_report", *flags, RUN=run)[0] == 0


def test_before_the_first_run_there_is_an_empty_list(url: str) -> None:
    assert told(url) == []


def test_a_run_that_released_is_told_step_by_step(
    run_step: Run, folder_store: Store, make_verdict: Judge, url: str
) -> None:
    judged = make_verdict(folder_store, "retrain-20260102-030405-0a1b")
    folder_store.models.put(f"{judged.winner}/report.html", b"how it did")
    run_step("model_publish", RUN=judged.run)
    reported(run_step, judged.run)
    [one] = told(url)
    assert (one["run"], one["workflow"], one["state"]) == (judged.run, "retrain", "Succeeded")
    assert one["began"] == "2026-01-02T03:04:05Z"
    assert one["ended"] == json.loads(folder_store.models.get(f"runs/{judged.run}.json"))["ended"]
    assert one["report"] == f"reports/{judged.run}"
    assert requests.get(f"{url}/{one['report']}", timeout=60).text == "how it did"
    assert one["tree"] == [
        {"name": "data-publish", "state": "Succeeded", "outputs": {"snapshot": "s-0000000000000000"}},
        {
            "name": "train als",
            "state": "Succeeded",
            "seconds": 1.0,
            "outputs": {"candidate": judged.winner, "metrics": {}},
        },
        {
            "name": "evaluate",
            "state": "Succeeded",
            "outputs": {"promote": True, "reason": "a test says so", "winner": judged.winner},
        },
        {
            "name": "model-publish",
            "state": "Succeeded",
            "outputs": {"version": 1, "slot": "blue", "became": "live"},
        },
    ]


def test_what_failed_is_told_with_its_message(
    run_step: Run, folder_store: Store, make_candidate: Callable[..., Candidate], url: str
) -> None:
    make_candidate(folder_store, "run-1")
    folder_store.models.put("candidates/run-1/ease/search/0.json", b"{}")  # begun, and never whole
    failures = [{"displayName": "train(1:ease)", "message": "exit code 69", "phase": "Failed"}, "and something else"]
    reported(run_step, "run-1", status="Failed", failures=failures)
    [one] = told(url)
    assert one["state"] == "Failed"
    assert states(one) == [
        ("data-publish", "Succeeded"),
        ("train als", "Succeeded"),
        ("train ease", "Failed"),
        ("train(1:ease)", "Failed"),
        ("failure", "Failed"),
    ]
    assert [node.get("outputs") for node in one["tree"][3:]] == [
        {"message": "exit code 69"},
        {"message": "and something else"},
    ]


def test_a_refused_model_was_not_published(run_step: Run, folder_store: Store, make_verdict: Judge, url: str) -> None:
    make_verdict(folder_store, "run-1", promote=False)
    reported(run_step, "run-1")
    [one] = told(url)
    assert states(one)[-2:] == [("evaluate", "Succeeded"), ("model-publish", "Skipped")]


def test_a_canary_is_told_while_it_is_tried_and_with_its_end(
    run_step: Run, folder_store: Store, make_verdict: Judge, url: str
) -> None:
    for run in ("run-1", "run-2"):
        make_verdict(folder_store, run)
        run_step("model_publish", "--canary", "10", RUN=run)
    [tried] = [one for one in told(url) if one["run"] == "run-2"]
    assert tried["state"] == "Running"
    assert states(tried)[-2:] == [("model-publish", "Succeeded"), ("canary", "Running")]
    assert "ended" not in tried
    run_step("model_publish", "--abort", "fewer clicks")
    [tried] = [one for one in told(url) if one["run"] == "run-2"]
    assert tried["state"] == "Succeeded"
    assert tried["tree"][-1] == {
        "name": "canary",
        "state": "Succeeded",
        "outputs": {"percent": 10.0, "mode": "canary", "outcome": "aborted", "reason": "fewer clicks"},
    }


def test_without_a_report_a_run_is_at_work_until_it_has_written_nothing_for_long(
    folder_store: Store, make_candidate: Callable[..., Candidate]
) -> None:
    make_candidate(folder_store, "run-1")
    folder_store.models.put("candidates/run-1/ease/search/0.json", b"{}")
    [now], [later] = newest(folder_store), newest(folder_store, later=timedelta(hours=2))
    assert (now.state, [one.state for one in now.tree]) == ("Running", ["Succeeded", "Succeeded", "Running"])
    assert (later.state, [one.state for one in later.tree]) == ("Unknown", ["Succeeded", "Succeeded", "Unknown"])
    assert now.ended == later.ended == ""


def test_a_look_of_monitor_is_a_run_too(run_step: Run, url: str) -> None:
    run_step("monitor", RUN="monitor-20260102-030405-0a1b")
    reported(run_step, "monitor-20260102-030405-0a1b", "monitor")
    [one] = told(url)
    assert (one["workflow"], states(one)) == ("monitor", [("monitor", "Succeeded")])
    outputs = one["tree"][0]["outputs"]
    assert outputs["retrain"] is False
    assert outputs["reason"].startswith("nothing has been released yet")
    assert requests.get(f"{url}/{outputs['page']}", timeout=60).status_code == 200


def test_what_goes_back_at_a_server_is_told_as_well(
    run_step: Run, folder_store: Store, make_verdict: Judge, url: str
) -> None:
    for run in ("run-1", "run-2"):
        make_verdict(folder_store, run)
        run_step("model_publish", RUN=run)
    assert run_step("model_publish", "--rollback", RUN="")[0] == 0
    back = {one["run"]: one for one in told(url)}["rollback-3"]
    assert (back["state"], states(back)) == ("Succeeded", [("model-publish", "Succeeded")])


def test_routine_does_not_hide_what_matters_and_not_everything_is_told(folder_store: Store) -> None:
    def put(run: str, status: str) -> None:
        report = {"run": run, "status": status, "workflow": run.partition("-")[0], "failures": []}
        folder_store.models.put(f"runs/{run}.json", json.dumps(report).encode())

    for hour in range(24):
        put(f"monitor-20260102-{hour:02d}0000-0000", "Succeeded")
    for hour in range(3):
        put(f"retrain-20260101-{hour:02d}0000-0000", "Failed")
    found = [one.run for one in newest(folder_store)]
    assert found[: runs.ROUTINE] == [f"monitor-20260102-{hour}0000-0000" for hour in (23, 22, 21, 20, 19)]
    assert found[runs.ROUTINE :] == [f"retrain-20260101-0{hour}0000-0000" for hour in (2, 1, 0)]
    for hour in range(24):
        put(f"retrain-20260103-{hour:02d}0000-0000", "Failed")
    assert [one.run for one in newest(folder_store)] == [
        f"retrain-20260103-{hour:02d}0000-0000" for hour in range(23, 23 - runs.MOST, -1)
    ]


@pytest.mark.parametrize("damaged", [b"{", b"[]", b"\xff"])
def test_damaged_objects_keep_nobody_from_the_rest(folder_store: Store, make_verdict: Judge, damaged: bytes) -> None:
    make_verdict(folder_store, "run-1")
    for key in ("runs/run-2.json", "verdicts/run-3.json", "candidates/run-4/als/manifest.json"):
        folder_store.models.put(key, damaged)
    found = {one.run: [node.name for node in one.tree] for one in newest(folder_store)}
    assert found["run-1"] == ["data-publish", "train als", "evaluate"]
    assert set(found) == {"run-1", "run-2", "run-3", "run-4"}
