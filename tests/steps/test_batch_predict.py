from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.models import pruning
from steps.models.factors import Factors
from steps.models.interactions import Interactions
from steps.models.scorer import rows_of

Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def released(
    folder_store: Store, make_candidate: Callable[..., Candidate], make_release: Callable[..., object]
) -> Store:
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    return folder_store


def table(store: Store, folder: str = "predictions/1") -> pl.DataFrame:
    parts = [entry.key for entry in store.models.list(f"{folder}/part-") if entry.key.endswith(".parquet")]
    return pl.concat([pl.read_parquet(io.BytesIO(store.models.get(key))) for key in parts])


def test_everybody_gets_what_the_model_recommends(
    run_step: Run, released: Store, factors: Factors, checkerboard: Interactions
) -> None:
    code, outputs = run_step("batch_predict", "--shards", "3", "--k", "5")
    assert (code, outputs["users"]) == (0, "50")
    found = table(released)
    everybody = np.arange(50, dtype=np.int32)
    expected = factors.recommend(everybody, 5, rows_of(checkerboard.matrix, everybody))
    assert found["user"].to_list() == list(checkerboard.users)
    assert found["items"].to_list() == [checkerboard.items.names(row) for row in expected.items]
    assert np.array(found["scores"].to_list()) == pytest.approx(expected.scores, rel=1e-6)
    assert json.loads(released.models.get("predictions/1/manifest.json"))["users"] == 50


@pytest.mark.parametrize("sorted_first", [True, False], ids=["longest first", "all"])
def test_how_much_was_calculated_is_told(
    run_step: Run,
    released: Store,
    factors: Factors,
    checkerboard: Interactions,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    sorted_first: bool,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(pruning, "LEAST_USERS", 1 if sorted_first else 51)
    monkeypatch.setattr(pruning, "FIRST_ITEMS", 4)
    monkeypatch.setattr(pruning, "FIRST_OF_EACH", 2)
    assert run_step("batch_predict", "--shards", "3", "--k", "5")[0] == 0
    told = re.search(r"50 users: ([\d.]+) % of all scores were calculated", caplog.text)
    assert told
    assert (float(told[1]) == 100) != sorted_first
    everybody = np.arange(50, dtype=np.int32)
    expected = factors.recommend(everybody, 5, rows_of(checkerboard.matrix, everybody))
    assert np.array(table(released)["scores"].to_list()) == pytest.approx(expected.scores, rel=1e-5)


def test_a_shard_written_twice_is_the_same_file(run_step: Run, released: Store) -> None:
    flags = ("--stage", "shard", "--shard", "1", "--shards", "3")
    run_step("batch_predict", *flags)
    first = {entry.key: released.models.get(entry.key) for entry in released.models.list("predictions/")}
    run_step("batch_predict", *flags)
    assert {entry.key: released.models.get(entry.key) for entry in released.models.list("predictions/")} == first
    assert sorted(first) == ["predictions/1/part-00001-of-00003.parquet"]


def test_planned_shards_make_the_same_whole(run_step: Run, released: Store) -> None:
    run_step("batch_predict", "--shards", "1")
    whole = table(released)
    plan = run_step("batch_predict", "--stage", "plan", "--shards", "4")[1]
    assert plan["version"] == "1"
    shards = json.loads(plan["shards"])
    assert shards == [{"shard": str(shard), "shards": "4"} for shard in range(4)]
    counted = 0
    for one in reversed(shards):
        flags = ("--stage", "shard", "--shard", one["shard"], "--shards", one["shards"])
        counted += int(run_step("batch_predict", *flags)[1]["users"])
    assert counted == 50
    assert run_step("batch_predict", "--stage", "merge", "--shards", "4")[1]["users"] == "50"
    assert table(released).equals(whole)


def test_more_shards_than_users_leave_empty_ones(run_step: Run, released: Store) -> None:
    assert run_step("batch_predict", "--shards", "60")[1]["users"] == "50"


def test_a_missing_shard_is_noticed(run_step: Run, released: Store) -> None:
    run_step("batch_predict", "--stage", "shard", "--shard", "0", "--shards", "2")
    assert run_step("batch_predict", "--stage", "merge", "--shards", "2") == (75, {})


def test_a_shard_of_an_earlier_work_is_not_taken_for_one_of_this(run_step: Run, released: Store) -> None:
    assert run_step("batch_predict", "--shards", "2", "--k", "3")[0] == 0
    assert run_step("batch_predict", "--stage", "shard", "--shard", "0", "--shards", "2", "--k", "5")[0] == 0
    assert run_step("batch_predict", "--stage", "merge", "--shards", "2", "--k", "5") == (75, {})
    assert run_step("batch_predict", "--stage", "shard", "--shard", "1", "--shards", "2", "--k", "5")[0] == 0
    assert run_step("batch_predict", "--stage", "merge", "--shards", "2", "--k", "5")[0] == 0


def test_listed_ids_may_hold_odd_characters_and_lines_may_end_as_on_windows(
    run_step: Run, released: Store, tmp_path: Path
) -> None:
    (tmp_path / "users").write_bytes("\ufeffu007\r\n\u2028sep\r\na b \n\x85nel".encode())
    assert run_step("batch_predict", "--users-file", str(tmp_path / "users"), "--shards", "1")[0] == 0
    folder = released.models.list("predictions/1/users-")[0].key.rpartition("/")[0]
    assert table(released, folder)["user"].to_list() == ["u007", "\u2028sep", "a b ", "\x85nel"]


def test_listed_users_are_predicted_in_their_order_also_unknown_ones(
    run_step: Run, released: Store, tmp_path: Path
) -> None:
    (tmp_path / "users").write_text("u007\nnobody\nu000\nu007\n")
    assert run_step("batch_predict", "--users-file", str(tmp_path / "users"), "--shards", "2")[1]["users"] == "3"
    folder = released.models.list("predictions/1/users-")[0].key.rpartition("/")[0]
    found = table(released, folder)
    assert found.select("user", "known").rows() == [("u007", True), ("nobody", False), ("u000", True)]
    released.data.put("lists/some", b"u001\n")
    assert run_step("batch_predict", "--users-file", "store:lists/some")[1]["users"] == "1"


def test_one_csv_has_a_line_a_user_as_competitions_want_it(run_step: Run, released: Store) -> None:
    run_step("batch_predict", "--shards", "3", "--k", "3")
    found = pd.read_csv(io.BytesIO(released.models.get("predictions/1/submission.csv")))
    assert list(found.columns) == ["customer_id", "prediction"]
    expected = table(released)
    assert found["customer_id"].tolist() == expected["user"].to_list()
    assert found["prediction"].str.split(" ").tolist() == expected["items"].to_list()


def test_a_user_who_bought_nearly_all_gets_what_is_left(run_step: Run, released: Store) -> None:
    run_step("batch_predict", "--shards", "1", "--k", "40")
    found = table(released)
    assert set(found["items"].list.len()) == {26}
    assert set(found["scores"].list.len()) == {26}
    assert not found["items"].list.eval(pl.element().is_null()).list.any().any()


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--stage", "some"), 2),
        (("--shards", "0"), 2),
        (("--k", "0"), 2),
        (("--stage", "shard"), 2),
        (("--stage", "shard", "--shard", "4"), 2),
        (("--version", "9"), 2),
        (("--users-file", "/nowhere"), 2),
        (("--users-file", "store:nothing"), 2),
        (("--users-file", "store:../nothing"), 2),
    ],
)
def test_wrong_flags_write_nothing(run_step: Run, released: Store, flags: tuple[str, ...], code: int) -> None:
    assert run_step("batch_predict", *flags) == (code, {})
    assert released.models.list("predictions/") == []


def test_lists_without_users_and_of_other_encodings_are_bad_data(
    run_step: Run, released: Store, tmp_path: Path
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "latin").write_bytes(b"\xe9\n")
    for name in ("empty", "latin"):
        assert run_step("batch_predict", "--users-file", str(tmp_path / name))[0] == 65


def test_before_any_release_it_says_so(run_step: Run) -> None:
    assert run_step("batch_predict") == (2, {})
