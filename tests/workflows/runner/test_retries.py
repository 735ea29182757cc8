"""Retries, deadlines, mutexes, suspends: what a node goes through before it has ended."""

from __future__ import annotations

import threading
import time

import pytest

from workflows.runner.leaf import backoff

RULE = "lastRetry.status == 'Error' || asInt(lastRetry.exitCode) in [75, 137, 143]"


def counting(make, folder, *codes, **fields):
    """A container that ends with these exit codes, one an attempt, and then with 0; it notes when it began."""
    script = (
        f"date +%s.%N >> {folder}/begun; n=$(wc -l < {folder}/begun); "
        f"set -- {' '.join(map(str, codes))} 0; shift $((n - 1)); exit ${{1:-0}}"
    )
    return make.container("work", script, **fields)


def begun(folder):
    return [float(line) for line in (folder / "begun").read_text().split()]


def strategy(**fields):
    return {"limit": 2, "retryPolicy": "Always", "expression": RULE, "backoff": {"duration": "10ms"}} | fields


def test_exit_75_is_tried_again_until_it_succeeds(runner, make):
    ran = runner(make.manifest([counting(make, runner.folder, 75, 75, retryStrategy=strategy())]))
    assert ran.phase == "Succeeded"
    assert ran.node("work").attempts == 3


def test_no_more_than_the_limit(runner, make):
    ran = runner(make.manifest([counting(make, runner.folder, 75, 75, 75, 75, retryStrategy=strategy())]))
    assert ran.phase == "Failed"
    assert len(begun(runner.folder)) == 3


@pytest.mark.parametrize("code", [1, 2, 65, 69])
def test_an_exit_code_that_does_not_heal_is_not_tried_again(runner, make, code):
    ran = runner(make.manifest([counting(make, runner.folder, code, retryStrategy=strategy())]))
    assert ran.phase == "Failed"
    assert ran.message == f"exit code {code}"
    assert len(begun(runner.folder)) == 1


def test_a_killed_step_ends_with_137_and_is_tried_again(runner, make):
    once = f"[ -e {runner.folder}/once ] || {{ touch {runner.folder}/once; kill -9 $$; }}"
    ran = runner(make.manifest([make.container("work", once, retryStrategy=strategy())]))
    assert ran.phase == "Succeeded"
    assert ran.node("work").attempts == 2


def test_the_wait_grows_by_the_factor(runner, make):
    waits = {"duration": "200ms", "factor": "3"}
    runner(make.manifest([counting(make, runner.folder, 75, 75, retryStrategy=strategy(backoff=waits))]))
    first, second, third = begun(runner.folder)
    assert 0.2 <= second - first < 0.55
    assert 0.6 <= third - second < 1.2


def test_the_wait_is_capped_and_ends_with_the_longest_duration():
    waits = {"duration": "10s", "factor": 2, "cap": "25s", "maxDuration": "60s"}
    assert [backoff(waits, n, 0.0) for n in range(3)] == [10.0, 20.0, 25.0]
    assert backoff(waits, 2, 36.0) is None
    assert backoff({}, 5, 0.0) == 0.0


@pytest.mark.parametrize(("policy", "attempts"), [("OnFailure", 2), ("Always", 2), ("OnError", 1)])
def test_the_policy_decides_between_failures_and_errors(runner, make, policy, attempts):
    # A container that ends with an exit code has failed; an error is the engine's.
    rule = {"limit": 1, "retryPolicy": policy}
    runner(make.manifest([counting(make, runner.folder, 1, 1, retryStrategy=rule)]))
    assert len(begun(runner.folder)) == attempts


def test_a_missing_output_is_an_error_for_the_policy(runner, make):
    work = counting(make, runner.folder, retryStrategy={"limit": 1, "retryPolicy": "OnError"}, outputs={"out": None})
    runner(make.manifest([work]))
    assert len(begun(runner.folder)) == 2


def test_an_attempt_can_tell_which_one_it_is(runner, make):
    work = make.container(
        "work", "[ {{retries}} = 1 ] && [ '{{lastRetry.exitCode}}' = 75 ] || exit 75", retryStrategy=strategy()
    )
    ran = runner(make.manifest([work]))
    assert ran.phase == "Succeeded"
    assert ran.node("work").attempts == 2


def test_each_attempt_begins_with_empty_folders(runner, make):
    script = "ls /scratch /outputs | grep -q x && exit 1; touch $OUTPUTS/x; [ {{retries}} = 1 ] || exit 75"
    work = make.container(
        "work", script.replace("/scratch", "$SCRATCH").replace("/outputs", "$OUTPUTS"), retryStrategy=strategy()
    )
    work["container"]["env"].append({"name": "SCRATCH", "value": "/scratch"})
    assert runner(make.manifest([work])).phase == "Succeeded"


def test_active_deadline_ends_an_attempt(runner, make):
    work = make.container("work", "exec sleep 60", activeDeadlineSeconds=1)
    ran = runner(make.manifest([work]))
    assert ran.phase == "Failed"
    assert ran.message == "not done within 1 s"
    assert 0.8 <= ran.node("work").seconds < 10


def test_active_deadline_counts_for_each_attempt(runner, make):
    script = f"[ -e {runner.folder}/once ] || {{ touch {runner.folder}/once; exec sleep 60; }}"
    work = make.container("work", script, activeDeadlineSeconds="1", retryStrategy=strategy(expression="true"))
    assert runner(make.manifest([work])).phase == "Succeeded"


def test_timeout_counts_all_attempts_together(runner, make):
    work = counting(make, runner.folder, 75, 75, timeout="500ms", retryStrategy=strategy(backoff={"duration": "2s"}))
    ran = runner(make.manifest([work]))
    assert ran.phase == "Failed"
    assert ran.message == "not done within 500ms"
    assert len(begun(runner.folder)) == 1


def test_a_step_that_ignores_sigterm_is_killed_after_the_grace(tmp_path):
    import os

    from workflows.runner.process import Child, Launch

    launch = Launch(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"], os.environ, tmp_path)
    child = Child(launch, tmp_path / "log", tmp_path / "result.json", grace=0.3)
    while "ready" not in (tmp_path / "log").read_text():
        time.sleep(0.01)
    child.stop()
    began = time.monotonic()
    assert child.wait().code == 137
    assert 0.2 <= time.monotonic() - began < 5


def test_what_a_step_leaves_running_ends_with_it(runner, make):
    runner(make.manifest([make.container("work", f"(sleep 0.5; touch {runner.folder}/late) & exit 0")]))
    time.sleep(1)
    assert not (runner.folder / "late").exists()


def test_a_mutex_keeps_two_runs_apart(runner, make):
    script = f"mkdir {runner.folder}/busy && sleep 0.3 && rmdir {runner.folder}/busy"
    work = make.container("work", script, synchronization={"mutexes": [{"name": "publish"}]})
    workflow = make.manifest([work], [make.task("many", "work", withItems=[1, 2])])
    assert runner(workflow).phase == "Succeeded"


def test_a_mutex_is_held_against_another_process(runner, make):
    import fcntl

    locks = runner.runs / ".mutexes"
    locks.mkdir(parents=True)
    work = make.container("work", "true", synchronization={"mutexes": [{"name": "publish"}]})
    said = []
    with (locks / "publish.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        release = threading.Timer(0.5, fcntl.flock, (other, fcntl.LOCK_UN))
        release.start()
        began = time.monotonic()
        ran = runner(make.manifest([work]), changed=lambda node: said.append(node.message))
    assert ran.phase == "Succeeded"
    assert time.monotonic() - began >= 0.5
    assert "waits for mutex publish" in said


def test_a_suspend_passes_after_its_duration(runner, make):
    wait = {"name": "wait", "suspend": {"duration": "300ms"}}
    began = time.monotonic()
    assert runner(make.manifest([wait], [make.task("wait")])).phase == "Succeeded"
    assert time.monotonic() - began >= 0.3


def approval(default=None, duration=None):
    source = {"supplied": {}} | ({} if default is None else {"default": default})
    return {
        "name": "approve",
        "inputs": {"parameters": [{"name": "ok", "enum": ["yes", "no"], "default": "no"}]},
        "suspend": {} if duration is None else {"duration": duration},
        "outputs": {"parameters": [{"name": "ok", "valueFrom": source}]},
    }


def gated(make, approve):
    condition = "{{tasks.approve.outputs.parameters.ok}} == yes"
    tasks = [make.task("approve"), make.task("go", depends="approve.Succeeded", when=condition)]
    return make.manifest([approve, make.container("go", "true")], tasks)


def test_a_suspend_asks_and_the_answer_decides(runner, make):
    asked = []

    def ask(question):
        asked.append((question.node, question.output, list(question.allowed), question.default))
        return "yes"

    assert runner(gated(make, approval("no")), ask=ask).phases() == {"approve": "Succeeded", "go": "Succeeded"}
    assert asked == [("approve", "ok", ["yes", "no"], "no")]


def test_a_suspend_that_nobody_answers_has_its_default(runner, make):
    ran = runner(gated(make, approval("no", "200ms")))
    assert ran.phases() == {"approve": "Succeeded", "go": "Skipped"}
    assert ran.node("approve").message == "ok: no (nobody answered in time)"


def test_a_suspend_of_no_time_asks_nobody(runner, make):
    asked = []
    assert (
        runner(make.manifest([{"name": "wait", "suspend": {"duration": "0"}}]), ask=asked.append).phase == "Succeeded"
    )
    assert asked == []


def test_a_suspend_without_default_is_an_error_when_nobody_answers_in_time(runner, make):
    ran = runner(gated(make, approval(duration="200ms")))
    assert ran.node("approve").message == "'ok' was not answered in time, and has no default"
    assert ran.phase == "Error"


def test_a_suspend_without_duration_fails_where_nobody_can_be_asked(runner, make):
    ran = runner(gated(make, approval("no")))
    assert ran.node("approve").message == "it waits for an answer, and there is no terminal to ask on"
