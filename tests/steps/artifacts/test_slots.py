from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from steps.artifacts import records, slots
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.runtime.errors import BadDataError, TryAgainError

Make = Callable[..., Candidate]


def test_slots_take_turns() -> None:
    assert slots.other(("blue", "green"), "") == "blue"
    assert slots.other(("blue", "green"), "blue") == "green"
    assert slots.other(("blue", "green"), "green") == "blue"


def test_a_filled_version_lies_where_tf_serving_expects_it(store: Store, make_candidate: Make) -> None:
    slots.fill(store.models, make_candidate(store, "run-1"), "blue", 3)
    keys = {entry.key for entry in store.models.list("slots/")}
    assert {
        "slots/blue/3/saved_model.pb",
        "slots/blue/3/factors/item_factors.npy",
        "slots/blue/3/manifest.json",
    } <= keys
    assert list(slots.whole_versions(store.models, "blue")) == [3]
    assert slots.whole_versions(store.models, "green") == {}


def test_half_a_version_is_not_there(folder_store: Store, make_candidate: Make) -> None:
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 3)
    folder_store.models.delete(["slots/blue/3/manifest.json"])
    assert slots.whole_versions(folder_store.models, "blue") == {}


def test_older_versions_are_dropped_whole_or_half(folder_store: Store, make_candidate: Make) -> None:
    made = make_candidate(folder_store, "run-1")
    for version in (1, 2, 10):
        slots.fill(folder_store.models, made, "blue", version)
    folder_store.models.delete(["slots/blue/1/manifest.json"])
    assert slots.drop_older(folder_store.models, "blue", 10) == [1, 2]
    assert list(slots.whole_versions(folder_store.models, "blue")) == [10]
    assert folder_store.models.list("slots/blue/1/") == []


def test_of_older_versions_those_to_be_kept_stay(folder_store: Store, make_candidate: Make) -> None:
    made = make_candidate(folder_store, "run-1")
    for version in (1, 2, 3):
        slots.fill(folder_store.models, made, "blue", version)
    assert slots.drop_older(folder_store.models, "blue", 3, kept={1}) == [2]
    assert list(slots.whole_versions(folder_store.models, "blue")) == [1, 3]


def test_a_mirror_holds_the_newest_two_whole_versions(store: Store, make_candidate: Make, tmp_path: Path) -> None:
    made = make_candidate(store, "run-1")
    folder = tmp_path / "watched"
    for version in (1, 2, 3):
        slots.fill(store.models, made, "blue", version)
        slots.mirror(store.models, "blue", folder)
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]
    assert (folder / "3" / "saved_model.pb").read_bytes() == b"graph"


def test_a_mirror_removes_what_a_killed_one_left(folder_store: Store, tmp_path: Path) -> None:
    (tmp_path / "watched" / ".unfinished-1" / "store").mkdir(parents=True)
    assert slots.mirror(folder_store.models, "blue", tmp_path / "watched") == []
    assert list((tmp_path / "watched").iterdir()) == []


def test_a_mirror_keeps_what_it_has_when_a_file_was_changed(
    folder_store: Store, make_candidate: Make, tmp_path: Path
) -> None:
    made = make_candidate(folder_store, "run-1")
    slots.fill(folder_store.models, made, "blue", 1)
    slots.mirror(folder_store.models, "blue", tmp_path / "watched")
    slots.fill(folder_store.models, made, "blue", 2)
    folder_store.models.put("slots/blue/2/saved_model.pb", b"damaged")
    with pytest.raises(BadDataError, match="has changed"):
        slots.mirror(folder_store.models, "blue", tmp_path / "watched")
    assert [path.name for path in (tmp_path / "watched").iterdir()] == ["1"]


def test_a_mirror_has_no_version_that_was_copied_wrongly(
    folder_store: Store, make_candidate: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 1)
    copy = shutil.copytree

    def badly(source: str, target: str, *more: object) -> None:
        copy(source, target, *more)
        next(path for path in Path(target).rglob("*") if path.is_file()).write_bytes(b"half")

    monkeypatch.setattr(shutil, "copytree", badly)
    with pytest.raises(TryAgainError, match="of version 1 of slot blue was copied wrongly"):
        slots.mirror(folder_store.models, "blue", tmp_path / "watched")
    assert list((tmp_path / "watched").iterdir()) == []


def test_a_version_that_was_filled_anew_replaces_its_mirror(
    folder_store: Store, make_candidate: Make, tmp_path: Path
) -> None:
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 1)
    slots.mirror(folder_store.models, "blue", tmp_path / "watched")
    slots.drop(folder_store.models, "blue", 1)
    slots.fill(folder_store.models, make_candidate(folder_store, "run-2", seed=9), "blue", 1)
    slots.mirror(folder_store.models, "blue", tmp_path / "watched")
    assert "candidates/run-2/als" in (tmp_path / "watched" / "1" / "manifest.json").read_text()


def test_only_one_run_may_fill_a_version(store: Store) -> None:
    first = slots.claim(store.models, 4, "run-1", 60)
    with pytest.raises(TryAgainError, match="run 'run-1' is publishing version 4"):
        slots.claim(store.models, 4, "run-2", 60)
    slots.check_claim(store.models, first)


def test_a_repeated_step_of_the_same_run_takes_its_claim_again(folder_store: Store) -> None:
    first = slots.claim(folder_store.models, 4, "run-1", 60)
    second = slots.claim(folder_store.models, 4, "run-1", 60)
    assert second.turn == first.turn + 1
    with pytest.raises(TryAgainError, match="took over"):
        slots.check_claim(folder_store.models, first)


def test_a_claim_ends_with_its_deadline_and_with_its_process(folder_store: Store) -> None:
    models = folder_store.models
    first = slots.claim(models, 4, "run-1", 60)
    models.put(first.key, records.encode(replace(first, expires=time.time() - 1, host="elsewhere")))
    second = slots.claim(models, 4, "run-2", 60)
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    models.put(second.key, records.encode(replace(second, process=child)))
    assert slots.claim(models, 4, "run-3", 60).turn == 3
    slots.drop_claims(models, 4)
    assert slots.newest_claim(models, 4) is None
