"""The CronWorkflows: what they say, how flags and environment change them, deploying, backfilling, firing here."""

from __future__ import annotations

import io
import json
import os
import signal
import stat
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from cron import backfill
from cron.expression import ScheduleError
from cron.local import Clockwork, command
from cron.schedules import CRONS, Cron, build, chosen, find

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "cron" / "deploy.py"


@pytest.mark.parametrize("cron", CRONS, ids=[cron.name for cron in CRONS])
def test_a_schedule_refers_to_its_template_and_says_when_and_how(cron):
    spec = build(cron)["spec"]
    assert spec["workflowSpec"]["workflowTemplateRef"] == {"name": cron.workflow}
    assert "templates" not in spec["workflowSpec"]
    assert spec["schedules"] == [cron.schedule]
    assert spec["timezone"] == "UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"]) == (3, 5)
    assert "suspend" not in spec
    assert spec["workflowMetadata"]["labels"]["app.kubernetes.io/part-of"] == "recommender"


@pytest.mark.parametrize("cron", CRONS, ids=[cron.name for cron in CRONS])
def test_a_missed_run_is_made_up_for_before_the_next_is_due(cron):
    first, second = cron.times().between(datetime(2026, 11, 2, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC))[:2]
    assert 0 < cron.deadline < (second - first).total_seconds()


def by_name(crons):
    return {cron.workflow: cron for cron in crons}


def test_flags_go_before_the_environment_and_that_before_the_default():
    environment = {
        "RETRAIN_SCHEDULE": "0 1 * * *", "BATCH_PREDICT_SCHEDULE": "0 2 * * 2", "SCHEDULE_TIMEZONE": "Europe/Berlin",
        "RETRAIN_PARAMETERS": "models=als 'source=s3://a b'",
    }  # fmt: skip
    found = by_name(chosen({"retrain": "0 3 * * *"}, "", {"retrain.models": "popularity"}, environment))
    assert found["retrain"].schedule == "0 3 * * *"
    assert found["batch-predict"].schedule == "0 2 * * 2"
    assert found["cleanup"].schedule == find("cleanup").schedule
    assert found["cleanup"].timezone == "Europe/Berlin"
    assert found["retrain"].parameters == {"models": "popularity", "source": "s3://a b"}
    assert by_name(chosen({}, "Asia/Tokyo", {}, environment))["retrain"].timezone == "Asia/Tokyo"
    assert build(found["retrain"])["spec"]["workflowSpec"]["arguments"]["parameters"] == [
        {"name": "models", "value": "popularity"}, {"name": "source", "value": "s3://a b"},
    ]  # fmt: skip


def test_what_is_set_for_retrain_holds_where_monitor_retrains():
    environment = {"RETRAIN_PARAMETERS": "models=als source=sales.csv", "MONITOR_PARAMETERS": "hours=6 models=ease"}
    found = by_name(chosen({}, "", {"retrain.seed": "8"}, environment))
    assert found["monitor"].parameters == {"models": "ease", "source": "sales.csv", "hours": "6", "seed": "8"}
    assert found["retrain"].parameters == {"models": "als", "source": "sales.csv", "seed": "8"}
    assert found["cleanup"].parameters == {}


@pytest.mark.parametrize(("schedules", "parameters", "environment", "said"), [
    ({"retrain": "0 0 1 * 1"}, {}, {}, "retrain-nightly: the schedule '0 0 1 * 1' sets both"),
    ({"train": "0 0 * * *"}, {}, {}, "there is no schedule 'train'; there are retrain-nightly"),
    ({}, {"models": "als"}, {}, "say of which workflow, as in -p retrain.models=als"),
    ({}, {}, {"CLEANUP_SCHEDULE": "daily"}, "cleanup-weekly: the schedule 'daily' has 1 fields"),
    ({}, {}, {"SCHEDULE_TIMEZONE": "Nowhere"}, "the timezone is 'Nowhere'"),
    ({}, {}, {"RETRAIN_PARAMETERS": "als"}, "RETRAIN_PARAMETERS has 'als'; write NAME=VALUE"),
    ({}, {}, {"RETRAIN_PARAMETERS": "a='"}, "RETRAIN_PARAMETERS cannot be read"),
])  # fmt: skip
def test_what_cannot_be_is_refused(schedules, parameters, environment, said):
    with pytest.raises(ScheduleError) as caught:
        chosen(schedules, "", parameters, environment)
    assert said in str(caught.value)


def deploy(folder, *words, **environment):
    return subprocess.run(
        [sys.executable, str(DEPLOY), *words], cwd=folder, env=os.environ | environment, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip


def test_help_teaches_and_is_fast(tmp_path, times_bare_python):
    answer = deploy(tmp_path, "--help")
    assert answer.returncode == 0
    for word in ("retrain-nightly", "backfill", "--suspend", "SCHEDULE_TIMEZONE", "--on local"):
        assert word in answer.stdout
    assert times_bare_python(lambda: deploy(tmp_path, "--help")) < 4


def test_yaml_has_the_templates_first_and_then_the_schedules(tmp_path):
    answer = deploy(tmp_path, "-o", "yaml", "--schedule", "retrain=0 3 * * *", "-p", "cleanup.keep-runs=3")
    objects = list(yaml.safe_load_all(answer.stdout))
    assert [one["kind"] for one in objects] == ["WorkflowTemplate"] * 5 + ["CronWorkflow"] * 4
    assert objects[5]["spec"]["schedules"] == ["0 3 * * *"]
    assert objects[8]["spec"]["workflowSpec"]["arguments"]["parameters"] == [{"name": "keep-runs", "value": "3"}]
    old = list(yaml.safe_load_all(deploy(tmp_path, "-o", "yaml", "--argo", "3.3").stdout))
    assert old[5]["spec"]["schedule"] == "15 2 * * *"
    assert "schedules" not in old[5]["spec"]
    assert old[5]["spec"]["workflowMetadata"]["labels"]["workflows.argoproj.io/container-runtime-executor"] == "k8sapi"


@pytest.mark.parametrize(("words", "said"), [
    (["-o", "yaml", "-p", "retrain.modles=als"], "retrain has no parameter 'modles'"),
    (["-o", "yaml", "--schedule", "retrain=61 * * * *"], "61 is not within 0 to 59"),
    (["-o", "yaml", "--schedule", "retrain"], "--schedule retrain: write NAME=VALUE"),
    (["--suspend", "x"], "there is no schedule 'x'"),
    (["--suspend", "retrain", "--resume", "retrain"], "give --suspend or --resume, not both"),
    (["--suspend", "retrain", "--on", "local"], "--suspend and --resume are for a cluster"),
    (["--suspend", ""], "there is no schedule ''"),
    (["--resume", ""], "there is no schedule ''"),
    (["--dry-run"], "--from, --to and --dry-run are for backfill"),
    (["--from", "2026-11-01", "-o", "yaml"], "--from, --to and --dry-run are for backfill"),
    (["backfill", "retrain", "--from", "2026-11-01", "--to", "2126-01-01"], "2126-01-01T02:15:00Z yet; a backfill is"),
    (["backfill"], "backfill needs a schedule and its dates"),
    (["backfill", "retrain", "--from", "2026-11-02", "--to", "2026-11-01"], "2026-11-02 is after --to 2026-11-01"),
    (["backfill", "retrain", "--from", "yesterday", "--to", "2026-11-01"], "--from is 'yesterday'; write a date"),
    (["backfill", "cleanup", "--from", "2026-11-02", "--to", "2026-11-03"], "not fire from 2026-11-02 to 2026-11-03"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_and_exit_2(tmp_path, words, said):
    answer = deploy(tmp_path, *words)
    assert answer.returncode == 2, answer.stderr
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.fixture
def kubectl(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    fake = ROOT / "tests" / "workflows" / "fake_kubectl.py"
    program.write_text(f"#!{sys.executable} -IS\n{fake.read_text()}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_FOLDER", str(tmp_path))
    monkeypatch.setenv("FAKE_PHASE", "Succeeded")
    for name in ("ARGO_SERVER", "ARGO_NAMESPACE", "STORE_CLAIM"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def calls(folder):
    return [line.removeprefix("--namespace recommender ") for line in (folder / "calls").read_text().splitlines()]


def test_deploying_applies_all_from_the_client_side_and_suspends_nothing(kubectl):
    answer = deploy(kubectl)
    assert answer.returncode == 0, answer.stderr
    applied = [json.loads(line) for line in (kubectl / "applied").read_text().splitlines()]
    assert [one["kind"] for one in applied] == ["WorkflowTemplate"] * 5 + ["CronWorkflow"] * 4
    assert not any("suspend" in one["spec"] for one in applied)
    assert [call for call in calls(kubectl) if call.startswith("apply")] == ["apply -f -"] * 9


def test_deploying_says_when_each_schedule_fires_and_what_to_type_next(kubectl):
    answer = deploy(kubectl, "--schedule", "cleanup=0 5 1 1 *", "--timezone", "Asia/Kolkata")
    rows = {line.split()[0]: line for line in answer.stderr.splitlines() if line.strip()}
    year = datetime.now(UTC).year
    assert rows["cleanup-weekly"].split()[1:] == ["0", "5", "1", "1", "*", "Asia/Kolkata", f"{year}-12-31", "23:30"]
    assert "python cron/deploy.py -n recommender --suspend retrain-nightly" in answer.stderr


def test_what_was_suspended_is_suspended_after_another_deploy_and_shown_so(kubectl):
    assert deploy(kubectl).returncode == 0
    assert deploy(kubectl, "--suspend", "retrain").returncode == 0
    again = deploy(kubectl, "--schedule", "retrain=0 3 * * *")
    assert again.returncode == 0, again.stderr
    stored = json.loads((kubectl / "cronworkflow-retrain-nightly").read_text())["spec"]
    assert (stored["suspend"], stored["schedules"]) == (True, ["0 3 * * *"])
    [row] = [line for line in again.stderr.splitlines() if line.startswith("retrain-nightly ")]
    assert row.split()[-2:] == ["UTC", "suspended"]
    assert deploy(kubectl, "--resume", "retrain").returncode == 0
    assert "suspended" not in deploy(kubectl).stderr.replace("--suspend", "")


def test_a_cluster_that_is_not_ready_gets_nothing_and_is_exit_2(kubectl):
    answer = deploy(
        kubectl, FAKE_MISSING="configmap/recommender-settings", FAKE_DENIED="patch cronworkflows.argoproj.io"
    )
    assert answer.returncode == 2
    assert "you may not patch cronworkflows.argoproj.io there" in answer.stderr
    assert "there is no ConfigMap recommender-settings" in answer.stderr
    assert not (kubectl / "applied").exists()
    old = deploy(kubectl, FAKE_BROKEN="no-crons")
    assert old.returncode == 2
    assert "it does not know cronworkflows" in old.stderr


def test_suspending_needs_only_the_right_to(kubectl):
    answer = deploy(kubectl, "--suspend", "retrain", FAKE_MISSING="configmap/recommender-settings")
    assert answer.returncode == 0, answer.stderr
    refused = deploy(kubectl, "--suspend", "retrain", FAKE_DENIED="patch cronworkflows.argoproj.io")
    assert refused.returncode == 2
    assert "you may not patch cronworkflows.argoproj.io there" in refused.stderr


@pytest.mark.parametrize(("flag", "value"), [("--suspend", "true"), ("--resume", "false")])
def test_suspending_is_a_patch_of_that_one_field(kubectl, flag, value):
    assert deploy(kubectl, flag, "retrain").returncode == 0
    patch = f'patch cronworkflow retrain-nightly --type merge --patch {{"spec":{{"suspend":{value}}}}}'
    assert calls(kubectl)[-1] == patch


def test_a_backfill_submits_each_date_once_with_its_time(kubectl):
    words = ["backfill", "retrain", "--from", "2026-11-01", "--to", "2026-11-03", "-p", "retrain.models=als"]
    answer = deploy(kubectl, *words)
    assert answer.returncode == 0, answer.stderr
    names = [f"retrain-backfill-2026110{day}-0215" for day in (1, 2, 3)]
    for day, name in enumerate(names, 1):
        made = json.loads((kubectl / f"workflow-{name}").read_text())
        assert made["metadata"]["annotations"] == {"workflows.argoproj.io/scheduled-time": f"2026-11-0{day}T02:15:00Z"}
        assert made["spec"]["workflowTemplateRef"] == {"name": "retrain"}
        assert made["spec"]["arguments"]["parameters"] == [{"name": "models", "value": "als"}]
    again = deploy(kubectl, *words)
    assert again.returncode == 0, again.stderr
    assert "retrain-backfill-20261103-0215 as of 2026-11-03T02:15:00Z: succeeded" in again.stderr


def test_a_backfill_with_a_failed_date_is_exit_1(kubectl):
    answer = deploy(kubectl, "backfill", "retrain", "--from", "2026-11-01", "--to", "2026-11-02", FAKE_PHASE="Failed")
    assert answer.returncode == 1
    assert answer.stderr.count(": failed") == 2


def test_a_dry_backfill_only_says_the_dates(kubectl):
    answer = deploy(kubectl, "backfill", "batch-predict", "--from", "2026-11-01", "--to", "2026-11-14", "--dry-run")
    assert answer.stderr.splitlines() == [
        "batch-predict as of 2026-11-02T04:30:00Z",
        "batch-predict as of 2026-11-09T04:30:00Z",
    ]
    assert not (kubectl / "calls").exists()


def test_backfilled_days_are_those_of_the_timezone():
    cron = Cron("n", "retrain", "", "15 2 * * *", 60, timezone="Asia/Kolkata")
    assert [backfill.stamp(moment) for moment in backfill.moments(cron, "2026-11-02", "2026-11-02")] == [
        "2026-11-01T20:45:00Z"
    ]


class Process:
    """Something that runs until it is told its exit code."""

    def __init__(self):
        self.returncode = None
        self.terminated = False

    def poll(self):
        return self.returncode

    def terminate(self):
        self.terminated = True
        self.returncode = 130

    def wait(self):
        return self.returncode


@pytest.fixture
def clockwork():
    cron = Cron("hourly", "retrain", "", "0 * * * *", deadline=600)
    started, said = [], []

    def start(one, scheduled):
        started.append((one.name, scheduled, Process()))
        return started[-1][2]

    begin = datetime(2026, 11, 20, 11, 30, tzinfo=UTC)
    return Clockwork([cron], begin, said.append, start), started, said


NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def test_it_starts_at_the_scheduled_time_and_not_before(clockwork):
    clock, started, _ = clockwork
    clock.tick(NOON - timedelta(seconds=1))
    assert started == []
    clock.tick(NOON)
    clock.tick(NOON + timedelta(seconds=1))
    assert [(name, scheduled) for name, scheduled, _ in started] == [("hourly", "2026-11-20T12:00:00Z")]


def test_it_starts_nothing_while_the_run_before_goes_on(clockwork):
    clock, started, said = clockwork
    clock.tick(NOON)
    clock.tick(NOON + timedelta(hours=1))
    assert len(started) == 1
    assert "hourly of 2026-11-20 13:00 UTC is skipped: the run before still goes on" in said
    started[0][2].returncode = 0
    clock.tick(NOON + timedelta(hours=2))
    assert len(started) == 2
    assert "hourly ended with exit code 0" in said


def test_of_what_was_slept_through_only_the_last_is_made_up_for(clockwork):
    clock, started, _ = clockwork
    clock.tick(NOON + timedelta(hours=5, minutes=9))
    assert [scheduled for _, scheduled, _ in started] == ["2026-11-20T17:00:00Z"]


def test_what_is_too_late_is_left_out(clockwork):
    clock, started, said = clockwork
    clock.tick(NOON + timedelta(minutes=11))
    assert started == []
    assert "hourly of 2026-11-20 12:00 UTC is missed: it is more than 600 s late" in said
    clock.tick(NOON + timedelta(hours=1))
    assert len(started) == 1


def test_stopping_ends_what_runs(clockwork):
    clock, started, _ = clockwork
    clock.tick(NOON)
    clock.stop()
    assert started[0][2].terminated


def test_here_the_same_command_is_run_as_a_person_would_type():
    cron = Cron("n", "retrain", "", "0 * * * *", 60, parameters={"models": "als"})
    words = command(cron, "2026-11-20T12:00:00Z")
    assert words[1:] == [
        str(ROOT / "workflows" / "submit.py"), "retrain", "--scheduled-time", "2026-11-20T12:00:00Z",
        "-p", "models=als",
    ]  # fmt: skip


def test_a_backfill_here_runs_each_date(monkeypatch, tmp_path):
    monkeypatch.setattr(
        "cron.backfill.command", lambda cron, scheduled: ["sh", "-c", f"echo {scheduled} >> {tmp_path}/ran; exit 1"]
    )
    cron = find("retrain")
    dates = backfill.moments(cron, "2026-11-01", "2026-11-02")
    assert backfill.here(cron, dates, Console(file=io.StringIO())) == 1
    assert (tmp_path / "ran").read_text().split() == ["2026-11-01T02:15:00Z", "2026-11-02T02:15:00Z"]


def test_a_backfill_here_waits_for_its_run_to_stop_its_steps(tmp_path):
    """As from a terminal: both get the signal."""
    waits = "trap 'sleep 1; touch stopped; exit 130' INT; touch begun; while :; do sleep 0.1; done"
    code = (
        "import io, sys\nfrom rich.console import Console\nfrom cron import backfill\nfrom cron.schedules import find\n"
        f"backfill.command = lambda *_: ['sh', '-c', {waits!r}]\ncron = find('retrain')\n"
        "dates = backfill.moments(cron, '2026-11-01', '2026-11-02')\nsys.exit(backfill.here(cron, dates, Console()))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "begun").exists():
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said, wrong = process.communicate(timeout=20)
    assert process.returncode == 130, wrong
    assert (tmp_path / "stopped").exists()
    assert said.count("retrain as of") == 1


def test_a_reader_that_goes_away_is_no_traceback(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(DEPLOY), "-o", "yaml"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait(20) == 1


def test_firing_here_ends_with_ctrl_c(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(DEPLOY), "--on", "local"], cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    first = [process.stderr.readline() for _ in CRONS]
    assert "retrain-nightly: 15 2 * * * UTC, next " in first[0]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_a_signal_at_any_moment_ends_the_firing(tmp_path):
    # A handler that takes the lock of the loop that it interrupts would wait for itself, one time in a few.
    rounds = """
import os, signal, threading, time
from rich.console import Console
from cron import local
local.TICK_SECONDS = 0
tick = local.Clockwork.tick
def ticking(clockwork, now):
    # Not before: on a busy machine the signal would come while nobody listens yet, or the round before still does.
    if after.ident is None:
        after.start()
    tick(clockwork, now)
local.Clockwork.tick = ticking
for number in range(100):
    after = threading.Timer(number / 1e5, os.kill, (os.getpid(), signal.SIGTERM))
    assert local.fire([], Console(stderr=True)) == 130
    after.join()
"""
    subprocess.run([sys.executable, "-c", rounds], cwd=ROOT, check=True, timeout=120)
