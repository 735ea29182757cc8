"""The folder of a run: names, locks, lines."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from workflows.runner.record import NAME, Entry, Request, Run, RunError, digest, known, new_name

REQUEST = Request("trial", {"spec": {}}, {"a": "1"}, "local", "/", {"STORE": "file:/s"})


def test_names_sort_by_time_and_are_legal_and_short():
    early = new_name("retrain", datetime(2026, 11, 21, 10, 44, tzinfo=UTC))
    assert re.fullmatch(r"retrain-20261121-104400-[0-9a-f]{4}", early)
    assert early < new_name("retrain", datetime(2026, 11, 21, 10, 45, tzinfo=UTC))
    long = new_name("x" * 60)
    assert len(long) == 63
    assert NAME.fullmatch(long)
    assert len({new_name("retrain") for _ in range(20)}) > 1


def test_an_opened_run_knows_what_was_asked_and_what_has_finished(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    run.append(Entry("one", "Succeeded", "d1", {"x": "ünï\n"}))
    run.append(Entry("two", "Failed", "d2"))
    run.append(Entry("two", "Succeeded", "d2"))
    run.close()
    again = Run.open(tmp_path, run.name)
    with contextlib.closing(again):
        assert again.request == REQUEST
        assert again.succeeded("one", "d1").outputs == {"x": "ünï\n"}
        assert again.succeeded("one", "other arguments") is None
        assert again.succeeded("two", "d2") is not None
        assert again.succeeded("three", "") is None


def test_other_parameters_are_kept_with_the_run(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    run.close()
    Run.open(tmp_path, run.name, parameters={"b": "2"}).close()
    again = Run.open(tmp_path, run.name)
    with contextlib.closing(again):
        assert again.request.parameters == {"a": "1", "b": "2"}


@pytest.mark.parametrize(
    "torn", [b'{"node": "tw', b'{"node": "two"}\n', b"\x00\x00\x00\n", b"not json\n", b'["list"]\n']
)
def test_what_a_crash_left_half_written_is_cut_off(tmp_path, torn):
    run = Run.begin(tmp_path, REQUEST)
    run.append(Entry("one", "Succeeded", "d"))
    run.close()
    record = tmp_path / run.name / "record.jsonl"
    with record.open("ab") as file:
        file.write(torn)
    again = Run.open(tmp_path, run.name)
    again.append(Entry("three", "Succeeded", "d"))
    again.close()
    assert [json.loads(line)["node"] for line in record.read_text().splitlines()] == ["one", "three"]


def test_a_run_has_one_owner(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    with contextlib.closing(run), pytest.raises(RunError, match=f"another process works on run {run.name} now"):
        Run.open(tmp_path, run.name)


def test_a_run_is_not_resumed_while_a_child_of_the_killed_runner_lives(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    inherited = os.dup(run.locks.children)
    run.close()
    with pytest.raises(RunError, match=f"a step of run {run.name} has not ended yet"):
        Run.open(tmp_path, run.name, patience=0.2)
    os.close(inherited)
    Run.open(tmp_path, run.name, patience=0).close()


def test_a_run_that_never_began_says_so(tmp_path):
    (tmp_path / "trial-1").mkdir()
    with pytest.raises(RunError, match="run trial-1 was stopped before it began; start a new one"):
        Run.open(tmp_path, "trial-1")


KILLED = """
import os, signal, sys
from pathlib import Path
from workflows.runner.record import Request, Run

left = int(sys.argv[2])

def count(event, arguments):
    global left
    if event in ("open", "os.mkdir", "os.rename", "os.truncate", "fcntl.flock"):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

request = Request("trial", {"spec": {}}, {"a": "1"}, "local", "/")
runs, again = Path(sys.argv[1]), sys.argv[3]
sys.addaudithook(count)
run = Run.open(runs, again, parameters={"a": "2"}) if again else Run.begin(runs, request)
os.write(1, run.name.encode())
"""


def killed_at(folder, step, again=""):
    words = [sys.executable, "-c", KILLED, str(folder), str(step), again]
    answer = subprocess.run(words, capture_output=True, text=True, check=False)
    assert answer.returncode in (0, -9), answer.stderr
    return answer


def test_a_runner_killed_at_any_step_of_making_a_run_leaves_one_that_resumes_or_none(tmp_path):
    seen = set()
    for step in range(1, 30):
        folder = tmp_path / str(step)
        finished = killed_at(folder, step)
        left = {path.name for path in folder.glob("*")}
        runs = {name for name in left if not name.startswith(".unfinished-")}
        assert len(left) <= 1
        assert runs == set(known(folder))
        for name in runs:
            Run.open(folder, name).close()
        seen.add((bool(left), bool(runs)))
        if finished.returncode == 0:
            break
    assert finished.stdout in runs
    assert seen == {(False, False), (True, False), (True, True)}
    assert step > 8


def test_a_runner_killed_at_any_step_of_resuming_leaves_a_run_that_resumes(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    run.close()
    for step in range(1, 30):
        finished = killed_at(tmp_path, step, run.name)
        again = Run.open(tmp_path, run.name)
        again.close()
        assert again.request.parameters["a"] in ("1", "2")
        if finished.returncode == 0:
            break
    assert again.request.parameters["a"] == "2"
    assert step > 5


def test_what_a_killed_runner_left_unfinished_goes_after_an_hour(tmp_path):
    old, new = tmp_path / ".unfinished-trial-1", tmp_path / ".unfinished-trial-2"
    for folder in (old, new):
        folder.mkdir()
        (folder / "lock").touch()
    os.utime(old, (0, time.time() - 3700))
    run = Run.begin(tmp_path, REQUEST)
    run.close()
    assert {path.name for path in tmp_path.iterdir()} == {new.name, run.name}


def test_a_name_that_is_taken_is_not_taken_again(tmp_path, monkeypatch):
    names = iter(["trial-1", "trial-1", "trial-2", "trial-3"])
    monkeypatch.setattr("workflows.runner.record.new_name", lambda workflow: next(names))
    first = Run.begin(tmp_path, REQUEST)
    (tmp_path / ".unfinished-trial-2").mkdir()
    second = Run.begin(tmp_path, REQUEST)
    assert (first.name, second.name) == ("trial-1", "trial-3")
    for run in (first, second):
        run.close()


def test_runs_are_listed_newest_last(tmp_path):
    for name in ("retrain-20261121-000000-aaaa", "cleanup-20261120-000000-bbbb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
    assert known(tmp_path) == ["cleanup-20261120-000000-bbbb", "retrain-20261121-000000-aaaa"]
    assert known(tmp_path / "nowhere") == []


def test_every_node_has_a_folder_of_its_own_whatever_its_name(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    with contextlib.closing(run):
        names = ["a", "a/b", "a_b", "..", "x" * 300, "x" * 301, "t(0:../../etc)", "ü", "a b", "A"]
        folders = [run.node_folder(name) for name in names]
        assert len(set(folders)) == len(names)
        for folder in folders:
            folder.mkdir(parents=True)
            assert folder.resolve().parent == (run.folder / "nodes").resolve()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"cannot write to .*file: .*; choose a folder with --runs"):
        Run.begin(tmp_path / "file", REQUEST)


def test_a_full_disk_is_one_sentence(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    full = os.open("/dev/full", os.O_WRONLY)
    with contextlib.closing(run):
        os.dup2(full, run._file)
        with pytest.raises(RunError, match=r"cannot write to .*record\.jsonl: No space left on device"):
            run.append(Entry("one", "Succeeded", "d"))
    os.close(full)


def test_a_digest_depends_on_content_and_not_on_order():
    assert digest({"a": 1, "b": [1]}) == digest({"b": [1], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_parameters_that_are_refused_are_not_kept_with_the_run(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    run.close()

    def refuse(request):
        raise ValueError(f"not for {request.workflow}")

    with pytest.raises(ValueError, match="not for trial"):
        Run.open(tmp_path, run.name, parameters={"a": "wrong"}, check=refuse)
    again = Run.open(tmp_path, run.name)
    with contextlib.closing(again):
        assert again.request.parameters == {"a": "1"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"workflow": "trial"}', '{"unknown": 1}', "\udcff"])
def test_a_run_whose_request_cannot_be_read_is_one_sentence_and_stays_unlocked(tmp_path, text):
    run = Run.begin(tmp_path, REQUEST)
    run.close()
    (run.folder / "run.json").write_text(text, errors="surrogateescape")
    for _ in range(2):
        with pytest.raises(RunError, match=r"run\.json cannot be read: .*; start a new run"):
            Run.open(tmp_path, run.name)


FULL = """
import os, resource, sys
from pathlib import Path
from workflows.runner.record import Entry, Run, RunError

run = Run.open(Path(sys.argv[1]), sys.argv[2])
run.append(Entry("one", "Succeeded", "d"))
room = (run.folder / "record.jsonl").stat().st_size + 20
resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))
try:
    run.append(Entry("two", "Succeeded", "d"))
except RunError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
run.append(Entry("three", "Succeeded", "d"))
"""


def test_a_line_for_which_the_room_ends_half_way_spoils_no_later_one(tmp_path):
    run = Run.begin(tmp_path, REQUEST)
    run.close()
    words = [sys.executable, "-c", FULL, str(tmp_path), run.name]
    answer = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "cannot write to" in answer.stdout
    again = Run.open(tmp_path, run.name)
    with contextlib.closing(again):
        assert list(again.finished) == ["one", "three"]


def test_a_step_whose_folder_cannot_be_made_is_one_sentence(runner, make):
    workflow = make.manifest([make.container("one", f"touch {runner.folder}/healed")])
    run = Run.begin(runner.runs, Request("trial", workflow, {}, "local", str(runner.folder)))
    run.close()
    (run.folder / "nodes").touch()
    with pytest.raises(RunError, match=r"cannot write to .*nodes/one/0: Not a directory"):
        runner({}, resume=run.name)
    (run.folder / "nodes").unlink()
    assert runner({}, resume=run.name).phase == "Succeeded"
