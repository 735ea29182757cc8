"""The command line: help that is fast, mistakes that are named, the real programs from end to end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SUBMIT = ROOT / "workflows" / "submit.py"


def submit(folder, *words, **environment):
    variables = {key: value for key, value in os.environ.items() if key not in ("STORE", "RUNS", "IMAGE_TAG")}
    return subprocess.run(
        [sys.executable, str(SUBMIT), *words], cwd=folder, env=variables | environment, capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip


def test_help_teaches_and_is_fast(tmp_path, times_bare_python):
    answer = submit(tmp_path, "--help")
    assert answer.returncode == 0
    for word in ("retrain", "batch-predict", "rollback", "cleanup", "--resume", "STORE", "exit codes"):
        assert word in answer.stdout
    assert times_bare_python(lambda: submit(tmp_path, "--help")) < 4


def test_help_loads_neither_hera_nor_rich(tmp_path):
    code = (
        "import sys, runpy; sys.argv = ['submit.py', '--help']\n"
        "try:\n    runpy.run_path(sys.argv[0], run_name='__main__')\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('hera', 'rich', 'pydantic', 'yaml')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code.replace("sys.argv[0]", repr(str(SUBMIT)))],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.splitlines()[-1] == "[]"


def test_as_a_script_it_hides_no_other_package(tmp_path):
    code = (
        f"import runpy, sys; sys.path[0] = {str(SUBMIT.parent)!r}; runpy.run_path({str(SUBMIT)!r}); print(sys.path[0])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert answer.stdout.strip() == str(ROOT)


@pytest.mark.parametrize(("words", "said"), [
    (["train"], "there is no workflow 'train'; there are retrain, batch-predict, rollback, monitor, cleanup"),
    (["all"], "all is for -o yaml"),
    (["--volume", "/tmp:/data"], "--engine, --network and --volume are for a run that begins with --on docker"),
    (["-p", "sorce=x"], "retrain has no parameter 'sorce'; it has source, columns"),
    (["-p", "source"], "-p source: write NAME=VALUE"),
    (["-p", "again=perhaps"], "parameter again is 'perhaps'; it may be false, true"),
    (["-p", "distributed=true"], "distributed=true is for a cluster: add --on argo"),
    (["--resume", "nothing"], "there is no run 'nothing' in .runs; there are none"),
    (["--resume", ""], "there is no run '' in .runs; there are none"),
    (["retrain", "--resume", "x"], "--resume takes neither a workflow nor --on"),
    (["-o", "yaml", "--argo", "3.1"], "--argo is '3.1'; write a version from 3.3 on"),
    (["--parallelism", "-3"], "'-3' is no whole number from 1 on"),
    (["--scheduled-time", "tomorrow"], "'tomorrow' is no time with its zone; write it as 2026-11-01T02:15:00Z"),
    (["--scheduled-time", "2026-11-01"], "'2026-11-01' is no time with its zone"),
    (["-o", "yaml", "nothing"], "there is no workflow 'nothing'"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_2(tmp_path, words, said):
    answer = submit(tmp_path, *words)
    assert answer.returncode == 2
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert list(tmp_path.iterdir()) == []


def test_list_shows_every_parameter_with_its_default(tmp_path):
    answer = submit(tmp_path, "--list", COLUMNS="200")
    assert answer.returncode == 0
    assert "-p models= " in answer.stdout
    assert "(default: popularity,als,ease,item_knn,blend)" in answer.stdout
    assert "-p trials=1" in answer.stdout
    assert "-p keep-snapshots=5" in answer.stdout


def test_yaml_of_one_and_of_all(tmp_path):
    one = list(yaml.safe_load_all(submit(tmp_path, "-o", "yaml", "-p", "models=als", IMAGE_TAG="7").stdout))
    assert [manifest["metadata"]["name"] for manifest in one] == ["retrain"]
    assert one[0]["spec"]["templates"][0]["container"]["image"] == "recommender-data-publish:7"
    everything = list(yaml.safe_load_all(submit(tmp_path, "all", "-o", "yaml").stdout))
    assert [manifest["metadata"]["name"] for manifest in everything] == [
        "retrain",
        "batch-predict",
        "rollback",
        "monitor",
        "cleanup",
    ]


def releases(folder):
    found = (folder / "store" / "models" / "recommender" / "releases").glob("*.json")
    return sorted(int(path.stem) for path in found)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A folder in which retrain has released version 1 of the generated shop, with what was said."""
    folder = tmp_path_factory.mktemp("demo")
    answer = submit(folder, SOURCE_REVISION="test", COLUMNS="140")
    assert answer.returncode == 0, answer.stderr
    return folder, answer


def test_retrain_ends_in_a_release_a_table_and_the_next_commands(demo):
    folder, answer = demo
    assert releases(folder) == [1]
    for words in (
        "Released version 1 in slot blue",
        "ndcg@10",
        "A few recommendations",
        "Next:",
        "python -m steps.serve",
    ):
        assert words in answer.stdout
    for command in ("workflows/submit.py batch-predict", "workflows/submit.py rollback", "cron/deploy.py --on local"):
        assert command in answer.stdout
    for step in ("data-publish", "plan", r"train\(0:popularity\)", r"train\(1:als\)", "evaluate", "model-publish"):
        assert re.search(rf"^{step} +succeeded +\d+\.\d +\d+ MiB +1$", answer.stderr, re.MULTILINE)


def test_the_products_in_the_table_have_names(demo):
    folder, answer = demo
    log = min((folder / ".runs").glob("retrain-*/nodes/evaluate/0/outputs/sample"))
    rows = json.loads(log.read_text())
    assert len(rows) >= 3
    assert all(row["recommended"] and rows[0]["user"] for row in rows)
    assert rows[0]["recommended"][0].split()[0] in answer.stdout


def test_unchanged_purchases_release_nothing_and_it_says_why(demo):
    folder, _ = demo
    answer = submit(folder, SOURCE_REVISION="test")
    assert answer.returncode == 0, answer.stderr
    assert "Nothing to do: version 1" in answer.stdout
    assert "Nothing was released." in answer.stdout
    assert releases(folder) == [1]


def test_batch_prediction_says_for_how_many_users_and_where(demo):
    folder, _ = demo
    answer = submit(folder, "batch-predict", "-p", "shards=2", "-p", "k=3")
    assert answer.returncode == 0, answer.stderr
    assert f"Predictions for 2000 users: {folder}/store/models/recommender/predictions/1" in answer.stdout


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """A folder with a run that failed, with what was said and the run's name."""
    folder = tmp_path_factory.mktemp("failed")
    answer = submit(folder, "-p", "source=nowhere.csv", "--runs", "kept")
    assert answer.returncode == 1
    return folder, answer, re.findall(r"--resume (\S+)", answer.stderr)[0]


def test_a_failed_run_prints_its_log_and_the_command_that_resumes_it(tmp_path):
    answer = submit(tmp_path, "-p", "source=nowhere.csv")
    assert answer.returncode == 1
    assert "data-publish | " in answer.stderr
    assert "nowhere.csv" in answer.stderr
    [command] = re.findall(r"^  python (.*) --resume (\S+)$", answer.stderr, re.MULTILINE)
    assert (tmp_path / ".runs" / command[1] / "run.json").exists()
    assert releases(tmp_path) == []
    again = submit(tmp_path, "--resume", command[1])
    assert again.returncode == 1


def test_a_run_is_resumed_only_where_it_was_begun(failed):
    folder, _, name = failed
    answer = submit(folder, "--resume", name, "--runs", "kept", STORE="file:elsewhere")
    assert answer.returncode == 2
    assert f"the run was begun with STORE file:{folder}/store, and now it is file:{folder}/elsewhere" in answer.stderr


def test_a_wrong_parameter_on_resume_is_refused_and_forgotten(failed):
    folder, _, name = failed
    resume = ["--resume", name, "--runs", "kept"]
    assert "parameter again is 'maybe'" in submit(folder, *resume, "-p", "again=maybe").stderr
    again = submit(folder, *resume)
    assert again.returncode == 1
    assert "nowhere.csv" in again.stderr


def test_runs_elsewhere_are_named_in_the_command_that_resumes(failed):
    folder, answer, name = failed
    assert f"--resume {name} --runs {folder}/kept" in answer.stderr


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(SUBMIT), "-p", "models=popularity"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    for row in process.stderr:
        if "train(0:popularity) running" in row:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    assert process.wait(60) == 130
    assert "was interrupted" in rest
    name = re.findall(r"--resume (\S+)", rest)[0]
    answer = submit(tmp_path, "--resume", name)
    assert answer.returncode == 0, answer.stderr
    assert "data-publish succeeded, done before" in answer.stderr


@pytest.mark.parametrize("program", ["workflows/submit.py", "cron/deploy.py"])
def test_ctrl_c_before_anything_runs_is_no_traceback(tmp_path, program):
    # Something that is loaded late is made to take its time, which tells the test that it is being loaded.
    (tmp_path / "yaml.py").write_text("import pathlib, time; pathlib.Path('loading').touch(); time.sleep(20)")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / program), "-o", "yaml"], cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    while not (tmp_path / "loading").exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.stderr.read() == ""
    assert process.wait(20) == 130


def test_the_record_of_a_run_has_one_line_for_each_step(demo):
    folder, _ = demo
    record = min((folder / ".runs").glob("retrain-*/record.jsonl"))
    nodes = [json.loads(line)["node"] for line in record.read_text().splitlines()]
    assert nodes[:2] == ["data-publish", "plan"]
    assert nodes[-1] == "onExit"
    assert len(nodes) == len(set(nodes))
