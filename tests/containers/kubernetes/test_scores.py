"""kube-score judges every overlay; what it says that we do not follow is explained here, and nothing else is left."""

from __future__ import annotations

import re
import subprocess

import pytest

KUBE_SCORE = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"
SAID = re.compile(r"^\[(CRITICAL|WARNING)\] (?P<where>\S+) \S+: (?P<what>.*)$")

# Where (a pattern over name/namespace), what is said (a pattern), and why it stays so.
EXPLAINED = (
    (
        r".*",
        r"\(\S+\) ImagePullPolicy is not set to Always",
        "images have versions and do not change under one; a pod must start while the registry is away, and on one "
        "machine the images are in no registry at all",
    ),
    (
        r"(steps|workers)/recommender",
        r"The NetworkPolicys selector doesn't match any pods",
        "the pods of workflows are made by Argo, and those of TFJobs by their operator, so none is among these objects",
    ),
    (
        r"workflow-controller-metrics/argo",
        r"The services selector does not match any pods",
        "the pods are those of Argo's controller, which its own manifests bring",
    ),
    (
        r"tf-serving-(blue|green)/recommender",
        r"Container has the same readiness and liveness probe",
        "both ask whether it listens, the second far more patiently: an empty slot has no model to ask about, and "
        "must be ready for one",
    ),
    (
        r"(tf-serving-(blue|green)|minio)/recommender",
        r"Deployment few replicas",
        "a slot's version is released once that slot has loaded it, which one answer could not say of several; one "
        "MinIO has one volume",
    ),
    (
        r"minio/recommender",
        r"Deployment update strategy",
        "two MinIOs on one volume would destroy it, so the old one must be gone before the new one starts",
    ),
    (
        r"model-server/recommender",
        r"Deployment does not have a host podAntiAffinity set",
        "topologySpreadConstraints spread it over nodes and zones, and let it run on a single node too; production "
        "has both",
    ),
)
# OpenShift gives each pod a user and a group from the project's own range, and refuses fixed ones.
EXPLAINED_BY_OVERLAY = {
    "openshift": (
        (
            r".*",
            r"\(\S+\) The container (is )?running with a low (user|group) ID",
            "the cluster chooses them, and high ones",
        ),
    )
}


@pytest.fixture(scope="module")
def kube_score(golden):
    try:
        return golden.built(KUBE_SCORE)
    except golden.MissingToolError as error:
        pytest.skip(str(error))


def findings(kube_score, text):
    command = [kube_score, "score", "--output-format", "ci", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert any(line.startswith("[OK]") for line in lines), done.stderr
    return sorted({(found["where"], found["what"]) for found in map(SAID.match, lines) if found})


def explains(rows, where, what):
    return [row for row in rows if re.fullmatch(row[0], where) and re.fullmatch(row[1], what)]


def test_every_finding_is_explained(overlay, objects, golden, kube_score):
    rows = (*EXPLAINED, *EXPLAINED_BY_OVERLAY.get(overlay, ()))
    assert [found for found in findings(kube_score, golden.as_text(objects)) if not explains(rows, *found)] == []


def test_no_explanation_is_left_of_a_finding_that_is_gone(every, golden, kube_score):
    found = [one for objects in every.values() for one in findings(kube_score, golden.as_text(objects))]
    rows = (*EXPLAINED, *(row for rows in EXPLAINED_BY_OVERLAY.values() for row in rows))
    assert [row[:2] for row in rows if not any(explains([row], *one) for one in found)] == []
