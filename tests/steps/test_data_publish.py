"""The program from its flags to its outputs: what it leaves, what it says, and how it fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steps.artifacts import dataset
from steps.artifacts.dataset import Split
from steps.clients.object_store import open_store
from steps.runtime.settings import Settings

Run = Callable[..., tuple[int, dict[str, str]]]
HEADER = "user,item,time,weight\n"
PURCHASES = [f"u{n % 7},i{n % 5},2024-01-{n % 28 + 1:02d},{n % 3 + 1}\n" for n in range(100)]


@pytest.fixture
def sales(tmp_path: Path) -> Path:
    path = tmp_path / "sales.csv"
    path.write_text(HEADER + "".join(PURCHASES))
    return path


@pytest.fixture
def errors(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """The messages of level error since the last call."""

    def read() -> str:
        lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        return "\n".join(line["message"] for line in lines if line["level"] == "error")

    return read


def manifests(tmp_path: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (tmp_path / "store").rglob("manifest.json")]


def stored(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "store").rglob("*") if path.is_file())


def test_without_flags_the_generated_shop_is_published(run_step: Run, tmp_path: Path) -> None:
    code, outputs = run_step("data_publish")
    assert code == 0
    assert outputs.keys() == {"snapshot", "purchases", "users", "items", "new"}
    assert (outputs["purchases"], outputs["users"], outputs["items"], outputs["new"]) == (
        "50000",
        "2000",
        "600",
        "true",
    )
    store = open_store(Settings.from_environment(os.environ))
    found = dataset.load(store, outputs["snapshot"], tmp_path / "cache")
    assert found.item_names is not None
    assert found.item_names[0] == "Amber Novel"
    assert found.manifest["split"] == {"rule": "time:0.1", "asked": "auto", "seed": 7}
    assert found.manifest["origin"]["source"].startswith("demo:users=2000")
    assert found.time is not None
    latest = [found.time[found.split == split].max() for split in Split]
    assert latest == sorted(latest)
    assert [found.manifest["counts"][name] for name in ("train", "validation", "test")] == [40_000, 5_000, 5_000]


def test_empty_flags_are_flags_not_given(run_step: Run) -> None:
    flags = ("--source", "--columns", "--event-weights", "--query", "--split", "--max-rejects", "--seed")
    code, outputs = run_step("data_publish", *(f"{flag}=" for flag in flags))
    assert (code, outputs["purchases"]) == (0, "50000")


def test_the_same_purchases_in_another_order_and_format_are_the_same_snapshot(
    run_step: Run, sales: Path, tmp_path: Path
) -> None:
    _, first = run_step("data_publish", "--source", str(sales))
    other = tmp_path / "other.parquet"
    frame = pl.read_csv(sales).with_columns(pl.col("time").str.to_datetime(time_zone="UTC")).reverse()
    frame.rename({"user": "customer", "item": "sku"}).write_parquet(other)
    code, second = run_step("data_publish", "--source", str(other), RUN="again")
    assert code == 0
    assert second == {**first, "new": "false"}
    assert (first["new"], len(manifests(tmp_path))) == ("true", 1)


def test_other_purchases_and_another_split_are_other_snapshots(run_step: Run, sales: Path, tmp_path: Path) -> None:
    for flags in ((), ("--split", "random"), ("--split", "random", "--seed", "8"), ("--split", "last:2")):
        assert run_step("data_publish", "--source", str(sales), *flags)[1]["new"] == "true"
    with sales.open("a") as file:
        file.write("u1,i1,2024-01-30,1\n")
    assert run_step("data_publish", "--source", str(sales))[1]["new"] == "true"
    assert len(manifests(tmp_path)) == 5


def test_the_seed_does_not_matter_to_a_split_by_time(run_step: Run, sales: Path) -> None:
    first, second = (run_step("data_publish", "--source", str(sales), "--seed", seed)[1] for seed in ("7", "8"))
    assert second == {**first, "new": "false"}


def test_rejects_are_kept_and_told(run_step: Run, sales: Path, tmp_path: Path, capsys: Any) -> None:
    with sales.open("a") as file:
        file.write(",i1,2024-01-30,1\n")
    code, outputs = run_step("data_publish", "--source", str(sales))
    assert (code, outputs["purchases"]) == (0, "100")
    rejects = pl.read_parquet(next((tmp_path / "store").rglob("rejects.parquet")))
    assert rejects.rows() == [("sales.csv", 101, "the user is missing", None)]
    assert manifests(tmp_path)[0]["rows"] == {"read": 101, "rejected": 1, "of_no_weight": 0}
    said = capsys.readouterr().err
    assert "rows that cannot be used: 1 of 101" in said
    assert "100 purchases of 5 items by 7 users, 2024-01-01 to 2024-01-28" in said


def test_too_many_rejects_are_exit_65_and_nothing_is_written(
    run_step: Run, sales: Path, tmp_path: Path, errors: Callable[[], str]
) -> None:
    with sales.open("a") as file:
        file.write(",i1,2024-01-30,1\nu1,i1,soon,1\n")
    assert run_step("data_publish", "--source", str(sales)) == (65, {})
    assert errors().startswith(
        "data_publish: 2 of 102 rows (1.96 %) cannot be used, and --max-rejects allows 1 %: "
        "1 × the user is missing (as in row 101 of sales.csv); 1 × the time cannot be read (as in row 102"
    )
    assert stored(tmp_path) == []
    assert run_step("data_publish", "--source", str(sales), "--max-rejects", "2%")[0] == 0
    assert run_step("data_publish", "--source", str(sales), "--max-rejects", "0")[0] == 65


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--max-rejects", "2"], "--max-rejects is 2: 0 to 1 are allowed"),
        (["--max-rejects", "few"], "--max-rejects is 'few'"),
        (["--max-rejects", "200%"], "--max-rejects is 200"),
        (["--seed", "-1"], "--seed is -1"),
        (["--seed", "x"], "--seed is 'x'"),
        (["--split", "half"], "--split is 'half'"),
        (["--columns", "who=x"], "--columns has 'who=x'"),
        (["--event-weights", "view"], "--event-weights has 'view'"),
        (["--source", "ftp://host"], "--source begins with ftp://"),
        (["--query", "select 1"], "--query is for databases"),
        (["--source", "postgresql://me:word@host/db", "--query", "select 1"], "--source has a password in it"),
        (["--colums", "x"], "unrecognized arguments: --colums x"),
    ],
)
def test_wrong_flags_are_exit_2_before_anything_is_read_or_written(
    run_step: Run, tmp_path: Path, errors: Callable[[], str], flags: list[str], sentence: str
) -> None:
    assert run_step("data_publish", *flags) == (2, {})
    said = errors()
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert "word@" not in said
    assert not (tmp_path / "store").exists()


SHAPES = {
    "one user": ("".join(f"u,i{n},2024-01-{n + 1:02d},1\n" for n in range(9)), 0),
    "one item": ("".join(f"u{n},i,2024-01-{n + 1:02d},1\n" for n in range(9)), 0),
    "one purchase each": ("".join(f"u{n},i{n},2024-01-{n + 1:02d},1\n" for n in range(9)), 0),
    "one time": ("".join(f"u{n},i{n},2024-01-01,1\n" for n in range(9)), 0),
    "one purchase": ("u,i,2024-01-01,1\n", 65),
    "nothing": ("", 65),
    "only dislikes": ("a,x,2024-01-01,-1\nb,y,2024-01-02,-1\n", 65),
    "only zeros": ("a,x,2024-01-01,0\nb,y,2024-01-02,0\n", 65),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_shapes_work_or_end_in_one_sentence(
    run_step: Run, tmp_path: Path, errors: Callable[[], str], shape: str
) -> None:
    lines, expected = SHAPES[shape]
    path = tmp_path / "odd.csv"
    path.write_text(HEADER + lines)
    code, outputs = run_step("data_publish", "--source", str(path))
    assert code == expected
    if expected:
        assert len(errors().splitlines()) == 1
        assert stored(tmp_path) == []
    else:
        counts = manifests(tmp_path)[0]["counts"]
        assert counts["train"] > 0
        assert counts["test"] > 0
        assert outputs["purchases"] == "9"


def test_dislikes_keep_their_negative_weight(run_step: Run, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,event\na,x,buy\na,y,hide\nb,x,view\nb,y,buy\nb,y,ping\n")
    flags = ("--event-weights", "buy=1,view=0.5,hide=-1,ping=0", "--split", "random")
    code, outputs = run_step("data_publish", "--source", str(path), *flags)
    assert (code, outputs["purchases"]) == (0, "4")
    store = open_store(Settings.from_environment(os.environ))
    found = dataset.load(store, outputs["snapshot"], tmp_path / "cache")
    assert found.interactions().matrix.toarray().tolist() == [[1.0, -1.0], [0.5, 1.0]]
    assert found.manifest["event_weights"] == {"buy": 1.0, "view": 0.5, "hide": -1.0, "ping": 0.0}
    assert found.manifest["rows"]["of_no_weight"] == 1


def test_a_rule_that_needs_times_is_exit_2_where_there_are_none(
    run_step: Run, tmp_path: Path, errors: Callable[[], str]
) -> None:
    path = tmp_path / "x.csv"
    path.write_text("user,item\na,x\nb,y\n")
    assert run_step("data_publish", "--source", str(path), "--split", "time")[0] == 2
    assert "--split time:0.1 needs a time, and the purchases have none" in errors()
    assert run_step("data_publish", "--source", str(path))[0] == 0
    assert manifests(tmp_path)[0]["split"]["rule"] == "random:0.25"


def test_a_store_that_cannot_be_written_is_an_error_and_leaves_nothing(
    run_step: Run, sales: Path, tmp_path: Path, errors: Callable[[], str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    code, outputs = run_step("data_publish", "--source", str(sales), STORE=f"file:{tmp_path}/file/store")
    assert (code, outputs) == (2, {})
    assert "the store cannot use" in errors()


def test_a_store_that_does_not_answer_is_exit_75(run_step: Run, sales: Path) -> None:
    environment = {"STORE": "s3://", "S3_ENDPOINT": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a",
                   "AWS_SECRET_ACCESS_KEY": "b"}  # fmt: skip
    assert run_step("data_publish", "--source", str(sales), **environment) == (75, {})


def test_purchases_are_published_to_a_real_s3(
    run_step: Run, sales: Path, s3_settings: Settings, s3_store: Any, tmp_path: Path
) -> None:
    environment = {"STORE": "s3://", "STORE_PREFIX": s3_settings.store_prefix}
    code, outputs = run_step("data_publish", "--source", str(sales), **environment)
    assert code == 0
    assert len(dataset.load(s3_store, outputs["snapshot"], tmp_path / "cache")) == 100
    assert run_step("data_publish", "--source", str(sales), **environment)[1] == {**outputs, "new": "false"}


def program(*flags: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "steps.data_publish", *flags],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_program_runs_by_itself_and_tells_in_json(sales: Path, tmp_path: Path) -> None:
    child = program("--source", str(sales), STORE=f"file:{tmp_path}/store", OUTPUTS=str(tmp_path / "out"))
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (0, "")
    assert (tmp_path / "out" / "new").read_text() == "true"
    last = json.loads(err.splitlines()[-1])
    assert last["figures"]["purchases"] == 100


def test_the_program_helps_without_the_heavy_libraries() -> None:
    script = (
        "import sys, steps.data_publish as program\n"
        "program.parser().format_help()\n"
        "heavy = {'numpy', 'polars', 'scipy', 'requests', 'minio', 'pandas', 'tensorflow'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_killed_program_leaves_nothing_that_a_later_one_takes_for_whole(tmp_path: Path) -> None:
    environment = {"STORE": f"file:{tmp_path}/store", "OUTPUTS": str(tmp_path / "out")}
    source = ("--source", "demo:users=20000,items=500")
    for delay in (0.3, 0.6, 0.9):
        child = program(*source, **environment)
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        whole = list((tmp_path / "store").rglob("manifest.json"))
        assert all(
            set(json.loads(one.read_text())["files"]) <= {path.name for path in one.parent.iterdir()} for one in whole
        )
    child = program(*source, **environment)
    child.communicate()
    assert child.returncode == 0
    settings = Settings.from_environment(environment)
    name = (tmp_path / "out" / "snapshot").read_text()
    assert len(dataset.load(open_store(settings), name, tmp_path / "cache")) == 500_000
