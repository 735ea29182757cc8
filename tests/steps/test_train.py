from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from steps.artifacts import candidate, dataset
from steps.artifacts.dataset import Split
from steps.clients.object_store import Store
from steps.models.als import ALS, ALSSettings
from steps.models.factors import Factors
from steps.models.ids import UNKNOWN

DAYS = "days until what is popular fades by half"
Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def snapshot(run_step: Run) -> str:
    return run_step("data_publish", "--source", "demo:users=60,items=30,days=60")[1]["snapshot"]


def test_a_candidate_holds_all_that_the_manifest_promises(
    run_step: Run, snapshot: str, folder_store: Store, tmp_path: Path
) -> None:
    flags = ("--snapshot", snapshot, "--model", "als", "--set", "als.factors=4", "--seed", "3")
    code, outputs = run_step("train", *flags, RUN="run-1", SOURCE_REVISION="abc", SAVED_MODEL="true")
    assert (code, outputs) == (0, {"candidate": "candidates/run-1/als"})
    made = candidate.read(folder_store.models, "candidates/run-1/als")
    assert (made.model, made.snapshot, made.seed, made.source_revision) == ("als", snapshot, 3, "abc")
    assert made.settings["factors"] == 4
    assert made.seconds > 0
    assert made.peak_memory > 1 << 20
    assert {"numpy", "scipy", "tensorflow", "keras", "keras-rs", "python"} <= set(made.libraries)
    assert "saved_model/saved_model.pb" in made.files
    assert made.answers[-1].known is False
    scorer, _ = candidate.scorer(folder_store.models, made, tmp_path)
    assert isinstance(scorer, Factors)
    assert scorer.user_factors.shape[1] == 4


WITHOUT_TENSORFLOW = """
import sys
from steps import train
from steps.runtime.program import main
code = main(train.parser(), train.run, ["--snapshot", sys.argv[1], "--model", "als"])
sys.exit(code or 1 * any(name.partition(".")[0] in ("tensorflow", "keras") for name in sys.modules))
"""


def test_where_no_slot_reads_saved_models_tensorflow_is_not_even_loaded(
    snapshot: str, folder_store: Store, tmp_path: Path
) -> None:
    settings = {"STORE": f"file:{tmp_path / 'store'}", "RUN": "run-1"}
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, snapshot]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **settings})
    assert done.returncode == 0, done.stderr
    made = candidate.read(folder_store.models, "candidates/run-1/als")
    assert made.part("factors")
    assert not made.part("saved_model")


def test_the_test_split_is_not_learnt_from_but_is_never_recommended(
    run_step: Run, snapshot: str, folder_store: Store, tmp_path: Path
) -> None:
    flags = ("--model", "popularity", "--set", "popularity.half_life=0")
    run_step("train", "--snapshot", snapshot, *flags, RUN="run-1")
    made = candidate.read(folder_store.models, "candidates/run-1/popularity")
    data = dataset.load(folder_store, snapshot, tmp_path)
    scorer, bought = candidate.scorer(folder_store.models, made, tmp_path)
    learnt = data.interactions(Split.TRAIN, Split.VALIDATION)
    assert scorer.popularity == pytest.approx(learnt.popularity / learnt.popularity.sum())
    assert (bought != (data.interactions().matrix != 0)).nnz == 0
    assert bought.nnz > learnt.matrix.nnz


def test_a_repeated_step_finds_its_candidate_and_trains_nothing(
    run_step: Run, snapshot: str, folder_store: Store
) -> None:
    flags = ("--snapshot", snapshot, "--model", "popularity")
    run_step("train", *flags, RUN="run-1")
    before = [(entry.key, entry.modified) for entry in folder_store.models.list()]
    assert run_step("train", *flags, RUN="run-1")[0] == 0
    assert [(entry.key, entry.modified) for entry in folder_store.models.list()] == before


def test_a_candidate_never_changes(run_step: Run, snapshot: str) -> None:
    run_step("train", "--snapshot", snapshot, "--model", "popularity", RUN="run-1")
    assert run_step("train", "--snapshot", snapshot, "--model", "popularity", "--seed", "8", RUN="run-1")[0] == 2


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        (("--model", "svd"), {"RUN": "run-1"}),
        (("--model", "als", "--set", "als.factors=x"), {"RUN": "run-1"}),
        (("--model", "als", "--seed", "-1"), {"RUN": "run-1"}),
        (("--model", "als", "--trials", "-1"), {"RUN": "run-1"}),
        (("--model", "als", "--budget", "soon"), {"RUN": "run-1"}),
        (("--model", "als", "--metric", "auc"), {"RUN": "run-1"}),
        (("--model", "blend"), {"RUN": "run-1"}),
        (("--model", "als"), {}),
    ],
    ids=["model", "setting", "seed", "trials", "budget", "metric", "blend", "no run"],
)
def test_a_wrong_flag_ends_before_anything_is_written(
    run_step: Run, snapshot: str, folder_store: Store, flags: tuple[str, ...], environment: dict[str, str]
) -> None:
    assert run_step("train", "--snapshot", snapshot, *flags, **environment) == (2, {})
    assert folder_store.models.list() == []


def test_an_unknown_snapshot_is_refused(run_step: Run, folder_store: Store) -> None:
    assert run_step("train", "--snapshot", "s-0123456789abcdef", "--model", "als", RUN="run-1")[0] == 2
    assert folder_store.models.list() == []


def test_the_stranger_of_the_health_check_is_nobodys_id(run_step: Run, snapshot: str, folder_store: Store) -> None:
    run_step("train", "--snapshot", snapshot, "--model", "popularity", RUN="run-1")
    made = candidate.read(folder_store.models, "candidates/run-1/popularity")
    folder = folder_store.models.address(f"{made.path}/factors")
    assert Factors.load(Path(folder))[0].users.code(made.answers[-1].user) == UNKNOWN


def test_without_a_trial_the_settings_are_as_given_and_one_model_is_fitted(
    run_step: Run, snapshot: str, folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted, learn = [], ALS.learn

    def told(model: ALS, *given: Any) -> Factors:
        fitted.append(model.settings)
        return learn(model, *given)

    monkeypatch.setattr(ALS, "learn", told)
    flags = ("--snapshot", snapshot, "--model", "als", "--set", "als.factors=4", "--trials", "0")
    assert run_step("train", *flags, RUN="run-1")[0] == 0
    assert fitted == [ALSSettings(factors=4)]
    made = candidate.read(folder_store.models, "candidates/run-1/als")
    assert (made.search, made.part("validation")) == ([], {})
    assert not [name for name in made.metrics if name.startswith("validation")]


def test_settings_are_chosen_on_the_validation_split_and_the_trials_are_told(
    run_step: Run, snapshot: str, folder_store: Store
) -> None:
    assert run_step("train", "--snapshot", snapshot, "--model", "item_knn", "--trials", "4", RUN="run-1")[0] == 0
    made = candidate.read(folder_store.models, "candidates/run-1/item_knn")
    assert len(made.search) == 4
    best = max(made.search, key=lambda trial: trial["value"])
    assert made.settings == best["settings"]
    assert made.metrics["validation ndcg@10"] == best["value"]
    trials = [entry.key for entry in folder_store.models.list("candidates/run-1/item_knn/search/")]
    assert len(trials) == 4


def test_the_manifest_tells_what_the_passes_of_als_reached(run_step: Run, snapshot: str, folder_store: Store) -> None:
    flags = ("--set", "als.iterations=10,als.factors=4")
    assert run_step("train", "--snapshot", snapshot, "--model", "als", *flags, RUN="run-1")[0] == 0
    made = candidate.read(folder_store.models, "candidates/run-1/als")
    assert [point["pass"] for point in made.curve] == [2, 4, 6, 8, 10]
    assert made.curve[-1]["figure"] == made.metrics["validation ndcg@10"]


def test_all_models_of_a_run_show_strangers_the_same(run_step: Run, snapshot: str, folder_store: Store) -> None:
    def strangers(model: str, *flags: str, run: str) -> tuple[list[str], float]:
        assert run_step("train", "--snapshot", snapshot, "--model", model, *flags, RUN=run)[0] == 0
        made = candidate.read(folder_store.models, f"candidates/{run}/{model}")
        return made.answers[-1].items, made.metrics[DAYS]

    popular = strangers("popularity", run="run-1")
    chosen = candidate.read(folder_store.models, "candidates/run-1/popularity").settings["half_life"]
    assert popular[1] == chosen
    assert strangers("item_knn", run="run-1") == strangers("ease", run="run-1") == popular
    set_ = ("--set", "popularity.half_life=0.5")
    assert strangers("item_knn", *set_, run="run-2") == strangers("popularity", *set_, run="run-2")
    assert strangers("ease", *set_, run="run-2")[1] == 0.5


def test_who_bought_nothing_gets_what_the_own_land_buys(run_step: Run, folder_store: Store, tmp_path: Path) -> None:
    # Users 0 to 9 are of one land and buy items 0 and 1, 10 to 19 of the other and buy 2 and 3; the last two nothing.
    user = np.repeat(np.arange(20), 2)
    item = np.tile([0, 1], 20) + np.where(user < 10, 0, 2)
    rows = {"user": user, "item": item, "weight": np.ones(40), "time": np.arange(40) * 10**6, "split": user % 10 > 8}
    schema = {"user": pl.Int32, "item": pl.Int32, "weight": pl.Float32, "time": pl.Int64, "split": pl.Int8}
    draft = dataset.Draft(
        purchases=pl.DataFrame({name: pl.Series(values).cast(schema[name]) for name, values in rows.items()}),
        users=pl.DataFrame({"id": [f"u{n:02d}" for n in range(22)], "land": [*["at"] * 10, *["se"] * 10, "at", "se"]}),
        items=pl.DataFrame({"id": ["i0", "i1", "i2", "i3"]}),
        rejects=pl.DataFrame({"file": [], "row": [], "reason": [], "value": []}),
    )
    snapshot = dataset.publish(folder_store, draft).id
    flags = ("--snapshot", snapshot, "--model", "item_knn", "--set")
    assert run_step("train", *flags, "popularity.segment=land,popularity.shrink=1", RUN="run-1")[0] == 0
    made = candidate.read(folder_store.models, "candidates/run-1/item_knn")
    scorer, _ = candidate.scorer(folder_store.models, made, tmp_path / "cache")
    found = scorer.recommend(scorer.users.codes(["u20", "u21"]), 2)
    assert [sorted(row) for row in found.items.tolist()] == [[0, 1], [2, 3]]
    assert found.known.tolist() == [False, False]
    assert run_step("train", *flags, "popularity.segment=country", RUN="run-2") == (2, {})


def test_a_family_without_passes_has_no_learning_curve(run_step: Run, snapshot: str, folder_store: Store) -> None:
    assert run_step("train", "--snapshot", snapshot, "--model", "item_knn", RUN="run-1")[0] == 0
    assert candidate.read(folder_store.models, "candidates/run-1/item_knn").curve == []


def test_a_killed_search_goes_on_where_it_was(
    run_step: Run, snapshot: str, folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--snapshot", snapshot, "--model", "item_knn", "--trials", "4")
    assert run_step("train", *flags, RUN="whole")[0] == 0
    with monkeypatch.context() as patch:

        def killed(*arguments: object) -> None:
            raise KeyboardInterrupt

        patch.setattr("steps.models.choosing.searched", killed)
        assert run_step("train", *flags, RUN="broken")[0] == 130
    assert len(folder_store.models.list("candidates/broken/item_knn/search/")) == 2
    assert run_step("train", *flags, RUN="broken")[0] == 0
    whole, broken = (candidate.read(folder_store.models, f"candidates/{run}/item_knn") for run in ("whole", "broken"))
    assert [trial["settings"] for trial in broken.search] == [trial["settings"] for trial in whole.search]
    assert broken.part("scorer") == whole.part("scorer")


def test_what_somebody_set_is_what_is_trained(run_step: Run, snapshot: str, folder_store: Store) -> None:
    settings = "item_knn.weighting=tfidf,item_knn.neighbours=7"
    flags = ("--snapshot", snapshot, "--model", "item_knn", "--set", settings, "--trials", "3")
    assert run_step("train", *flags, RUN="run-1")[0] == 0
    made = candidate.read(folder_store.models, "candidates/run-1/item_knn")
    assert (made.settings["weighting"], made.settings["neighbours"]) == ("tfidf", 7)
    assert {trial["settings"]["neighbours"] for trial in made.search} == {7}


def test_what_views_are_worth_is_found_where_they_tell_a_taste_and_noise_is_not_believed(
    run_step: Run, folder_store: Store, tmp_path: Path
) -> None:
    random, tastes = np.random.default_rng(1), 5
    rows = ["user,item,event,time"]
    for user in range(250):
        for kind, count in (("purchase", 2), ("view", 8), ("ping", 8)):
            for item in random.choice(10, count, replace=False):
                taste = user % tastes if kind != "ping" else random.integers(tastes)
                rows.append(f"u{user},i{item * tastes + taste},{kind},{random.integers(1_700_000_000, 1_710_000_000)}")
    path = tmp_path / "events.csv"
    path.write_text("\n".join(rows))
    snapshot = run_step("data_publish", "--source", str(path))[1]["snapshot"]
    assert run_step("train", "--snapshot", snapshot, "--model", "item_knn", "--trials", "15", RUN="run-1")[0] == 0
    made = candidate.read(folder_store.models, "candidates/run-1/item_knn")
    assert made.events["view"] > 0.1
    assert abs(made.events["ping"]) < made.events["view"]
    alone = max(trial["value"] for trial in made.search if not trial["worth"])
    assert made.metrics["validation ndcg@10"] > 1.1 * alone
    # Only purchases are not shown again, and judged by.
    data = dataset.load(folder_store, snapshot, tmp_path / "cache")
    assert data.seen.nnz == data.bought().nnz < 501
