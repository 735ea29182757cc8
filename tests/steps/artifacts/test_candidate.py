from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.artifacts import candidate, names
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.runtime.errors import BadDataError, UsageError

Make = Callable[..., Candidate]


def test_a_candidate_is_read_back_with_a_checksum_for_every_file(store: Store, make_candidate: Make) -> None:
    made = make_candidate(store, "run-1")
    assert candidate.read(store.models, "candidates/run-1/als") == made
    assert {"factors/user_factors.npy", "saved_model/saved_model.pb"} <= set(made.files)


def test_its_factors_answer_as_recorded(store: Store, make_candidate: Make, tmp_path: Path) -> None:
    made = make_candidate(store, "run-1")
    scorer, _ = candidate.scorer(store.models, made, tmp_path / "cache")
    first = made.answers[0]
    user = scorer.users.codes([first.user] * 5)
    assert scorer.score(user, scorer.items.codes(first.items)) == pytest.approx(first.scores, rel=1e-5, abs=1e-7)


def test_without_a_manifest_there_is_no_candidate(folder_store: Store, make_candidate: Make) -> None:
    made = make_candidate(folder_store, "run-1")
    folder_store.models.delete([f"{made.path}/{names.MANIFEST}"])
    assert candidate.find(folder_store.models, made.path) is None
    with pytest.raises(UsageError, match="no candidate candidates/run-1/als"):
        candidate.read(folder_store.models, made.path)


def test_a_manifest_of_before_there_were_searches_and_curves_is_read(folder_store: Store, make_candidate: Make) -> None:
    made = make_candidate(folder_store, "run-1")
    key = f"{made.path}/{names.MANIFEST}"
    manifest = json.loads(folder_store.models.get(key))
    del manifest["search"], manifest["curve"]
    folder_store.models.put(key, json.dumps(manifest).encode())
    found = candidate.read(folder_store.models, made.path)
    assert (found.search, found.curve) == ([], [])


def test_a_second_writer_yields_to_the_first(folder_store: Store, make_candidate: Make, tmp_path: Path) -> None:
    made = make_candidate(folder_store, "run-1")
    (tmp_path / "empty").mkdir()
    assert candidate.write(folder_store.models, made, tmp_path / "empty") == made


def test_changed_factors_are_refused(folder_store: Store, make_candidate: Make, tmp_path: Path) -> None:
    made = make_candidate(folder_store, "run-1")
    folder_store.models.put(f"{made.path}/factors/user_factors.npy", b"something else")
    with pytest.raises(BadDataError, match="has changed"):
        candidate.scorer(folder_store.models, made, tmp_path)


@pytest.mark.parametrize("path", ["run-1/als", "candidates/als", "candidates/../../als", "releases/1/als", ""])
def test_what_is_no_candidate_path_is_refused(folder_store: Store, path: str) -> None:
    with pytest.raises(UsageError, match="write candidates/RUN/MODEL"):
        candidate.read(folder_store.models, path)


def test_every_step_of_a_run_needs_its_name() -> None:
    with pytest.raises(UsageError, match="RUN is not set"):
        names.require_run("")
