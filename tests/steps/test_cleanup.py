from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from steps import cleanup
from steps.artifacts import canary, candidate, slots
from steps.artifacts.canary import Canary
from steps.artifacts.candidate import Candidate
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store

Run = Callable[..., tuple[int, dict[str, str]]]
NOW = ("--min-age-days", "0")


@pytest.fixture
def history(run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict]) -> Store:
    """Four releases, the last two of them worth keeping."""
    for number in range(1, 5):
        make_verdict(folder_store, f"run-{number}")
        assert run_step("model_publish", RUN=f"run-{number}")[0] == 0
        assert run_step("run_report", "--status", "Succeeded", RUN=f"run-{number}")[0] == 0
        assert run_step("batch_predict", "--shards", "1")[0] == 0
    return folder_store


def names(store: Store, prefix: str) -> set[str]:
    return {entry.key.split("/")[1] for entry in store.models.list(prefix)}


def test_what_is_live_and_what_was_before_it_stay_whatever_is_asked(run_step: Run, history: Store) -> None:
    assert run_step("cleanup", "--keep-runs", "1", "--keep-snapshots", "1", *NOW)[0] == 0
    assert names(history, "candidates/") == {"run-3", "run-4"}
    assert names(history, "verdicts/") == {"run-3.json", "run-4.json"}
    assert names(history, "runs/") == {"run-3.json", "run-4.json"}
    assert names(history, "predictions/") == {"3", "4"}
    assert names(history, "releases/") == {"1.json", "2.json", "3.json", "4.json"}
    assert set(slots.whole_versions(history.models, "blue")) == {3}
    assert set(slots.whole_versions(history.models, "green")) == {4}
    assert run_step("model_publish", "--rollback", RUN="back")[0] == 0


def test_a_canary_stays_with_all_that_it_needs_until_it_has_ended(
    run_step: Run, history: Store, make_verdict: Callable[..., Verdict]
) -> None:
    for run in ("run-5", "run-6"):
        make_verdict(history, run)
    assert run_step("model_publish", "--canary", "10", RUN="run-5")[1]["version"] == "5"
    assert run_step("cleanup", "--keep-runs", "1", *NOW)[0] == 0
    assert names(history, "candidates/") == {"run-3", "run-4", "run-5", "run-6"}
    assert set(slots.whole_versions(history.models, "blue")) == {3, 5}
    assert run_step("model_publish", "--abort")[0] == 0
    assert run_step("cleanup", "--keep-runs", "1", *NOW)[0] == 0
    assert names(history, "candidates/") == {"run-3", "run-4", "run-6"}
    assert set(slots.whole_versions(history.models, "blue")) == {3}
    # The record stays, as those of releases do: its number must not be used again.
    assert names(history, "canaries/") == {"5.json", "5.end.json"}
    slots.claim(history.models, 6, "run-6", 60)
    slots.fill(history.models, candidate.read(history.models, "candidates/run-6/als"), "blue", 6)
    assert run_step("cleanup", *NOW)[0] == 0
    assert set(slots.whole_versions(history.models, "blue")) == {3, 6}


def test_the_snapshot_of_a_canary_stays(
    run_step: Run, folder_store: Store, make_candidate: Callable[..., Candidate], make_release: Callable[..., object]
) -> None:
    first, other = (
        run_step("data_publish", "--source", f"demo:users={users},items=30,days=60")[1]["snapshot"]
        for users in (60, 61)
    )
    made = make_candidate(folder_store, "run-1")
    make_release(folder_store, made)
    tried = candidate.write(folder_store.models, replace(made, run="run-2", snapshot=first, files={}), Path("nowhere"))
    canary.start(
        folder_store.models,
        Canary(2, "green", tried.path, "als", first, "run-2", 1, 10.0, canary.CANARY, {}, "2026-01-01T00:00:00Z"),
    )
    make_candidate(folder_store, "run-3")
    assert run_step("cleanup", "--keep-snapshots", "1", "--keep-runs", "1", *NOW)[0] == 0
    assert {entry.key.split("/")[1] for entry in folder_store.data.list("snapshots/")} == {first, other}


def test_nothing_young_is_touched(run_step: Run, history: Store) -> None:
    before = [entry.key for entry in history.models.list()]
    assert run_step("cleanup", "--keep-runs", "1")[1] == {"removed": "0", "bytes": "0"}
    assert [entry.key for entry in history.models.list()] == before


def test_a_dry_run_only_counts(run_step: Run, history: Store) -> None:
    before = [entry.key for entry in history.models.list()]
    counted = run_step("cleanup", "--keep-runs", "1", "--dry-run", "true", *NOW)[1]
    assert [entry.key for entry in history.models.list()] == before
    assert run_step("cleanup", "--keep-runs", "1", *NOW)[1] == counted
    assert int(counted["removed"]) == 4  # two runs and two versions of predictions
    assert int(counted["bytes"]) > 1000


def test_snapshots_of_kept_candidates_stay(run_step: Run, folder_store: Store) -> None:
    first = run_step("data_publish", "--source", "demo:users=60,items=30,days=60")[1]["snapshot"]
    run_step("train", "--snapshot", first, "--model", "popularity", RUN="run-1")
    others = [
        run_step("data_publish", "--source", f"demo:users={users},items=30,days=60")[1]["snapshot"]
        for users in (61, 62)
    ]
    run_step("cleanup", "--keep-snapshots", "1", *NOW)
    left = {entry.key.split("/")[1] for entry in folder_store.data.list("snapshots/")}
    assert left == {first, others[-1]}


def test_what_a_killed_run_left_goes_too(
    run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict], tmp_path: Path
) -> None:
    make_verdict(folder_store, "run-1")
    run_step("model_publish", RUN="run-1")
    made = candidate.read(folder_store.models, "candidates/run-1/als")
    slots.fill(folder_store.models, made, "green", 2)
    old = time.time() - 3600
    stray = tmp_path / "store" / "models" / "recommender" / "slots" / ".unfinished-1"
    stray.write_bytes(b"half")
    os.utime(stray, (old, old))
    assert run_step("cleanup", *NOW)[0] == 0
    assert slots.whole_versions(folder_store.models, "green") == {}
    assert not stray.exists()


def test_a_version_that_is_being_filled_is_left_alone(
    run_step: Run, folder_store: Store, make_verdict: Callable[..., Verdict]
) -> None:
    make_verdict(folder_store, "run-1")
    run_step("model_publish", RUN="run-1")
    slots.claim(folder_store.models, 2, "run-2", 60)
    slots.fill(folder_store.models, candidate.read(folder_store.models, "candidates/run-1/als"), "green", 2)
    run_step("cleanup", *NOW)
    assert set(slots.whole_versions(folder_store.models, "green")) == {2}
    assert slots.newest_claim(folder_store.models, 2) is not None


def test_a_snapshot_that_a_run_uses_again_is_young_again(run_step: Run, folder_store: Store, tmp_path: Path) -> None:
    first, other = (
        run_step("data_publish", "--source", f"demo:users={users},items=30,days=60")[1]["snapshot"]
        for users in (60, 61)
    )
    month_ago = time.time() - 30 * 86400
    for path in (tmp_path / "store" / "data").rglob("*"):
        os.utime(path, (month_ago, month_ago))
    again = run_step("data_publish", "--source", "demo:users=60,items=30,days=60")[1]
    assert (again["snapshot"], again["new"]) == (first, "false")
    assert run_step("cleanup", "--keep-snapshots", "1", "--min-age-days", "1")[0] == 0
    assert {entry.key.split("/")[1] for entry in folder_store.data.list("snapshots/")} == {first}
    assert other != first


def test_what_is_written_again_during_the_cleanup_stays(folder_store: Store) -> None:
    bucket, before = folder_store.data, datetime.now(UTC) + timedelta(seconds=1)
    bucket.put("snapshots/s-1/manifest.json", b"")
    groups = cleanup.grouped(bucket.list("snapshots/"), 2)
    later = time.time() + 60
    os.utime(bucket.address("snapshots/s-1/manifest.json"), (later, later))
    assert not cleanup.remove(bucket, "snapshots/s-1", groups["snapshots/s-1"], before)
    assert bucket.exists("snapshots/s-1/manifest.json")


def test_reports_of_runs_that_trained_nothing_do_not_pile_up(run_step: Run, history: Store) -> None:
    for number in range(4):
        run_step("run_report", "--workflow", "cleanup", RUN=f"cleanup-{number}")
    assert run_step("cleanup", "--keep-runs", "2", *NOW)[0] == 0
    assert names(history, "runs/") == {"run-3.json", "run-4.json", "cleanup-2.json", "cleanup-3.json"}


def test_an_empty_store_has_nothing_to_clean(run_step: Run) -> None:
    assert run_step("cleanup", *NOW)[1] == {"removed": "0", "bytes": "0"}


@pytest.mark.parametrize(
    "flags", [("--keep-runs", "0"), ("--keep-snapshots", "x"), ("--min-age-days", "-1"), ("--dry-run", "perhaps")]
)
def test_wrong_flags_are_refused(run_step: Run, flags: tuple[str, str]) -> None:
    assert run_step("cleanup", *flags)[0] == 2
