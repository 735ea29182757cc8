from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest

from steps.artifacts import verdict
from steps.clients.object_store import Store

Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def snapshot(run_step: Run) -> str:
    code, outputs = run_step("data_publish", "--source", "demo:users=60,items=30,days=60")
    assert code == 0
    return outputs["snapshot"]


def test_a_new_snapshot_is_trained_on(run_step: Run, snapshot: str) -> None:
    code, outputs = run_step("plan", "--snapshot", snapshot, "--models", "als,popularity")
    assert code == 0
    assert (outputs["train"], json.loads(outputs["models"])) == ("true", ["als", "popularity"])


def test_a_blend_is_planned_but_not_trained(run_step: Run, snapshot: str) -> None:
    code, outputs = run_step("plan", "--snapshot", snapshot)
    assert code == 0
    assert json.loads(outputs["models"]) == ["popularity", "als", "ease", "item_knn"]


@pytest.mark.parametrize(
    ("flags", "blended"),
    [
        ((), "true"),
        (("--models", "als,popularity,blend"), "true"),
        (("--models", "als,popularity"), "false"),
        (("--models", "als,blend"), "false"),
        (("--models", "als,ease,blend", "--set", "ease.most_items=5"), "false"),
    ],
)
def test_a_blend_is_planned_where_it_was_asked_for_and_there_are_two_to_blend(
    run_step: Run, snapshot: str, flags: tuple[str, ...], blended: str
) -> None:
    assert run_step("plan", "--snapshot", snapshot, *flags)[1]["blend"] == blended


def test_a_model_that_cannot_learn_from_so_many_items_is_left_out_with_the_reason(run_step: Run, snapshot: str) -> None:
    code, outputs = run_step("plan", "--snapshot", snapshot, "--models", "als,ease", "--set", "ease.most_items=5")
    assert (code, json.loads(outputs["models"])) == (0, ["als"])
    assert "are more than ease.most_items=5" in outputs["reason"]
    assert run_step("plan", "--snapshot", snapshot, "--models", "ease", "--set", "ease.most_items=5")[0] == 2


def test_what_several_workers_train_is_a_list_of_its_own(run_step: Run, snapshot: str) -> None:
    flags = ("--snapshot", snapshot, "--models", "als,deep_cf,two_tower,blend", "--workers", "3")
    code, outputs = run_step("plan", *flags, "--distributed", "true")
    assert (code, json.loads(outputs["models"])) == (0, ["als"])
    assert json.loads(outputs["together"]) == [
        {"model": "deep_cf", "job": "deep-cf"},
        {"model": "two_tower", "job": "two-tower"},
    ]
    code, alone = run_step("plan", *flags)
    assert (code, json.loads(alone["models"])) == (0, ["als", "deep_cf", "two_tower"])
    assert json.loads(alone["together"]) == []
    # The model is the same, so it is not made again for having been made otherwise.
    assert alone["fingerprint"] == outputs["fingerprint"]


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--models", "als,popularity"), "none trains by several workers: deep_cf and two_tower do"),
        (("--models", "deep_cf", "--budget", "60"), "--budget is for one worker"),
        (("--models", "deep_cf", "--workers", "1"), "--workers"),
        (("--models", "deep_cf", "--workers", "many"), "--workers"),
    ],
)
def test_what_several_workers_cannot_train_is_refused_before_anything_is_trained(
    run_step: Run, snapshot: str, caplog: pytest.LogCaptureFixture, flags: tuple[str, ...], sentence: str
) -> None:
    assert run_step("plan", "--snapshot", snapshot, "--distributed", "true", *flags) == (2, {})
    assert sentence in caplog.text


def test_the_fingerprint_is_of_everything_that_matters(run_step: Run, snapshot: str) -> None:
    def fingerprint(*flags: str, **environment: str) -> str:
        return run_step("plan", "--snapshot", snapshot, *flags, **environment)[1]["fingerprint"]

    first = fingerprint()
    assert fingerprint("--models", "blend,als,item_knn,ease,popularity") == first
    others = [
        fingerprint("--models", "als"),
        fingerprint("--set", "als.factors=8"),
        fingerprint("--metric", "recall@10"),
        fingerprint(SAVED_MODEL="true"),
        fingerprint("--tolerance", "0.1"),
        fingerprint("--min-metric", "recall@10=0.5"),
        fingerprint("--seed", "8"),
        fingerprint("--trials", "5"),
        fingerprint("--budget", "60"),
        fingerprint(SOURCE_REVISION="another"),
    ]
    assert len({first, *others}) == len(others) + 1


def test_what_was_judged_and_is_live_is_not_trained_again(
    run_step: Run, snapshot: str, folder_store: Store, make_verdict: Callable[..., verdict.Verdict]
) -> None:
    first = run_step("plan", "--snapshot", snapshot)[1]
    judged = make_verdict(folder_store, "run-1")
    stored = folder_store.models.get("verdicts/run-1.json").replace(
        judged.fingerprint.encode(), first["fingerprint"].encode()
    )
    folder_store.models.put("verdicts/run-1.json", stored)
    # Promoted, but never published: the work is not done.
    assert run_step("plan", "--snapshot", snapshot)[1]["train"] == "true"
    assert run_step("model_publish", RUN="run-1")[0] == 0
    again = run_step("plan", "--snapshot", snapshot)[1]
    assert (again["train"], again["models"]) == ("false", "[]")
    assert "version 1" in again["reason"]
    assert run_step("plan", "--snapshot", snapshot, "--again", "true")[1]["train"] == "true"
    assert run_step("plan", "--snapshot", snapshot, "--seed", "8")[1]["train"] == "true"


def test_what_was_refused_is_not_trained_again_until_another_model_is_live(
    run_step: Run, snapshot: str, folder_store: Store, make_verdict: Callable[..., verdict.Verdict]
) -> None:
    first = run_step("plan", "--snapshot", snapshot)[1]
    make_verdict(folder_store, "run-1", promote=False)
    stored = folder_store.models.get("verdicts/run-1.json").replace(
        b"fingerprint of run-1", first["fingerprint"].encode()
    )
    folder_store.models.put("verdicts/run-1.json", stored)
    again = run_step("plan", "--snapshot", snapshot)[1]
    assert again["train"] == "false"
    assert "a test says so" in again["reason"]
    make_verdict(folder_store, "run-0")
    assert run_step("model_publish", RUN="run-0")[0] == 0
    folder_store.models.put("verdicts/run-1.json", stored)
    assert run_step("plan", "--snapshot", snapshot)[1]["train"] == "true"


def test_another_verdict_of_the_same_moment_hides_nothing(
    run_step: Run, snapshot: str, folder_store: Store, make_verdict: Callable[..., verdict.Verdict]
) -> None:
    wanted = run_step("plan", "--snapshot", snapshot)[1]["fingerprint"].encode()
    for run in ("run-1", "run-2"):
        make_verdict(folder_store, run, promote=False)
    stored = folder_store.models.get("verdicts/run-1.json").replace(b"fingerprint of run-1", wanted)
    folder_store.models.put("verdicts/run-1.json", stored)
    for run in ("run-1", "run-2"):
        os.utime(folder_store.models.address(f"verdicts/{run}.json"), (1_700_000_000, 1_700_000_000))
    assert run_step("plan", "--snapshot", snapshot)[1]["train"] == "false"


def test_a_model_that_was_taken_back_is_not_made_again_from_the_same_purchases(
    run_step: Run, snapshot: str, folder_store: Store, make_verdict: Callable[..., verdict.Verdict]
) -> None:
    wanted = run_step("plan", "--snapshot", snapshot)[1]["fingerprint"]
    for number in (1, 2):
        make_verdict(folder_store, f"run-{number}")
        assert run_step("model_publish", RUN=f"run-{number}")[0] == 0
    stored = folder_store.models.get("verdicts/run-2.json").replace(b"fingerprint of run-2", wanted.encode())
    folder_store.models.put("verdicts/run-2.json", stored)
    assert run_step("plan", "--snapshot", snapshot)[1]["train"] == "false"
    assert run_step("model_publish", "--rollback", RUN="back")[0] == 0
    again = run_step("plan", "--snapshot", snapshot)[1]
    assert again["train"] == "false"
    assert "version 3 replaced it" in again["reason"]
    assert run_step("plan", "--snapshot", snapshot, "--again", "true")[1]["train"] == "true"


def test_a_model_that_is_tried_or_was_taken_back_is_not_made_again_from_the_same_purchases(
    run_step: Run, snapshot: str, folder_store: Store, make_verdict: Callable[..., verdict.Verdict]
) -> None:
    wanted = run_step("plan", "--snapshot", snapshot)[1]["fingerprint"]
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    make_verdict(folder_store, "run-2")
    stored = folder_store.models.get("verdicts/run-2.json").replace(b"fingerprint of run-2", wanted.encode())
    folder_store.models.put("verdicts/run-2.json", stored)
    assert run_step("plan", "--snapshot", snapshot)[1]["train"] == "true"
    assert run_step("model_publish", "--canary", "10", RUN="run-2")[0] == 0
    tried = run_step("plan", "--snapshot", snapshot)[1]
    assert (tried["train"], tried["models"]) == ("false", "[]")
    assert tried["reason"].endswith("and is being tried as version 2")
    assert run_step("model_publish", "--abort", "fewer clicks")[0] == 0
    aborted = run_step("plan", "--snapshot", snapshot)[1]
    assert aborted["train"] == "false"
    assert aborted["reason"].endswith("and was taken back as version 2: fewer clicks")
    assert run_step("plan", "--snapshot", snapshot, "--again", "true")[1]["train"] == "true"


def test_a_trial_that_another_version_ended_has_told_nothing_about_its_model(
    run_step: Run, snapshot: str, folder_store: Store, make_verdict: Callable[..., verdict.Verdict]
) -> None:
    wanted = run_step("plan", "--snapshot", snapshot)[1]["fingerprint"]
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    for run in ("run-2", "run-3"):
        make_verdict(folder_store, run)
    stored = folder_store.models.get("verdicts/run-2.json").replace(b"fingerprint of run-2", wanted.encode())
    folder_store.models.put("verdicts/run-2.json", stored)
    assert run_step("model_publish", "--canary", "10", RUN="run-2")[0] == 0
    assert run_step("model_publish", "--force", "now", RUN="run-3")[0] == 0
    assert run_step("plan", "--snapshot", snapshot)[1]["train"] == "true"


@pytest.mark.parametrize(
    "flags",
    [
        ("--models", "svd"),
        ("--set", "als.rank=3"),
        ("--set", "als.factors=0"),
        ("--metric", "auc"),
        ("--again", "maybe"),
        ("--tolerance", "2"),
        ("--min-metric", "recall@10"),
        ("--seed", "x"),
        ("--canary", "many"),
        ("--canary", "101"),
    ],
)
def test_a_wrong_flag_is_found_before_anything_is_trained(run_step: Run, snapshot: str, flags: tuple[str, str]) -> None:
    assert run_step("plan", "--snapshot", snapshot, *flags) == (2, {})


@pytest.mark.parametrize("snapshot_name", ["s-0123456789abcdef", "latest", ""])
def test_an_unknown_snapshot_is_refused(run_step: Run, snapshot_name: str) -> None:
    assert run_step("plan", "--snapshot", snapshot_name)[0] == 2
