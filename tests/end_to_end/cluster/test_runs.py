"""How runs end on Argo: promoted, refused, repeated, out of memory, waiting for one another, failed and resumed."""

from __future__ import annotations

from typing import Any

import pytest
from harness import ALONE, QUICK, SHOP, World, moment, submitted, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    """The cluster with a first release, which the gate has let pass."""
    world.apply("kind")
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    name = world.start(*ALONE)
    nodes = world.ended(name)
    assert nodes["evaluate"].outputs["promote"] == "true"
    assert nodes["model-publish"].outputs["version"] == "1"
    return world


def test_a_refused_candidate_ends_well_and_is_not_published(shop: World) -> None:
    before = shop.live()
    name = shop.start(*SHOP, "-p", "models=popularity", "-p", "seed=8")
    nodes = shop.ended(name)
    assert nodes["evaluate"].outputs["promote"] == "false"
    assert nodes["model-publish"].phase == "Skipped"
    assert shop.live() == before
    assert shop.run_report(name)["verdict"]["promote"] is False


def test_unchanged_purchases_are_not_trained_on_again(shop: World) -> None:
    done = shop.submit(*ALONE)
    assert "Nothing was released" in done.stdout
    assert shop.live().version == 1


def test_a_store_that_is_away_is_asked_again_until_it_answers(shop: World) -> None:
    shop.kubectl("scale", "deployment/minio", "--replicas=0")
    until("MinIO gone", lambda: not shop.get("pods", "-l", "app.kubernetes.io/name=minio")["items"])
    name = shop.start("cleanup", "-p", "dry-run=true")
    first = shop.reached(name, "cleanup(0)", "Failed")
    assert first.exit_code == "75"
    given_up = shop.start("batch-predict")
    shop.reached(given_up, "plan(0)", "Failed")
    assert shop.argo("stop", given_up).strip() == f"workflow {given_up} stopped"
    shop.kubectl("scale", "deployment/minio", "--replicas=1")
    nodes = shop.ended(name)
    assert nodes["cleanup"].phase == "Succeeded"
    assert "cleanup(1)" in nodes
    # What was stopped is not tried again; but its report is written, once that can be.
    shop.ended(given_up, "Failed")
    assert shop.run_report(given_up)["status"] == "Failed"


def test_a_train_out_of_memory_is_tried_again_and_then_told(shop: World) -> None:
    def little(templates: dict[str, Any]) -> None:
        train = templates["train"]
        train["container"]["resources"]["limits"]["memory"] = "96Mi"
        train["container"]["resources"]["requests"]["memory"] = "96Mi"
        # TensorFlow alone takes several times that.
        train["container"].setdefault("env", []).append({"name": "SAVED_MODEL", "value": "true"})
        train["retryStrategy"] |= {"limit": "1", "backoff": {"duration": "1s"}}

    before = shop.live()
    shop.template("retrain", little)
    name = shop.argo("submit", "--from", "workflowtemplate/retrain", "-o", "name", *ALONE, "-p", "again=true").strip()
    nodes = shop.ended(name, "Failed")
    for attempt in ("train(0:als)(0)", "train(0:als)(1)"):
        assert nodes[attempt].exit_code == "137"
        assert "OOMKilled" in nodes[attempt].message
    # The exit handler ran all the same, and tells what it was.
    report = shop.run_report(name)
    assert report["status"] == "Failed"
    assert any("OOMKilled" in str(one) for one in report["failures"])
    assert report["release"] is None
    assert shop.live() == before


def test_a_failed_run_is_resumed_without_repeating_what_succeeded(shop: World) -> None:
    """The slots are away, so publishing fails its check; `argo retry` publishes what was trained and judged."""
    live = shop.live()
    for slot in ("blue", "green"):
        shop.kubectl("scale", f"deployment/tf-serving-{slot}", "--replicas=0")
    failed = shop.submit(*SHOP, *QUICK, "-p", "seed=9", "-p", "deadline=5", check=False)
    assert failed.returncode == 1
    name = submitted(failed)
    before = shop.nodes(name)
    assert before["model-publish(0)"].exit_code == "69"
    assert shop.run_report(name)["status"] == "Failed"
    assert shop.live() == live
    for slot in ("blue", "green"):
        shop.kubectl("scale", f"deployment/tf-serving-{slot}", "--replicas=1")
    shop.ready("tf-serving-blue", "tf-serving-green")
    shop.argo("retry", name)
    until(f"{name} running again", lambda: shop.phase(name) != "Failed", within=60)
    after = shop.ended(name)
    assert after["model-publish"].outputs["version"] == str(live.version + 1)
    for step in ("data-publish(0)", "plan(0)", "train(0:popularity)(0)", "evaluate(0)"):
        assert after[step].raw["startedAt"] == before[step].raw["startedAt"], f"{step} was repeated"
    assert shop.run_report(name)["status"] == "Succeeded"


def test_two_that_publish_take_turns(shop: World) -> None:
    live = shop.live().version
    shop.template("rollback", lambda templates: None)
    begin = ("submit", "--from", "workflowtemplate/rollback", "-o", "name", "-p", "version=1")
    names = [shop.argo(*begin, "-p", f"reason={reason}").strip() for reason in ("one", "another")]
    until(
        "one waiting for the other's lock",
        lambda: any("lock" in node.message for name in names for node in shop.nodes(name).values()),
        within=60, every=0.2,
    )  # fmt: skip
    turns = []
    for name in names:
        node = shop.ended(name)["model-publish(0)"]
        turns.append((moment(node.raw["startedAt"]), moment(node.raw["finishedAt"]), node.outputs["version"]))
    (_, ended, first), (began, _, second) = sorted(turns)
    assert ended <= began
    assert (first, second) == (str(live + 1), str(live + 2))
