"""Several workers train a model as a TFJob, which Kubeflow's training operator runs."""

from __future__ import annotations

import pytest
from harness import World

from steps.artifacts import candidate, names

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

SMALL = "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=3"
WANTED = (
    "-p", "source=demo:users=80,items=40,days=60", "-p", "models=popularity,deep_cf", "-p", f"set={SMALL}",
    "-p", "distributed=true", "-p", "min-metric=hit_rate@10=0",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    if world.run("kubectl", "get", "crd", "tfjobs.kubeflow.org", check=False).returncode:
        pytest.skip("the cluster has no TFJobs: Kubeflow's training operator is not installed")
    world.apply("kind")
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    return world


def test_two_workers_train_and_the_run_goes_on_with_what_they_made(shop: World) -> None:
    name = shop.start(*WANTED)
    nodes = shop.ended(name, within=600)
    assert nodes["train(0:popularity)"].phase == "Succeeded"
    assert nodes["model-publish"].phase == "Succeeded"
    job = shop.get("tfjob", f"{name}-deep-cf")
    assert job["spec"]["tfReplicaSpecs"]["Worker"]["replicas"] == 2
    assert job["status"]["conditions"][-1]["type"] == "Succeeded"
    store = shop.store().models
    made = candidate.read(store, names.candidate(name, "deep_cf"))
    assert len(made.search) == 1
    assert store.list(names.checkpoint(name, "deep_cf")) == []
    assert "worker 1 of 2" in shop.kubectl("logs", f"{name}-deep-cf-worker-0")
