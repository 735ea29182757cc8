"""A kubectl for tests: answers from files below FAKE_FOLDER, and notes there what it was told.

Every object that the workflows need is there, unless FAKE_MISSING, FAKE_FORBIDDEN or FAKE_DENIED says otherwise. A
workflow goes through the states in `state-*.json`; without any, it has ended in the phase FAKE_PHASE. What is applied
was there already, unless FAKE_APPLIED says otherwise.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

FOLDER = Path(os.environ["FAKE_FOLDER"])
BROKEN = os.environ.get("FAKE_BROKEN", "")
KINDS = ("workflows", "workflowtemplates", "cronworkflows")


def listed(name):
    return [word for word in os.environ.get(name, "").split(",") if word]


def fail(text):
    sys.exit(f"Error from server {text}")


def get(kind, name):
    if f"{kind}/{name}" in listed("FAKE_FORBIDDEN"):
        fail(f'(Forbidden): {kind} "{name}" is forbidden: User "u" cannot get resource "{kind}"')
    if f"{kind}/{name}" in listed("FAKE_MISSING"):
        fail(f'(NotFound): {kind} "{name}" not found')
    found = {"kind": kind, "metadata": {"name": name}}
    if kind == "configmap":
        found["data"] = {"STORE": os.environ.get("FAKE_STORE", "s3://")}
    if kind == "persistentvolumeclaim":
        found["status"] = {"phase": os.environ.get("FAKE_CLAIM", "Bound")}
    print(json.dumps(found))


def get_raw(path):
    if path == "/apis/kubeflow.org/v1":
        if "FAKE_KUBEFLOW" not in os.environ:
            fail("(NotFound): the server could not find the requested resource")
        print(json.dumps({"resources": [{"name": "jobs", "kind": os.environ["FAKE_KUBEFLOW"]}]}))
        return
    if BROKEN == "no-argo":
        fail("(NotFound): the server could not find the requested resource")
    if BROKEN == "no-cluster":
        sys.exit("The connection to the server localhost:8080 was refused - did you specify the right host or port?")
    known = KINDS[:2] if BROKEN == "no-crons" else KINDS
    print(json.dumps({"kind": "APIResourceList", "resources": [{"name": name} for name in known]}))


def get_workflow(words):
    left = sorted(FOLDER.glob("state-*.json"))
    if "json" not in words:
        if len(left) == 1:
            print("2026-11-21T10:01:00Z")
    elif len(left) > 1:
        print(left.pop(0).rename(FOLDER / "last.json").read_text())
    elif left:
        print(left[0].read_text())
    elif "FAKE_PHASE" in os.environ:
        print(json.dumps({"metadata": {"name": words[2]}, "status": {"phase": os.environ["FAKE_PHASE"],
                                                                      "finishedAt": "x"}}))  # fmt: skip
    else:
        fail('(NotFound): workflows "wf" not found')


def get_crons(names):
    for name in names:
        stored = FOLDER / f"cronworkflow-{name}"
        print(stored.read_text() if stored.exists() else json.dumps({"metadata": {"name": name}, "spec": {}}))


def get_pods():
    pods = FOLDER / "pods.json"
    if pods.exists():
        print(pods.read_text())
        return
    node = "workflows.argoproj.io/node-name"
    print(json.dumps({"items": [
        {"metadata": {"name": "wf-train-7", "annotations": {node: "wf.train(0:als)(0)"}},
         "status": {"phase": "Succeeded"}},
        {"metadata": {"name": "wf-waiting-1"}, "status": {"phase": "Pending"}},
    ]}))  # fmt: skip


def create(manifest):
    if manifest["kind"] == "List":
        for one in manifest["items"]:
            asked = one["spec"]["resourceAttributes"]
            resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
            right = f"{asked['verb']} {resource}{'.' if asked.get('group') else ''}{asked.get('group', '')}"
            print(json.dumps(one | {"status": {"allowed": right not in listed("FAKE_DENIED")}}, indent=4))
        return
    name = manifest["metadata"]["name"]
    stored = FOLDER / f"workflow-{name}"
    if stored.exists():
        fail(f'(AlreadyExists): workflows.argoproj.io "{name}" already exists')
    stored.write_text(json.dumps(manifest))
    (FOLDER / "created.json").write_text(json.dumps(manifest))
    print(f"workflow.argoproj.io/{name if 'FAKE_PHASE' in os.environ else 'wf'}")


def apply(manifest):
    if BROKEN == "apply":
        fail("(Forbidden): cannot patch resource")
    with (FOLDER / "applied").open("a") as applied:
        applied.write(json.dumps(manifest) + "\n")
    (FOLDER / "applied.json").write_text(json.dumps(manifest))
    kind, name = manifest["kind"].lower(), manifest["metadata"]["name"]
    print(f"{kind}.argoproj.io/{name} {os.environ.get('FAKE_APPLIED', 'unchanged')}")
    if manifest["kind"] == "CronWorkflow":
        # As on a cluster, what an apply does not mention stays.
        stored = FOLDER / f"cronworkflow-{manifest['metadata']['name']}"
        before = json.loads(stored.read_text())["spec"] if stored.exists() else {}
        kept = {"suspend": before["suspend"]} if "suspend" in before else {}
        stored.write_text(json.dumps(manifest | {"spec": manifest["spec"] | kept}))


def patch(kind, name, text):
    stored = FOLDER / f"{kind}-{name}"
    found = json.loads(stored.read_text()) if stored.exists() else {"metadata": {"name": name}, "spec": {}}
    found["spec"] |= json.loads(text)["spec"]
    stored.write_text(json.dumps(found))


def main(words):
    with (FOLDER / "calls").open("a") as calls:
        calls.write(" ".join(words) + "\n")
    if words[:1] == ["--namespace"]:
        words = words[2:]
    if words[:2] == ["config", "view"]:
        print(os.environ.get("FAKE_NAMESPACE", ""), end="")
    elif words[:2] == ["get", "--raw"]:
        get_raw(words[2])
    elif words[:2] == ["get", "workflow"]:
        get_workflow(words)
    elif words[:2] == ["get", "cronworkflow"]:
        get_crons(words[2 : words.index("-o")])
    elif words[:2] == ["get", "pods"]:
        get_pods()
    elif words[0] == "get":
        get(*words[1:3])
    elif words[0] == "create":
        create(json.loads(sys.stdin.read()))
    elif words[0] == "apply":
        apply(json.loads(sys.stdin.read()))
    elif words[0] == "patch":
        patch(words[1], words[2], words[-1])
    elif words[0] == "logs":
        print("epoch 1\nepoch 2")
    else:
        sys.exit(f"fake kubectl: {words}")


if __name__ == "__main__":
    main(sys.argv[1:])
