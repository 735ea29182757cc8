"""Customers ask at a steady rate while the model server is rolled and new models go live: none is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from harness import ALONE, World

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    """The cluster with a release that answers."""
    world.apply("kind", modest="minio|tf-serving-.*")
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    world.ended(world.start(*ALONE))
    world.answering(1)
    world.ready()
    return world


@pytest.fixture(scope="module")
def evicted(shop: World) -> str:
    """A run whose train writes more to its scratch volume than it may, slowly: the node looks about once a minute."""

    def tight(templates: dict[str, Any]) -> None:
        train = templates["train"]
        [scratch] = [volume for volume in train["volumes"] if volume["name"] == "scratch"]
        scratch["emptyDir"]["sizeLimit"] = "10Ki"
        train["retryStrategy"]["limit"] = "0"
        train["container"]["resources"]["limits"]["cpu"] = "40m"
        train["container"]["resources"]["requests"]["cpu"] = "10m"
        # TensorFlow takes minutes to load with so little.
        train["container"].setdefault("env", []).append({"name": "SAVED_MODEL", "value": "true"})

    shop.template("retrain", tight)
    begin = ("submit", "--from", "workflowtemplate/retrain", "-o", "name")
    return shop.argo(*begin, *ALONE, "-p", "seed=77").strip()


def told(counted: dict) -> str:
    return (
        f"{counted['sent']} requests in {counted['seconds']} s, {counted['failed']} failed; "
        f"p50 {counted['p50_ms']} ms, p99 {counted['p99_ms']} ms, slowest {counted['max_ms']} ms"
    )


def test_a_rolling_update_fails_no_request(shop: World, evicted: str, measured: Callable[[str], None]) -> None:
    before = {pod["metadata"]["name"] for pod in pods(shop)}
    with shop.load() as load:
        shop.kubectl("rollout", "restart", "deployment/model-server")
        shop.ready("model-server")
        # The old ones answer until every node has heard of it; then they are gone.
        shop.kubectl("wait", "--for=delete", *(f"pod/{name}" for name in before), "--timeout=120s")
        counted = load.stop()
    measured(f"rolling update: {told(counted)}")
    assert not before & {pod["metadata"]["name"] for pod in pods(shop)}
    assert counted["failed"] == 0, counted["failures"]


def pods(shop: World) -> list[dict]:
    found: list[dict] = shop.get("pods", "-l", "app.kubernetes.io/name=model-server")["items"]
    return found


def test_three_models_that_go_live_fail_no_request(shop: World, measured: Callable[[str], None]) -> None:
    with shop.load() as load:
        for version, seed in ((2, 8), (3, 9), (4, 10)):
            shop.ended(shop.start(*ALONE, "-p", "tolerance=1", "-p", f"seed={seed}"))
            shop.answering(version)
        counted = load.stop()
    measured(f"three publishes: {told(counted)}")
    assert counted["failed"] == 0, counted["failures"]
    assert set(counted["versions"]) == {"1", "2", "3", "4"}, "each of them answered"


def test_a_step_that_overflows_its_scratch_volume_is_put_out_and_said_why(shop: World, evicted: str) -> None:
    nodes = shop.ended(evicted, "Failed")
    assert 'volume "scratch" exceeds the limit' in nodes["train(0:als)(0)"].message, shop.tree(evicted)
    assert "exceeds the limit" in str(shop.run_report(evicted)["failures"])
    assert shop.live().version == 4
