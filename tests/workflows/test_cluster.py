"""Submitting to Argo and following: through a kubectl and an Argo Server of the tests' own, both real processes."""

from __future__ import annotations

import base64
import gzip
import http.server
import importlib.util
import io
import json
import os
import subprocess
import sys
import threading
import time
import urllib.parse
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from cron.schedules import CRONS
from cron.schedules import build as build_cron
from workflows import argo, following
from workflows.catalog import build
from workflows.cluster import status
from workflows.cluster.contract import ClusterError, workflow
from workflows.cluster.kubectl import Kubectl
from workflows.cluster.server import Server, address
from workflows.runner.tree import Phase

specification = importlib.util.spec_from_file_location("cluster_states", Path(__file__).with_name("cluster_states.py"))
states = importlib.util.module_from_spec(specification)
specification.loader.exec_module(states)


def phases(tree):
    return {node.path: str(node.phase) for root in tree.roots for node in root.walk() if node.path}


def test_the_tree_of_a_status_is_that_of_the_local_runner():
    tree = status.read(states.SUCCEEDED)
    assert phases(tree) == {
        "plan": "Succeeded", "train": "Succeeded", "train(0:als)": "Succeeded", "model-publish": "Skipped",
        "onExit": "Succeeded",
    }  # fmt: skip
    assert [node.path for node in tree.root.children] == ["model-publish", "plan", "train"]
    [train] = [node for node in tree.root.children if node.path == "train"]
    assert [node.path for node in train.children] == ["train(0:als)"]
    plan = next(node for node in tree.leaves() if node.path == "plan")
    assert (plan.attempts, plan.seconds, plan.outputs) == (2, 5.0, {"train": "true"})
    assert tree.roots[1].name == "onExit"


def test_a_question_is_known_by_the_template_that_the_workflow_keeps():
    skipped = states.node("wf-2", "wf.approval", "Skipped", "Skipped", template="approval")
    found = states.state([states.ROOT, skipped], "Running", finished=False)
    found["status"]["storedWorkflowTemplateSpec"] = {"templates": [{"name": "approval", "suspend": {}}]}
    assert [node.shown for node in status.read(found).leaves()] == [False]
    del found["status"]["storedWorkflowTemplateSpec"]
    assert [node.shown for node in status.read(found).leaves()] == [True]


def test_a_workflow_that_the_controller_has_not_seen_is_pending():
    tree = status.read(states.BEGUN)
    assert tree.root.phase is Phase.PENDING
    assert tree.leaves() == []


def test_a_step_that_is_not_retried_any_more_says_why_its_last_attempt_failed():
    retry = states.PLAN | {"phase": "Failed", "message": "retryStrategy.expression evaluated to false"}
    last = states.PLAN_1 | {"phase": "Failed", "message": "main: Error (exit code 2)"}
    failed = states.state([states.ROOT, retry, states.PLAN_0, last], "Failed", finished=True)
    [plan] = status.read(failed).leaves()
    assert (plan.phase, plan.message, plan.attempts) == (Phase.FAILED, "main: Error (exit code 2)", 2)


def test_compressed_nodes_are_read_and_unreadable_ones_do_not_matter():
    nodes = states.SUCCEEDED["status"]["nodes"]
    packed = base64.b64encode(gzip.compress(json.dumps(nodes).encode())).decode()
    found = {"metadata": {"name": "wf"}, "status": {"phase": "Succeeded", "compressedNodes": packed}}
    assert phases(status.read(found)) == phases(status.read(states.SUCCEEDED))
    found["status"]["compressedNodes"] = base64.b64encode(b"zstd").decode()
    assert status.read(found).root.phase is Phase.SUCCEEDED


def test_logs_are_named_after_their_step():
    names = status.pod_names(states.SUCCEEDED)
    assert names["wf-train-7"] == "train(0:als)"
    assert names["wf-plan-4"] == "plan again 1"


def follow(folder, *found):
    for number, one in enumerate(found):
        (folder / f"state-{number}.json").write_text(json.dumps(one))


def test_kubectl_applies_submits_and_follows_to_success(kubectl, capsys):
    follow(kubectl, states.BEGUN, states.RUNNING, states.SUCCEEDED)
    assert argo.submit(build("retrain"), {"models": "als"}, namespace="shop") == 0
    said = capsys.readouterr()
    assert "Workflow wf was submitted to namespace shop." in said.err
    assert "train(0:als) | epoch 2" in said.err
    assert "plan" in said.err
    assert "No candidate was good enough" in said.out
    assert json.loads((kubectl / "applied.json").read_text())["metadata"]["name"] == "retrain"
    created = json.loads((kubectl / "created.json").read_text())
    assert created["spec"] == {
        "workflowTemplateRef": {"name": "retrain"},
        "arguments": {"parameters": [{"name": "models", "value": "als"}]},
    }
    calls = (kubectl / "calls").read_text().splitlines()
    assert all(call.startswith("--namespace shop ") for call in calls)
    assert not any("server-side" in call for call in calls)
    assert not any("wf-waiting-1" in call for call in calls)


def test_a_failed_workflow_is_exit_1_with_the_reason(kubectl, capsys):
    follow(kubectl, states.RUNNING, states.FAILED)
    assert argo.submit(build("retrain"), {}) == 1
    said = capsys.readouterr().err
    assert "model-publish failed: Error (exit code 69)" in said
    assert "argo retry wf" in said


def test_without_following_it_prints_the_name(kubectl, capsys):
    assert argo.submit(build("retrain"), {}, follow=False) == 0
    assert capsys.readouterr().out == "wf\n"


NO_TEMPLATE = states.BEGUN | {
    "status": {"phase": "Error", "message": 'workflowtemplates.argoproj.io "retrain" not found', "finishedAt": "x"}
}


@pytest.fixture
def quick(monkeypatch):
    """No time for the controller to hear of a template."""
    for name, seconds in {"HEARD": 0.0, "POLL_SECONDS": 0.01, "PATIENCE": 0.5}.items():
        monkeypatch.setattr(f"workflows.cluster.start.{name}", seconds)


def started(folder):
    return [call for call in (folder / "calls").read_text().splitlines() if "create -f - -o name" in call]


def test_a_run_that_came_before_its_template_was_known_is_submitted_again(kubectl, quick, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_APPLIED", "created")
    follow(kubectl, states.BEGUN, NO_TEMPLATE, NO_TEMPLATE, states.BEGUN, states.RUNNING, states.SUCCEEDED)
    assert argo.submit(build("retrain"), {}) == 0
    said = capsys.readouterr().err
    assert said.count("wf ended at once: the controller had not heard of its template yet.") == 2
    assert len(started(kubectl)) == 3


def test_a_run_without_a_template_is_not_submitted_for_ever(kubectl, quick, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_APPLIED", "configured")
    follow(kubectl, NO_TEMPLATE)
    assert argo.submit(build("retrain"), {}) == 1
    assert len(started(kubectl)) == 6
    assert '"retrain" not found' in capsys.readouterr().err


def test_another_error_at_once_and_a_controller_that_is_away_are_no_reason_to_submit_again(kubectl, quick, monkeypatch):
    monkeypatch.setenv("FAKE_APPLIED", "created")
    follow(kubectl, states.BEGUN)
    assert argo.submit(build("retrain"), {}, follow=False) == 0
    assert len(started(kubectl)) == 1
    follow(kubectl, states.BEGUN | {"status": {"phase": "Error", "message": "a quota", "finishedAt": "x"}})
    assert argo.submit(build("retrain"), {}) == 1
    assert len(started(kubectl)) == 2


def test_the_controller_has_time_to_hear_of_a_template_that_changed_and_nothing_waits_otherwise(
    kubectl, quick, monkeypatch
):
    waited = []
    monkeypatch.setattr("workflows.cluster.start.HEARD", 7.0)
    clock = SimpleNamespace(sleep=waited.append, monotonic=time.monotonic)
    monkeypatch.setattr("workflows.cluster.start.time", clock)
    follow(kubectl, states.RUNNING)
    for applied, seconds in {"configured": [7.0], "unchanged": []}.items():
        monkeypatch.setenv("FAKE_APPLIED", applied)
        waited.clear()
        argo.submit(build("retrain"), {}, follow=False)
        assert waited == seconds


def test_a_scheduled_time_is_an_annotation(kubectl):
    argo.submit(build("retrain"), {}, follow=False, scheduled="2026-11-01T02:15:00Z")
    created = json.loads((kubectl / "created.json").read_text())
    assert created["metadata"]["annotations"] == {"workflows.argoproj.io/scheduled-time": "2026-11-01T02:15:00Z"}


@pytest.mark.parametrize(("broken", "said"), [
    ("no-argo", "the cluster has no Argo Workflows (it does not know workflowtemplates, workflows); inst"),
    ("no-cluster", "kubectl cannot reach a cluster: The connection to the server localhost:8080 was refused"),
    ("apply", "kubectl apply refused WorkflowTemplate retrain: Error from server (Forbidden): cannot patch resource"),
])  # fmt: skip
def test_what_is_missing_is_one_sentence(kubectl, monkeypatch, broken, said):
    monkeypatch.setenv("FAKE_BROKEN", broken)
    with pytest.raises(ClusterError) as caught:
        argo.submit(build("retrain"), {})
    assert str(caught.value).startswith(said)


def test_no_kubectl_is_one_sentence_and_exit_2(tmp_path):
    script = Path(argo.__file__).with_name("submit.py")
    environment = {key: value for key, value in os.environ.items() if key != "ARGO_SERVER"} | {"PATH": str(tmp_path)}
    answer = subprocess.run(
        [sys.executable, str(script), "--on", "argo"], env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 2
    assert answer.stderr == (
        "submit.py: there is no kubectl on the PATH; install it, or set ARGO_SERVER to an Argo Server's address\n"
    )


def test_a_workflow_that_is_deleted_is_noticed(kubectl):
    follow(kubectl, states.RUNNING)
    watch = Kubectl().watch("wf")
    next(watch)
    (kubectl / "state-0.json").unlink()
    with pytest.raises(ClusterError, match="workflow wf was deleted while it was followed"):
        list(watch)
    with pytest.raises(ClusterError, match="there is no workflow wf in namespace recommender"):
        list(Kubectl().watch("wf"))


class Handler(http.server.BaseHTTPRequestHandler):
    """What an Argo Server answers; the watch breaks off once, as the real one does."""

    def log_message(self, *words):
        pass

    def answer(self, body, code=200):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def lines(self, *messages):
        self.answer(b"".join(json.dumps(message).encode() + b"\n" for message in messages))

    def do_GET(self):
        memory, url = self.server.memory, urllib.parse.urlsplit(self.path)
        memory["seen"].append(("GET", url.path, self.headers.get("Authorization")))
        if memory.get("unauthorised"):
            self.answer({"message": "token not valid"}, 401)
        elif url.path.endswith("/info"):
            self.answer({})
        elif url.path.endswith(
            tuple(f"/{kind}/shop" for kind in ("workflow-templates", "workflows", "cron-workflows"))
        ):
            if url.path.rsplit("/", 2)[1] in memory.get("forbidden", ()):
                self.answer({"message": "is forbidden"}, 403)
            else:
                self.answer(
                    {"metadata": {}, "items": [memory["cron"]] if memory.get("cron") and "cron" in url.path else []}
                )
        elif "/cron-workflows/shop/" in url.path:
            there = memory.get("cron")
            self.answer(there, 200) if there else self.answer({"message": "not found"}, 404)
        elif url.path.endswith("/workflow-templates/shop/retrain"):
            there = memory["template"]
            self.answer(there, 200) if there else self.answer({"message": "not found"}, 404)
        elif url.path.endswith(f"/workflows/shop/{memory['name']}"):
            self.answer({"spec": {}} | (memory["states"].pop(0) if memory.get("states") else states.RUNNING))
        elif "/workflow-events/" in url.path:
            assert urllib.parse.parse_qs(url.query)["listOptions.fieldSelector"] == [f"metadata.name={memory['name']}"]
            part = memory["watches"].pop(0)
            self.lines(*({"result": {"type": "MODIFIED", "object": one}} for one in part))
        elif url.path.endswith("/log"):
            # As on a cluster, a pod writes after its node is known.
            for _ in range(100):
                if not memory["watches"]:
                    break
                time.sleep(0.05)
            time.sleep(0.3)
            self.lines(
                {"result": {"podName": "wf-train-7", "content": "epoch 1"}},
                {"result": {"podName": "x", "content": "end"}},
            )

    def body(self):
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))

    def do_POST(self):
        memory, body = self.server.memory, self.body()
        memory["seen"].append(("POST", self.path, body))
        if self.path.endswith("/submit"):
            memory["name"] = body["submitOptions"]["name"]
            self.answer({"metadata": {"name": memory["name"]}, "spec": {}})
        elif "cronWorkflow" in body:
            memory["cron"] = body["cronWorkflow"]
            self.answer(body["cronWorkflow"])
        else:
            memory["template"] = body["template"]
            self.answer(body["template"])

    def do_PUT(self):
        memory, body = self.server.memory, self.body()
        memory["seen"].append(("PUT", self.path, body))
        if "cronWorkflow" in body:
            if memory.get("conflicts", 0):
                memory["conflicts"] -= 1
                self.answer({"message": "Operation cannot be fulfilled: the object has been modified"}, 409)
                return
            memory["cron"] = body["cronWorkflow"]
            self.answer(body["cronWorkflow"])
        elif "template" in body:
            self.answer(body["template"])
        else:  # suspend, resume, stop
            kind = memory.get("cron") if "cron" in self.path else states.FAILED | {"spec": {}}
            self.answer(kind)


@pytest.fixture
def server(monkeypatch):
    """A server under a base path; `memory` says what it knows and has seen."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.memory = {"seen": [], "template": None, "watches": [], "name": "wf"}
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("ARGO_SERVER", f"127.0.0.1:{running.server_port}")
        monkeypatch.setenv("ARGO_SECURE", "false")
        monkeypatch.setenv("ARGO_BASE_HREF", "/argo/")
        monkeypatch.setenv("ARGO_TOKEN", "Bearer abc")
        monkeypatch.setenv("ARGO_NAMESPACE", "shop")
        monkeypatch.setattr("workflows.cluster.server.PAUSE", 0.05)
        yield running
        running.shutdown()


def test_the_server_creates_submits_and_is_followed_over_a_broken_stream(server, capsys):
    server.memory["watches"] = [[states.BEGUN, states.RUNNING], [], [states.SUCCEEDED]]
    assert argo.submit(build("retrain"), {"models": "als"}) == 0
    posts = {path: body for method, path, body in server.memory["seen"] if method == "POST"}
    created = posts["/argo/api/v1/workflow-templates/shop"]["template"]
    assert created["metadata"]["name"] == "retrain"
    assert created["spec"]["templates"][0]["container"]["args"][0] == "--source={{inputs.parameters.source}}"
    submitted = posts["/argo/api/v1/workflows/shop/submit"]
    assert submitted["resourceKind"] == "WorkflowTemplate"
    assert submitted["resourceName"] == "retrain"
    assert submitted["submitOptions"]["parameters"] == ["models=als"]
    assert submitted["submitOptions"]["name"].startswith("retrain-")
    assert {token for method, _, token in server.memory["seen"] if method == "GET"} == {"Bearer abc"}
    assert "train(0:als) | epoch 1" in capsys.readouterr().err


def test_a_run_that_came_before_its_template_was_known_is_submitted_again_through_the_server_too(server, quick):
    server.memory["states"] = [states.BEGUN, NO_TEMPLATE, states.RUNNING]
    server.memory["watches"] = [[states.SUCCEEDED]]
    assert argo.submit(build("retrain"), {}) == 0
    posts = [path for method, path, _ in server.memory["seen"] if method == "POST" and path.endswith("/submit")]
    assert len(posts) == 2


def test_the_server_changes_a_template_that_is_there(server):
    server.memory["template"] = build("retrain") | {"metadata": {"name": "retrain", "resourceVersion": "41"}}
    Server().apply(build("retrain"))
    [put] = [body for method, _, body in server.memory["seen"] if method == "PUT"]
    assert put["template"]["metadata"]["resourceVersion"] == "41"
    assert put["template"]["spec"]["entrypoint"] == "pipeline"


def test_nothing_of_a_template_is_lost_on_its_way_through_the_server(server):
    Server().apply(build("retrain"))
    [created] = [body for method, _, body in server.memory["seen"] if method == "POST"]
    assert created["template"] == build("retrain")


def test_a_failed_workflow_is_exit_1_through_the_server_too(server, capsys):
    server.memory["watches"] = [[states.FAILED]]
    assert argo.submit(build("retrain"), {}) == 1


def test_a_server_that_lets_nothing_be_read_is_named_before_anything_is_sent(server):
    server.memory["forbidden"] = ["workflow-templates", "workflows"]
    with pytest.raises(ClusterError, match="does not let you read workflowtemplates or workflows of namespace shop"):
        argo.submit(build("retrain"), {})
    assert not [one for one in server.memory["seen"] if one[0] != "GET"]


def test_a_schedule_that_is_new_to_the_server_is_sent_whole(server):
    manifest = build_cron(CRONS[0])
    Server().apply(manifest)
    [created] = [body for method, _, body in server.memory["seen"] if method == "POST"]
    assert created["cronWorkflow"] == manifest


def test_what_others_wrote_into_a_schedule_survives_a_put(server):
    manifest = build_cron(CRONS[0])
    used = {"cronworkflows.argoproj.io/last-used-schedule": "15 2 * * *"}
    status = {"active": [], "succeeded": 7, "failed": 1, "phase": "Active", "stoppedTime": None,
              "lastScheduledTime": "2026-11-21T02:15:00Z", "conditions": []}  # fmt: skip
    server.memory["cron"] = manifest | {
        "metadata": manifest["metadata"] | {"resourceVersion": "8", "annotations": used},
        "spec": manifest["spec"] | {"suspend": True, "schedules": ["0 0 * * *"]},
        "status": {key: value for key, value in status.items() if value is not None},
    }
    server.memory["conflicts"] = 1
    Server().apply(manifest)
    puts = [body["cronWorkflow"] for method, _, body in server.memory["seen"] if method == "PUT"]
    assert len(puts) == 2
    assert puts[1]["spec"] == manifest["spec"] | {"suspend": True}
    assert puts[1]["metadata"]["resourceVersion"] == "8"
    assert puts[1]["metadata"]["annotations"] == manifest["metadata"]["annotations"] | used
    assert puts[1]["status"]["succeeded"] == 7
    assert puts[1]["status"]["lastScheduledTime"] == "2026-11-21T02:15:00Z"
    assert Server().suspended(["retrain-nightly"]) == {"retrain-nightly"}


def test_a_schedule_that_is_always_written_by_somebody_else_is_one_sentence(server):
    server.memory["cron"] = build_cron(CRONS[0])
    server.memory["conflicts"] = 99
    with pytest.raises(ClusterError, match=r"refused CronWorkflow retrain-nightly: .*has been modified"):
        Server().apply(build_cron(CRONS[0]))


def test_the_server_suspends_resumes_and_stops(server):
    server.memory["cron"] = build_cron(CRONS[0])
    reached = Server()
    reached.pause("retrain-nightly", suspended=True)
    reached.pause("retrain-nightly", suspended=False)
    reached.stop("wf")
    assert [path for method, path, _ in server.memory["seen"] if method == "PUT"] == [
        "/argo/api/v1/cron-workflows/shop/retrain-nightly/suspend",
        "/argo/api/v1/cron-workflows/shop/retrain-nightly/resume",
        "/argo/api/v1/workflows/shop/wf/stop",
    ]


def test_a_server_that_refuses_is_one_sentence(server):
    server.memory["unauthorised"] = True
    with pytest.raises(
        ClusterError, match=r"the Argo Server at http://127\.0\.0\.1:\d+/argo/ does not answer: .*token not valid"
    ):
        argo.submit(build("retrain"), {})


def test_a_server_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.setenv("ARGO_SERVER", "127.0.0.1:9")
    with pytest.raises(ClusterError, match=r"the Argo Server at https://127\.0\.0\.1:9/ does not answer"):
        argo.submit(build("retrain"), {})


def test_an_error_in_a_stream_ends_the_logs_but_not_the_following():
    class Broken:
        def logs(self, name, say):
            raise ValueError("no such pod")

    console = Console(file=io.StringIO())
    following.read_logs(Broken(), "wf", print, console)
    assert "The logs cannot be followed: no such pod" in console.file.getvalue()


@pytest.mark.parametrize(("environment", "url"), [
    ({"ARGO_SERVER": "argo:2746"}, "https://argo:2746/"),
    ({"ARGO_SERVER": "argo:2746", "ARGO_SECURE": "false"}, "http://argo:2746/"),
    ({"ARGO_SERVER": "https://x.example/"}, "https://x.example/"),
    ({"ARGO_SERVER": "x", "ARGO_BASE_HREF": "/argo"}, "https://x/argo/"),
])  # fmt: skip
def test_the_address_is_that_of_the_argo_command(environment, url):
    assert address(environment) == url


def test_a_submitted_workflow_carries_nothing_but_reference_and_parameters():
    assert workflow("cleanup", "c-1", {})["spec"] == {"workflowTemplateRef": {"name": "cleanup"}}
