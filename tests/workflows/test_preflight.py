"""What is missing in a cluster is named before anything is applied, all of it at once; what is hidden is not."""

from __future__ import annotations

import pytest

from workflows import argo
from workflows.catalog import build
from workflows.cluster.contract import ClusterError
from workflows.cluster.needs import FOLLOWING, STARTING, TEMPLATES, Needs, Right


def refused(**given):
    with pytest.raises(ClusterError) as caught:
        argo.submit(build("retrain"), {}, **given)
    return str(caught.value).splitlines()


def test_everything_that_is_missing_is_named_at_once_and_nothing_is_applied(kubectl, monkeypatch):
    monkeypatch.setenv("STORE_CLAIM", "shop-store")
    monkeypatch.setenv("FAKE_STORE", "file:/store")
    monkeypatch.setenv(
        "FAKE_MISSING", "serviceaccount/recommender-workflow,persistentvolumeclaim/shop-store,secret/recommender-s3"
    )
    monkeypatch.setenv("FAKE_DENIED", "create workflows.argoproj.io,get pods/log")
    assert refused(namespace="shop") == [
        "namespace shop of the cluster is not ready, and nothing was applied:",
        "  - you may not create workflows.argoproj.io there; the Roles of containers/kubernetes/base say who may",
        "  - you may not get pods/log there; the Roles of containers/kubernetes/base say who may",
        "  - there is no ServiceAccount recommender-workflow, as which the steps run",
        "  - there is no PersistentVolumeClaim shop-store, which STORE_CLAIM names",
        "All of it is in containers/kubernetes; on kind: kubectl apply -k containers/kubernetes/overlays/kind",
    ]
    assert not (kubectl / "applied.json").exists()
    assert not (kubectl / "created.json").exists()


def test_without_the_namespace_only_that_is_said(kubectl, monkeypatch):
    monkeypatch.setenv("FAKE_MISSING", "namespace/recommender,configmap/recommender-settings")
    assert refused()[1:-1] == [
        "  - there is no namespace recommender; create it, or choose another with -n or ARGO_NAMESPACE"
    ]


def test_without_settings_nothing_is_said_of_the_store(kubectl, monkeypatch):
    monkeypatch.setenv("FAKE_MISSING", "configmap/recommender-settings,secret/recommender-s3")
    assert refused()[1:-1] == ["  - there is no ConfigMap recommender-settings, which says where the store is"]


def test_the_keys_of_s3_are_needed_where_the_store_is_there(kubectl, monkeypatch):
    monkeypatch.setenv("FAKE_MISSING", "secret/recommender-s3")
    [said] = refused()[1:-1]
    assert said.startswith("  - there is no Secret recommender-s3 with AWS_ACCESS_KEY_ID")
    monkeypatch.setenv("FAKE_STORE", "file:/store")
    monkeypatch.setenv("STORE_CLAIM", "shop-store")
    assert argo.submit(build("retrain"), {}, follow=False) == 0


def test_what_may_not_be_looked_at_is_not_missing(kubectl, monkeypatch):
    hidden = ["namespace/recommender", "secret/recommender-s3", "configmap/recommender-settings"]
    monkeypatch.setenv("FAKE_FORBIDDEN", ",".join([*hidden, "serviceaccount/recommender-workflow"]))
    assert argo.submit(build("retrain"), {}, follow=False) == 0


def test_no_secret_is_read(kubectl):
    argo.submit(build("retrain"), {}, follow=False)
    [secret] = [line for line in (kubectl / "calls").read_text().splitlines() if "get secret" in line]
    assert secret.endswith("get secret recommender-s3")


@pytest.mark.parametrize(("store", "claim", "said"), [
    ("", "", "STORE not set; it names where everything is kept, s3:// or file:/store"),
    ("file:/store", "", "STORE file:/store, but no volume is mounted there; set STORE_CLAIM"),
    ("file:/data", "c", "STORE file:/data, but the volume is mounted at /store"),
    ("s3://", "c", "STORE s3://, so the volume of STORE_CLAIM would stay empty; unset STORE_CLAIM"),
])  # fmt: skip
def test_a_store_that_no_step_would_find_is_named(kubectl, monkeypatch, store, claim, said):
    monkeypatch.setenv("FAKE_STORE", store)
    monkeypatch.setenv("STORE_CLAIM", claim)
    [found] = refused()[1:-1]
    assert found.startswith(f"  - ConfigMap recommender-settings has {said}")


def test_a_claim_that_has_lost_its_volume_is_named(kubectl, monkeypatch):
    monkeypatch.setenv("FAKE_STORE", "file:/store")
    monkeypatch.setenv("STORE_CLAIM", "shop-store")
    monkeypatch.setenv("FAKE_CLAIM", "Lost")
    assert refused()[1:-1] == ["  - the PersistentVolumeClaim shop-store has lost its volume"]
    monkeypatch.setenv("FAKE_CLAIM", "Pending")  # until the first pod uses it, with most provisioners
    assert argo.submit(build("retrain"), {}, follow=False) == 0


def test_following_needs_more_rights_than_submitting(kubectl, monkeypatch):
    monkeypatch.setenv("FAKE_DENIED", "list pods")
    assert refused()[1].startswith("  - you may not list pods there")
    assert argo.submit(build("retrain"), {}, follow=False) == 0


@pytest.mark.parametrize(("context", "environment", "flag", "namespace"), [
    ("", "", "", "recommender"), ("team", "", "", "team"), ("team", "shop", "", "shop"), ("team", "shop", "x", "x"),
])  # fmt: skip
def test_the_namespace_is_the_flag_the_variable_the_context_or_our_own(
    kubectl, monkeypatch, context, environment, flag, namespace
):
    monkeypatch.setenv("FAKE_NAMESPACE", context)
    monkeypatch.setenv("ARGO_NAMESPACE", environment)
    argo.submit(build("cleanup"), {}, namespace=flag, follow=False)
    calls = (kubectl / "calls").read_text().splitlines()
    assert [call for call in calls if "apply" in call] == [f"--namespace {namespace} apply -f -"]


def test_what_is_needed_is_read_from_the_objects_themselves():
    needs = Needs.of([build("retrain")], [*TEMPLATES, *STARTING, *FOLLOWING])
    assert needs.accounts == ("recommender-workflow",)
    assert needs.config_maps == ("recommender-settings",)
    assert needs.secrets == ("recommender-s3",)
    assert needs.kinds == ("workflowtemplates", "workflows")
    assert Right("create", "workflows", "argoproj.io") in needs.rights


@pytest.mark.parametrize("kind", ["", "PyTorchJob"])
def test_without_tfjobs_nothing_distributed_begins(kubectl, monkeypatch, kind):
    if kind:
        monkeypatch.setenv("FAKE_KUBEFLOW", kind)
    with pytest.raises(ClusterError, match=r"no TFJob of kubeflow.org/v1, and nothing was applied"):
        argo.submit(build("retrain"), {"distributed": "true"}, follow=False)
    assert "apply" not in (kubectl / "calls").read_text()
    assert argo.submit(build("retrain"), {"distributed": "false"}, follow=False) == 0


def test_what_makes_tfjobs_is_needed_where_they_are_made(kubectl, monkeypatch):
    monkeypatch.setenv("FAKE_KUBEFLOW", "TFJob")
    assert argo.submit(build("retrain"), {"distributed": "true"}, follow=False) == 0
    monkeypatch.setenv("FAKE_MISSING", "serviceaccount/recommender-trainer")
    with pytest.raises(ClusterError, match="there is no ServiceAccount recommender-trainer"):
        argo.submit(build("retrain"), {"distributed": "true"}, follow=False)
    assert argo.submit(build("retrain"), {}, follow=False) == 0
