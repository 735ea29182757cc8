"""A run that stopped goes on from there: nothing that succeeded is repeated, nothing is left behind."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflows.runner.record import Request, Run, RunError


def note(folder, name):
    return f"echo {name} >> {folder}/notes"


def notes(folder):
    return (folder / "notes").read_text().split()


def test_a_resumed_run_repeats_only_what_had_not_succeeded(runner, make):
    folder = runner.folder
    templates = [
        make.container("one", f"{note(folder, 'one')}; printf 1 > $OUTPUTS/n", outputs={"n": None}),
        make.container(
            "many",
            note(folder, "many$1") + f"; [ $1 != 2 ] || [ -e {folder}/healed ]",
            inputs=["i"],
        ),
        make.container("last", f"{note(folder, 'last')}"),
    ]
    templates[1]["container"]["args"] += ["sh", "{{inputs.parameters.i}}"]
    tasks = [
        make.task("one"),
        make.task("many", arguments={"i": "{{item}}"}, withItems=[1, 2, 3], depends="one.Succeeded"),
        make.task("last", depends="many.Succeeded"),
    ]
    first = runner(make.manifest(templates, tasks))
    assert first.phase == "Failed"
    (folder / "healed").touch()
    second = runner({}, resume=first.run.name)
    assert second.phase == "Succeeded"
    assert sorted(notes(folder)) == sorted(["one", "many1", "many2", "many3", "many2", "last"])
    assert second.node("one").reused
    assert second.node("one").outputs == {"n": "1"}


def test_what_a_runner_killed_after_recording_had_not_tidied_goes_on_resume(runner, make):
    first = runner(make.manifest([make.container("one", "true")], [make.task("one")]))
    scratch = first.run.node_folder("one") / "0" / "scratch"
    assert not scratch.exists()
    scratch.mkdir()
    assert runner({}, resume=first.run.name).phase == "Succeeded"
    assert not scratch.exists()


def test_a_parameter_changed_on_resume_repeats_what_depends_on_it(runner, make):
    folder = runner.folder
    templates = [
        make.container("one", note(folder, "one")),
        make.container("two", f"{note(folder, 'two')}; [ {{{{workflow.parameters.good}}}} = yes ]"),
    ]
    arguments = {"parameters": [{"name": "good", "value": "no"}]}
    first = runner(
        make.manifest(templates, [make.task("one"), make.task("two", depends="one.Succeeded")], arguments=arguments)
    )
    assert runner({}, {"good": "yes"}, resume=first.run.name).phase == "Succeeded"
    assert notes(folder) == ["one", "two", "two"]


def test_resuming_a_run_that_succeeded_does_nothing(runner, make):
    workflow = make.manifest([make.container("one", note(runner.folder, "one"))], [make.task("one")])
    first = runner(workflow)
    assert runner({}, resume=first.run.name).phase == "Succeeded"
    assert notes(runner.folder) == ["one"]


def test_a_torn_last_line_of_the_record_is_cut_off(runner, make):
    templates = [make.container(name, note(runner.folder, name)) for name in ("one", "two")]
    first = runner(make.manifest(templates, [make.task("one"), make.task("two", depends="one.Succeeded")]))
    record = first.run.folder / "record.jsonl"
    lines = record.read_bytes().splitlines(keepends=True)
    record.write_bytes(lines[0] + lines[1][: len(lines[1]) // 2])
    # The second step's own result is still there, and counts; without it the step runs again.
    (first.run.node_folder("two") / "0" / "result.json").unlink()
    assert runner({}, resume=first.run.name).phase == "Succeeded"
    assert notes(runner.folder) == ["one", "two", "two"]
    assert [json.loads(line)["node"] for line in record.read_text().splitlines()] == ["one", "two"]


def test_a_step_that_ended_well_after_its_runner_was_gone_is_not_repeated(runner, make):
    step = make.container("one", f"{note(runner.folder, 'one')}; printf 7 > $OUTPUTS/n", outputs={"n": None})
    first = runner(make.manifest([step], [make.task("one")]))
    (first.run.folder / "record.jsonl").write_bytes(b"")
    second = runner({}, resume=first.run.name)
    assert notes(runner.folder) == ["one"]
    assert second.node("one").outputs == {"n": "7"}


@pytest.mark.parametrize("name", ["trial-1", "../x", ".mutexes", "Trial"])
def test_a_run_that_is_not_there_is_named_with_those_that_are(runner, make, name):
    there = runner(make.manifest([make.container("one", "true")])).run.name
    with pytest.raises(RunError, match=re.escape(f"there is no run {name!r}") + f".*{there}"):
        runner({}, resume=name)


PROGRAM = """
import json, sys
from pathlib import Path
from workflows.local import LocalEngine
from workflows.runner.record import Request, Run, RunError
from workflows.runner.start import start
from workflows.runner.tree import Tree

folder, resume = Path(sys.argv[1]), sys.argv[2]
try:
    if resume:
        run = Run.open(folder / "runs", resume)
    else:
        workflow = json.loads((folder / "workflow.json").read_text())
        run = Run.begin(folder / "runs", Request("trial", workflow, {}, "local", str(folder), {"STORE": "file:/none"}))
except RunError as error:
    sys.exit(f"refused: {error}")
print(run.name, flush=True)
ended = start(run, LocalEngine(folder, run.request.settings), Tree(run.name), lambda question: None)
sys.exit(130 if ended.interrupted else 0 if ended.outcome.phase == "Succeeded" else 1)
"""


def launch(folder, resume=""):
    command = [sys.executable, "-c", PROGRAM, str(folder), resume]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)


def stat(pid):
    """State and parent of a process, from behind its name, which may hold anything."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def alive(pid):
    try:
        return stat(pid)[0] not in "ZX"
    except OSError:
        return False


def write(folder, workflow):
    (folder / "workflow.json").write_text(json.dumps(workflow))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_step_outlives_its_runner_and_the_run_resumes(tmp_path, make, end):
    quick = make.container("quick", note(tmp_path, "quick"))
    # A shell with a child of its own: both must go.
    slow = make.container(
        "slow",
        f"echo $$ > {tmp_path}/pids; [ -e {tmp_path}/resumed ] && exit; sleep 60 & echo $! >> {tmp_path}/pids; wait",
    )
    write(tmp_path, make.manifest([quick, slow], [make.task("quick"), make.task("slow", depends="quick.Succeeded")]))
    process = launch(tmp_path)
    name = process.stdout.readline().strip()
    wait_until(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 2)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    process.send_signal(end)
    code = process.wait(20)
    assert code == (-9 if end == signal.SIGKILL else 130)
    wait_until(lambda: not any(alive(pid) for pid in pids), 5)
    (tmp_path / "resumed").touch()
    resumed = launch(tmp_path, name)
    assert resumed.wait(30) == 0, resumed.stderr.read()
    assert notes(tmp_path) == ["quick"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_step_dies_with_its_warden_too_and_is_tried_again(tmp_path, make):
    work = make.container(
        "work",
        f"echo $$ >> {tmp_path}/pids; [ $(wc -l < {tmp_path}/pids) = 2 ] || exec sleep 60",
        retryStrategy={"limit": 1, "retryPolicy": "Always", "expression": "asInt(lastRetry.exitCode) == 137"},
    )
    write(tmp_path, make.manifest([work]))
    process = launch(tmp_path)
    wait_until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
    pid = int((tmp_path / "pids").read_text().split()[0])
    warden = int(stat(pid)[1])
    os.kill(warden, signal.SIGKILL)
    wait_until(lambda: not alive(pid), 5)
    assert process.wait(20) == 0


def test_two_resumes_at_once_are_one(tmp_path, make):
    write(tmp_path, make.manifest([make.container("slow", f"touch {tmp_path}/begun; exec sleep 2")]))
    first = launch(tmp_path)
    name = first.stdout.readline().strip()
    wait_until((tmp_path / "begun").exists)
    second = launch(tmp_path, name)
    assert second.wait(20) == 1
    assert f"another process works on run {name} now" in second.stderr.read()
    assert first.wait(20) == 0


def test_killed_at_any_moment_and_resumed_a_run_does_each_step_once(tmp_path, make):
    """Ten times `kill -9`, at random; each step that was recorded or had ended is done once, and all are done."""
    names = [f"step{n}" for n in range(8)]
    # A step notes its end as its last act, so a note that is there twice was a step repeated.
    templates = [make.container(name, f"sleep 0.25; {note(tmp_path, name)}") for name in names]
    tasks = [
        make.task(name, **({"depends": f"{names[n - 2]}.Succeeded"} if n > 1 else {})) for n, name in enumerate(names)
    ]
    write(tmp_path, make.manifest(templates, tasks))
    chance = random.Random(11)
    process = launch(tmp_path)
    name = process.stdout.readline().strip()
    kills = 0
    while kills < 10:
        time.sleep(chance.uniform(0.02, 0.6))
        if process.poll() is not None:
            assert process.returncode == 0
            break
        process.kill()
        process.wait()
        kills += 1
        process = launch(tmp_path, name)
        process.stdout.readline()
    assert process.wait(60) == 0, process.stderr.read()
    assert kills >= 3
    counts = {name: notes(tmp_path).count(name) for name in names}
    # Between a step's last act and its exit lies a moment in which a kill makes it count as not done: that is rare.
    assert all(count >= 1 for count in counts.values())
    assert sum(counts.values()) <= len(names) + 1, counts


def test_what_comes_after_a_repeated_step_is_repeated_although_nothing_is_handed_over(runner, make):
    """As publishing reads what evaluate has left in the store, and gets no argument from it."""
    folder = runner.folder
    templates = [
        make.container("judge", f"{note(folder, 'judge')}; : {{{{workflow.parameters.size}}}}"),
        make.container("aside", note(folder, "aside")),
        make.container("publish", note(folder, "publish")),
        make.container("leave", note(folder, "leave")),
    ]
    tasks = [
        make.task("judge"),
        make.task("aside"),
        make.task("asleep", "aside", depends="judge.Succeeded", when="1 == 2"),
        make.task("publish", depends="asleep.Skipped"),
    ]
    arguments = {"parameters": [{"name": "size", "value": "1"}]}
    first = runner(make.manifest(templates, tasks, arguments=arguments, onExit="leave"))
    assert runner({}, {"size": "2"}, resume=first.run.name).phase == "Succeeded"
    assert sorted(notes(folder)) == sorted(["aside", *["judge", "publish", "leave"] * 2])
    assert runner({}, resume=first.run.name).phase == "Succeeded"
    assert len(notes(folder)) == 7


def test_an_interrupted_fan_out_is_shown_as_ended(tmp_path, make, runner):
    workflow = make.manifest(
        [make.container("slow", "exec sleep 60")], [make.task("slow", withItems=[1, 2])], activeDeadlineSeconds=1
    )
    ran = runner(workflow)
    assert ran.phases() == {"slow": "Failed", "slow(0:1)": "Failed", "slow(1:2)": "Failed"}


def test_a_resumed_run_is_as_old_as_it_was(runner, make):
    folder = runner.folder
    workflow = make.manifest([make.container("one", f"echo {{{{workflow.creationTimestamp}}}} >> {folder}/notes")])
    request = Request("trial", workflow, {}, "local", str(folder), created="2026-11-01T02:15:00+00:00")
    run = Run.begin(runner.runs, request)
    run.close()
    assert runner({}, resume=run.name).phase == "Succeeded"
    assert runner({}, resume=run.name).phase == "Succeeded"
    assert notes(folder) == ["2026-11-01T02:15:00Z"]


def test_a_second_ctrl_c_does_not_wait_for_a_step_that_takes_its_time(tmp_path, make):
    deaf = f"trap 'touch {tmp_path}/asked' TERM; touch {tmp_path}/begun; while :; do sleep 0.1; done"
    write(tmp_path, make.manifest([make.container("deaf", deaf)]))
    process = launch(tmp_path)
    wait_until((tmp_path / "begun").exists)
    process.send_signal(signal.SIGINT)
    wait_until((tmp_path / "asked").exists)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(5) == 130
