from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from steps.artifacts import candidate, records, release, slots
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store
from steps.serving.server import in_background
from steps.serving.slot import Slot, application

Run = Callable[..., tuple[int, dict[str, str]]]
Judge = Callable[..., Verdict]


def live(store: Store) -> release.Release:
    found = release.live(store.models)
    assert found
    return found


def keys(store: Store, prefix: str) -> set[str]:
    return {"/".join(entry.key.split("/")[:3]) for entry in store.models.list(prefix)}


@pytest.fixture
def running_slots(folder_store: Store, tmp_path: Path) -> Iterator[str]:
    """Two slot servers that run all the time, as on a cluster."""
    with ExitStack() as stack:
        addresses = []
        for name in slots.NAMES:
            slot = Slot(folder_store.models, name, tmp_path / "cache")
            thread = threading.Thread(target=slot.follow, args=(0.05,), daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(slot.stopped.set)
            addresses.append(f"{name}={stack.enter_context(in_background(application(slot)))}")
        yield ",".join(addresses)


def test_the_first_version_is_one_and_the_slots_take_turns(
    run_step: Run, folder_store: Store, make_verdict: Judge
) -> None:
    for number, slot in ((1, "blue"), (2, "green"), (3, "blue")):
        judged = make_verdict(folder_store, f"run-{number}")
        code, outputs = run_step("model_publish", RUN=f"run-{number}")
        assert (code, outputs) == (
            0, {"version": str(number), "slot": slot, "candidate": judged.winner, "became": "live"}
        )  # fmt: skip
    made = live(folder_store)
    assert (made.version, made.previous, made.run, made.reason) == (3, 2, "run-3", "promoted")
    assert made.metrics == {"ndcg@10": 0.5}
    assert keys(folder_store, "slots/") == {"slots/green/2", "slots/blue/3"}
    assert keys(folder_store, "claims/") == set()


def test_slots_that_run_all_the_time_are_used(
    run_step: Run, folder_store: Store, make_verdict: Judge, running_slots: str
) -> None:
    for number in (1, 2, 3):
        make_verdict(folder_store, f"run-{number}")
        assert run_step("model_publish", RUN=f"run-{number}", SLOTS=running_slots)[0] == 0
    assert live(folder_store).version == 3


def test_a_refused_candidate_cannot_be_published(run_step: Run, folder_store: Store, make_verdict: Judge) -> None:
    make_verdict(folder_store, "run-1", promote=False)
    assert run_step("model_publish", RUN="run-1") == (69, {})
    assert release.live(folder_store.models) is None
    assert keys(folder_store, "slots/") == set()


def test_force_needs_a_reason_and_the_release_keeps_it(run_step: Run, folder_store: Store, make_verdict: Judge) -> None:
    make_verdict(folder_store, "run-1", promote=False)
    assert run_step("model_publish", "--force", RUN="run-1")[0] == 2
    assert run_step("model_publish", "--force", "", RUN="run-1")[0] == 69
    assert run_step("model_publish", "--force", "the owner wants it", RUN="run-1")[0] == 0
    assert live(folder_store).reason == "forced: the owner wants it"


def test_without_a_verdict_nothing_happens(run_step: Run, folder_store: Store) -> None:
    assert run_step("model_publish", RUN="run-1")[0] == 2
    assert run_step("model_publish")[0] == 2
    assert folder_store.models.list() == []


def test_a_verdict_about_another_live_model_is_out_of_date(
    run_step: Run, folder_store: Store, make_verdict: Judge
) -> None:
    make_verdict(folder_store, "run-1")
    make_verdict(folder_store, "run-2")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    assert run_step("model_publish", RUN="run-2")[0] == 69
    assert live(folder_store).run == "run-1"


def test_a_slot_that_answers_otherwise_than_at_training_is_not_released(
    run_step: Run, folder_store: Store, make_verdict: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    make_verdict(folder_store, "run-1")
    run_step("model_publish", RUN="run-1")
    make_verdict(folder_store, "run-2", wrong=True)
    assert run_step("model_publish", RUN="run-2") == (69, {})
    assert "answers wrongly" in capsys.readouterr().err
    assert live(folder_store).version == 1
    assert keys(folder_store, "slots/") == {"slots/blue/1"}
    assert keys(folder_store, "claims/") == set()


def test_a_model_without_a_saved_model_is_not_brought_to_a_slot_that_reads_one(
    run_step: Run, folder_store: Store, make_verdict: Judge, running_slots: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make_verdict(folder_store, "run-1").winner
    made = candidate.read(folder_store.models, path)
    arrays = {name: record for name, record in made.files.items() if not name.startswith("saved_model/")}
    folder_store.models.put(f"{path}/manifest.json", records.encode(replace(made, files=arrays)))
    assert run_step("model_publish", RUN="run-1", SLOTS=running_slots) == (69, {})
    assert f"{path} has no SavedModel, which the slots are said to read" in capsys.readouterr().err
    assert keys(folder_store, "slots/") == keys(folder_store, "claims/") == set()
    assert run_step("model_publish", RUN="run-1", SLOTS=running_slots, SAVED_MODEL="false")[0] == 0
    assert not [key for key in folder_store.models.list("slots/") if key.key.endswith(".pb")]


def test_a_slot_that_never_answers_ends_at_the_deadline(
    run_step: Run, folder_store: Store, make_verdict: Judge, capsys: pytest.CaptureFixture[str]
) -> None:
    make_verdict(folder_store, "run-1")
    nowhere = "blue=http://127.0.0.1:9,green=http://127.0.0.1:9"
    assert run_step("model_publish", "--deadline", "1", RUN="run-1", SLOTS=nowhere)[0] == 69
    assert "within 1 seconds" in capsys.readouterr().err
    assert release.live(folder_store.models) is None
    assert keys(folder_store, "slots/") == set()


def test_a_slot_that_cannot_load_says_why_at_the_deadline(
    run_step: Run, folder_store: Store, make_verdict: Judge, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    make_verdict(folder_store, "run-1")
    fill = slots.fill

    def damage(models: Any, *arguments: Any) -> None:
        fill(models, *arguments)
        models.put("slots/blue/1/factors/item_factors.npy", b"damaged")

    monkeypatch.setattr(slots, "fill", damage)
    assert run_step("model_publish", "--deadline", "2", RUN="run-1")[0] == 69
    assert "item_factors.npy has changed" in capsys.readouterr().err
    assert release.live(folder_store.models) is None


def test_a_repeated_step_finds_its_release(run_step: Run, folder_store: Store, make_verdict: Judge) -> None:
    make_verdict(folder_store, "run-1")
    first = run_step("model_publish", RUN="run-1")
    assert run_step("model_publish", RUN="run-1") == first
    assert release.versions(folder_store.models) == [1]


def test_a_rollback_is_a_new_release_of_an_earlier_model(
    run_step: Run, folder_store: Store, make_verdict: Judge
) -> None:
    for number in (1, 2, 3):
        make_verdict(folder_store, f"run-{number}")
        run_step("model_publish", RUN=f"run-{number}")
    code, outputs = run_step("model_publish", "--rollback", "--reason", "complaints", RUN="back-1")
    assert (code, outputs["version"], outputs["candidate"]) == (0, "4", "candidates/run-2/als")
    assert live(folder_store).reason == "rollback to 2: complaints"
    assert run_step("model_publish", "--rollback", "1", RUN="back-2")[1]["candidate"] == "candidates/run-1/als"
    assert release.versions(folder_store.models) == [1, 2, 3, 4, 5]


def test_a_rollback_that_is_repeated_goes_back_once(run_step: Run, folder_store: Store, make_verdict: Judge) -> None:
    for number in (1, 2, 3):
        make_verdict(folder_store, f"run-{number}")
        run_step("model_publish", RUN=f"run-{number}")
    first = run_step("model_publish", "--rollback", RUN="back-1")
    assert run_step("model_publish", "--rollback", RUN="back-1") == first
    assert release.versions(folder_store.models) == [1, 2, 3, 4]
    # Another run goes back from there.
    assert run_step("model_publish", "--rollback", RUN="back-2")[1]["candidate"] == "candidates/run-3/als"


def test_a_rollback_to_nowhere_is_refused(run_step: Run, folder_store: Store, make_verdict: Judge) -> None:
    assert run_step("model_publish", "--rollback")[0] == 2
    make_verdict(folder_store, "run-1")
    run_step("model_publish", RUN="run-1")
    for version in ((), ("7",), ("1",), ("x",)):
        assert run_step("model_publish", "--rollback", *version)[0] == 2
    assert release.versions(folder_store.models) == [1]


@pytest.mark.parametrize("flags", [("--deadline", "0"), ("--deadline", "soon")])
def test_a_wrong_deadline_is_refused(run_step: Run, flags: tuple[str, str]) -> None:
    assert run_step("model_publish", *flags, RUN="run-1")[0] == 2


def test_of_two_publishers_at_once_one_wins_and_versions_have_no_gap(
    folder_store: Store, make_verdict: Judge, tmp_path: Path
) -> None:
    for number in range(4):
        make_verdict(folder_store, f"run-{number}")

    def publish(number: int) -> int:
        environment = {**os.environ, "STORE": f"file:{tmp_path / 'store'}", "RUN": f"run-{number}"}
        command = [sys.executable, "-m", "steps.model_publish"]
        return subprocess.run(command, env=environment, check=False, capture_output=True).returncode

    with ThreadPoolExecutor(4) as pool:
        codes = list(pool.map(publish, range(4)))
    assert codes.count(0) == 1
    assert set(codes) <= {0, 69, 75}
    assert release.versions(folder_store.models) == [1]
    assert live(folder_store).run == f"run-{codes.index(0)}"
    assert len(slots.whole_versions(folder_store.models, "blue")) == 1


POINTS = ["claim", "drop", "fill", "check_claim", "create", "drop_older", "drop_claims"]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_any_point_the_same_command_finishes_the_work(
    run_step: Run, folder_store: Store, make_verdict: Judge, tmp_path: Path, point: str, moment: str
) -> None:
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    make_verdict(folder_store, "run-2")
    module = "release" if point == "create" else "slots"
    code = f"""
import os, signal, sys
from steps import model_publish as program
from steps.artifacts import {module} as module
from steps.runtime.program import main
real = module.{point}
def killed(*arguments, **named):
    if {moment == "after"}:
        real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
module.{point} = killed
sys.exit(main(program.parser(), program.run, []))
"""
    environment = {**os.environ, "STORE": f"file:{tmp_path / 'store'}", "RUN": "run-2"}
    found = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
    assert found.returncode == -signal.SIGKILL
    assert live(folder_store).version in (1, 2)
    assert run_step("model_publish", RUN="run-2")[0] == 0
    assert release.versions(folder_store.models) == [1, 2]
    assert live(folder_store).run == "run-2"
    assert keys(folder_store, "slots/") == {"slots/blue/1", "slots/green/2"}
    assert keys(folder_store, "claims/") == set()


def test_after_a_kill_another_run_may_publish_too(
    run_step: Run, folder_store: Store, make_verdict: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_verdict(folder_store, "run-1")
    make_verdict(folder_store, "run-2")
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: child)
        slots.claim(folder_store.models, 1, "run-1", 300)
    slots.fill(folder_store.models, candidate.read(folder_store.models, "candidates/run-1/als"), "blue", 1)
    assert run_step("model_publish", RUN="run-2")[0] == 0
    assert live(folder_store).run == "run-2"
    assert slots.whole_versions(folder_store.models, "blue")[1].candidate == "candidates/run-2/als"
