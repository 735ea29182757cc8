"""Following a workflow on a cluster: what is said of what it waits for, and what Ctrl-C comes to."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from workflows import following
from workflows.cluster.contract import LostError, Waiting
from workflows.cluster.kubectl import Kubectl, pods_waiting
from workflows.cluster.status import waiting_nodes
from workflows.following import Notices, next_commands

specification = importlib.util.spec_from_file_location("cluster_states", Path(__file__).with_name("cluster_states.py"))
states = importlib.util.module_from_spec(specification)
specification.loader.exec_module(states)

PULL = 'ImagePullBackOff: Back-off pulling image "recommender-plan:0.1.0"'


def pending(message, name="wf.plan"):
    pod = states.node("wf-2", name, "Pod", "Pending", template="plan", finished=False, message=message)
    found = states.state([states.ROOT, pod], "Running", finished=False)
    found["status"]["storedWorkflowTemplateSpec"] = {
        "templates": [{"name": "plan", "container": {"image": "recommender-plan:0.1.0"}}]
    }
    return found


class Cluster:
    """A cluster that only tells what waits."""

    namespace = "shop"

    def waiting(self, workflow):
        return waiting_nodes(workflow)


@pytest.fixture
def notices():
    clock = [0.0]
    console = Console(file=io.StringIO(), width=200)
    found = Notices(Cluster(), "wf", console, clock=lambda: clock[0])

    def after(seconds, *seen):
        clock[0] += seconds
        for workflow in seen:
            found.look(workflow)
        return console.file.getvalue().splitlines()

    return after


def test_an_image_that_cannot_be_pulled_is_said_once_after_a_while(notices):
    assert notices(0, pending(PULL)) == []
    assert notices(10, pending("ErrImagePull: not found")) == []
    said = notices(11, pending(PULL))
    assert said == [
        "plan waits: the image recommender-plan:0.1.0 cannot be pulled "
        '(Back-off pulling image "recommender-plan:0.1.0"); '
        "load it into the cluster, or set IMAGE_REGISTRY and IMAGE_TAG"
    ]
    assert notices(100, pending(PULL), pending("ErrImagePull: again")) == said
    assert len(notices(0, pending(PULL, "wf.train(0:als)(1)"))) == 1
    assert notices(21, pending(PULL, "wf.train(0:als)(1)"))[1].startswith("train(0:als) again 1 waits: the image")


@pytest.mark.parametrize(("message", "said"), [
    ('CreateContainerConfigError: configmap "recommender-settings" not found',
     'plan waits: a ConfigMap or Secret that it names cannot be used (configmap "recommender-settings" not found)'),
    ("Unschedulable: 0/1 nodes are available: 1 Insufficient memory.",
     "plan waits: no node has room for it (0/1 nodes are available: 1 Insufficient memory)"),
    ("CreateContainerError", "plan waits: its container cannot be made"),
])  # fmt: skip
def test_each_cause_has_its_sentence(notices, message, said):
    notices(0, pending(message))
    assert notices(20, pending(message)) == [said]


def test_a_pod_that_is_only_slow_is_given_longer(notices):
    notices(0, pending("PodInitializing"))
    assert notices(59, pending("PodInitializing")) == []
    assert "kubectl describe pod" in notices(1, pending("PodInitializing"))[0]


def test_a_pod_that_waits_its_turn_is_no_news(notices):
    for message in ("", "Waiting for shop/Mutex/recommender-model-publish lock", "a: b: c"):
        assert notices(100, pending(message)) == []


def test_a_workflow_that_no_controller_takes_up_is_said(notices):
    assert notices(0, states.BEGUN) == []
    [said] = notices(61, states.BEGUN)
    assert said.startswith("no controller has taken up wf for 60 s: is Argo's workflow-controller running")
    assert "namespace shop" in said


def test_a_question_is_said_once_with_what_it_is_about_and_how_to_answer(notices):
    asked = states.node("wf-2", "wf.approval", "Suspend", "Running", template="approval", finished=False)
    asked["inputs"] = {"parameters": [{"name": "report", "value": "s3://r.html"}, {"name": "approved", "value": "no"}]}
    asked["outputs"] = {"parameters": [{"name": "approved", "valueFrom": {"supplied": {}, "default": "no"}}]}
    seen = states.state([states.ROOT, asked], "Running", finished=False)
    said = notices(0, seen, seen)
    assert said == [
        "approval: report: s3://r.html",
        "approval waits for approved: yes or no; no answer in time, or resuming without one, is no. To answer:",
        "  argo node set wf -n shop --node-field-selector displayName=approval --output-parameter approved=yes",
        "  argo resume wf -n shop",
    ]


@pytest.mark.parametrize(("row", "text"), [
    ("epoch 1", "epoch 1"),
    ('{"time": "x", "level": "info", "message": "version 1 is live"}', "version 1 is live"),
    ('{"level": "warning", "message": "3 rows"}', "warning: 3 rows"),
    ('{"level": "error", "message": "no", "exception": "Traceback"}', "error: no\nTraceback"),
    ('{"loss": 1}', '{"loss": 1}'), ("[1]", "[1]"), ("{", "{"), ("3", "3"),
    ('time=2026-11-22T01:15:34.954Z level=INFO msg="sub-process exited" argo=true error=<nil>', ""),
    ('time=2026-11-22T01:15:34.954Z level=ERROR msg="no room" argo=true',
     'time=2026-11-22T01:15:34.954Z level=ERROR msg="no room" argo=true'),
])  # fmt: skip
def test_a_log_is_shown_for_people(row, text):
    assert following.readable(row) == text


def test_a_pod_that_waits_for_argos_own_image_is_found_by_looking_at_the_pod(kubectl):
    node = {"workflows.argoproj.io/node-name": "wf.plan(0)"}
    waiting = {"state": {"waiting": {"reason": "ErrImagePull", "message": "no"}}, "image": "argoexec:v4"}
    main = {"state": {"waiting": {"reason": "PodInitializing"}}, "image": "recommender-plan:0.1.0"}
    pod = {"metadata": {"name": "wf-plan-2", "annotations": node},
           "status": {"initContainerStatuses": [waiting], "containerStatuses": [main]}}  # fmt: skip
    assert pods_waiting([pod], "wf") == {"plan": Waiting("plan", "ErrImagePull", "no", "argoexec:v4")}
    (kubectl / "pods.json").write_text(json.dumps({"items": [pod]}))
    assert Kubectl().waiting(pending("PodInitializing")) == [Waiting("plan", "ErrImagePull", "no", "argoexec:v4")]
    (kubectl / "calls").unlink()
    assert Kubectl().waiting(pending(PULL))[0].reason == "ImagePullBackOff"
    assert "get pods" not in (kubectl / "calls").read_text()


def test_a_cluster_that_no_longer_answers_is_exit_75_with_the_command_to_go_on(kubectl, monkeypatch):
    class Lost(Kubectl):
        def watch(self, name):
            yield states.RUNNING
            raise LostError("the cluster has not answered for 60 s: no route")

    console = Console(file=io.StringIO(), width=200)
    assert following.see_through(Lost("shop"), "wf", "retrain", console) == 75
    said = console.file.getvalue()
    assert "the cluster has not answered for 60 s: no route; wf goes on without us." in said
    assert "python workflows/submit.py --on argo -n shop --follow wf" in said


def test_the_next_commands_are_kubectls_where_there_is_no_argo():
    assert "argo stop wf -n shop" in next_commands("wf", "shop", argo=True).values()
    plain = next_commands("wf", "shop", argo=False)
    assert not any(command.startswith("argo ") for command in plain.values())
    assert (
        plain["stop it"] == """kubectl patch workflow wf -n shop --type merge --patch '{"spec":{"shutdown":"Stop"}}'"""
    )


PROGRAM = """
import os, sys
from rich.console import Console
from workflows import following
from workflows.cluster import kubectl

kubectl.POLL_SECONDS = 0.1
sys.exit(following.see_through(kubectl.Kubectl("shop"), "wf", "retrain", Console(stderr=True)))
"""


class Follower:
    """A process that follows a workflow, perhaps on a terminal of its own."""

    def __init__(self, terminal):
        self.said = ""
        self.outside, inside = pty.openpty()
        place = inside if terminal else subprocess.PIPE
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM], stdin=place, stdout=place, stderr=subprocess.STDOUT,
            env=os.environ | {"TERM": "xterm"}, start_new_session=True,
        )  # fmt: skip
        os.close(inside)
        source = self.outside if terminal else self.process.stdout.fileno()
        threading.Thread(target=self.listen, args=(source,), daemon=True).start()

    def listen(self, source):
        try:
            while part := os.read(source, 4096):
                self.said += part.decode(errors="replace")
        except OSError:
            return  # a terminal's way to say that nobody holds its other end any more

    def until(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.said:
            assert time.monotonic() < end, self.said
            time.sleep(0.02)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def type(self, text):
        os.write(self.outside, text.encode())


def begin(folder):
    (folder / "state-0.json").write_text(json.dumps(states.RUNNING))


def end(folder, state):
    (folder / "state-1.json").write_text(json.dumps(state))


@pytest.fixture
def on_terminal(kubectl):
    begin(kubectl)
    follower = Follower(terminal=True)
    follower.until("epoch 2")
    yield follower
    follower.process.kill()
    follower.process.wait()
    os.close(follower.outside)


def test_ctrl_c_asks_and_leaving_lets_it_go_on(kubectl, on_terminal):
    on_terminal.interrupt()
    on_terminal.until("[stop/leave/keep] (leave)")
    on_terminal.type("\n")
    assert on_terminal.process.wait(20) == 130
    on_terminal.until("No longer following wf; it goes on.")
    on_terminal.until("--follow wf")
    assert "patch" not in (kubectl / "calls").read_text()


def test_ctrl_c_may_stop_it_and_its_end_is_waited_for(kubectl, on_terminal):
    on_terminal.interrupt()
    on_terminal.until("[stop/leave/keep]")
    on_terminal.type("stop\n")
    on_terminal.until("wf is being stopped; its exit handler still runs.")
    assert 'patch workflow wf --type merge --patch {"spec":{"shutdown":"Stop"}}' in (kubectl / "calls").read_text()
    end(kubectl, states.FAILED)
    assert on_terminal.process.wait(30) == 1


def test_ctrl_c_may_mean_nothing(kubectl, on_terminal):
    on_terminal.interrupt()
    on_terminal.until("[stop/leave/keep]")
    on_terminal.type("what\nk\n")
    end(kubectl, states.SUCCEEDED)
    assert on_terminal.process.wait(30) == 0
    assert on_terminal.said.count("[stop/leave/keep]") == 2


def test_a_second_ctrl_c_leaves(on_terminal):
    on_terminal.interrupt()
    on_terminal.until("[stop/leave/keep]")
    on_terminal.interrupt()
    assert on_terminal.process.wait(20) == 130


def test_where_there_is_no_terminal_ctrl_c_leaves_it_running_and_says_how_to_stop_it(kubectl):
    begin(kubectl)
    follower = Follower(terminal=False)
    follower.until("epoch 2")
    follower.interrupt()
    assert follower.process.wait(20) == 130
    follower.until("stop it")
    assert "[stop/leave/keep]" not in follower.said
    os.close(follower.outside)
