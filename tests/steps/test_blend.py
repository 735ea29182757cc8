from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.artifacts import candidate
from steps.clients.object_store import Store
from steps.models.blend import Blend, Chosen

Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def snapshot(run_step: Run) -> str:
    return run_step("data_publish", "--source", "demo:users=200,items=60,days=100")[1]["snapshot"]


@pytest.fixture
def trained(run_step: Run, snapshot: str) -> str:
    for model in ("popularity", "item_knn", "ease"):
        assert run_step("train", "--snapshot", snapshot, "--model", model, RUN="run-1")[0] == 0
    return snapshot


def test_the_blend_is_a_candidate_like_any_other(
    run_step: Run, trained: str, folder_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Chosen({"ease": 0.65, "item_knn": 0.35}, 0.2, 0.1)
    monkeypatch.setattr("steps.models.blend.choose", lambda *arguments: chosen)
    code, outputs = run_step("blend", "--snapshot", trained, RUN="run-1", SAVED_MODEL="true")
    assert (code, outputs) == (0, {"candidate": "candidates/run-1/blend"})
    made = candidate.read(folder_store.models, "candidates/run-1/blend")
    assert made.settings == {"ease": 0.65, "item_knn": 0.35}
    assert "saved_model/saved_model.pb" in made.files
    scorer, bought = candidate.scorer(folder_store.models, made, tmp_path)
    assert isinstance(scorer, Blend)
    first = made.answers[0]
    user = scorer.users.codes([first.user])
    found = scorer.recommend(user, 10, bought[user])
    assert scorer.items.names(found.items[0]) == first.items
    code, outputs = run_step("evaluate", "--snapshot", trained, RUN="run-1")
    assert code == 0
    assert '"blend"' in outputs["metrics"]
    assert run_step("model_publish", RUN="run-1", SLOTS="")[0] in (0, 69)


def test_where_one_model_alone_is_best_there_is_no_blend(
    run_step: Run,
    trained: str,
    folder_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("steps.models.blend.choose", lambda *arguments: Chosen({"ease": 1.0}, 0.2, 0.2))
    assert run_step("blend", "--snapshot", trained, RUN="run-1") == (0, {"candidate": ""})
    assert "none is ahead of ease alone (ndcg@10 0.2000) beyond chance" in caplog.text
    assert candidate.find(folder_store.models, "candidates/run-1/blend") is None
    code, outputs = run_step("evaluate", "--snapshot", trained, RUN="run-1")
    assert code == 0
    assert set(json.loads(outputs["metrics"])) == {"popularity", "item_knn", "ease"}


def test_what_was_not_asked_for_is_not_made(run_step: Run, trained: str) -> None:
    assert run_step("blend", "--snapshot", trained, "--models", "ease,item_knn", RUN="run-1") == (0, {"candidate": ""})


def test_one_model_cannot_be_blended(run_step: Run, snapshot: str) -> None:
    run_step("train", "--snapshot", snapshot, "--model", "popularity", RUN="run-1")
    assert run_step("blend", "--snapshot", snapshot, RUN="run-1") == (0, {"candidate": ""})


def test_another_seed_than_that_of_training_is_refused(run_step: Run, trained: str) -> None:
    assert run_step("blend", "--snapshot", trained, "--seed", "x", RUN="run-1")[0] == 2
    assert run_step("blend", "--snapshot", trained)[0] == 2
