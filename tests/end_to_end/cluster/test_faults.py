"""What breaks while a retrain runs and customers ask: the run ends well or says why, and every customer is answered."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import ALONE, QUICK, SHOP, Load, World, until

from steps.clients.object_store import Bucket
from steps.runtime.errors import TryAgainError

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
def load(shop: World) -> Iterator[Load]:
    """Customers that ask during all of it."""
    with shop.load() as found:
        yield found


def another(shop: World, *words: str) -> str:
    """Begins a retrain that will be published; no two of them have the same seed."""
    return shop.start(*SHOP, *QUICK, "-p", f"seed={time.time_ns() % 1_000_000}", *words)


def test_a_step_whose_pod_is_deleted_is_repeated(shop: World, load: Load) -> None:
    before = shop.live().version
    name = another(shop, "-p", "models=als", "-p", "trials=10000", "-p", "budget=6")  # not over when its pod goes
    lost = shop.reached(name, "train(0:als)(0)")
    mark = shop.get("pod", lost.pod)["metadata"]["uid"]
    shop.kubectl("delete", "pod", lost.pod, "--grace-period=0", "--force")
    nodes = shop.ended(name)
    if "train(0:als)(1)" in nodes:
        assert nodes["train(0:als)(0)"].phase in ("Error", "Failed")
        assert nodes["train(0:als)(1)"].phase == "Succeeded"
    else:  # in the first seconds of a step, the controller makes a pod anew that it misses
        assert nodes["train(0:als)(0)"].phase == "Succeeded"
        assert shop.get("pod", lost.pod)["metadata"]["uid"] != mark
    assert shop.live().version == before + 1


def test_a_controller_that_is_killed_goes_on_where_it_was(shop: World, load: Load) -> None:
    before = shop.live().version
    name = another(shop)
    shop.reached(name, "train(0:popularity)(0)")
    argo = World("argo")
    argo.kill("app=workflow-controller")
    argo.ready("workflow-controller")
    nodes = shop.ended(name)
    assert "train(0:popularity)(1)" not in nodes, "the step that ran meanwhile was not repeated"
    assert shop.live().version == before + 1


def test_a_store_that_is_killed_in_the_middle_of_an_upload_gets_all_of_it_later(
    shop: World, load: Load, measured: Callable[[str], None]
) -> None:
    before = shop.live().version
    name = another(shop)
    models = shop.store().models
    shop.reached(name, "train(0:popularity)(0)")
    [process] = processes(shop, "app.kubernetes.io/name=minio")
    until(
        "the first object of the candidate",
        lambda: listed(models, f"candidates/{name}/"),
        every=0.02,
    )  # fmt: skip
    os.kill(process, signal.SIGKILL)
    shop.kill("app.kubernetes.io/name=minio")
    nodes = shop.ended(name)
    first = nodes["train(0:popularity)(0)"]
    assert first.exit_code == "75" or first.phase == "Succeeded"
    measured(f"store killed in an upload: {'tried again' if first.exit_code == '75' else 'back in time'}")
    assert nodes["train(0:popularity)"].phase == "Succeeded"
    assert shop.live().version == before + 1


def listed(models: Bucket, prefix: str) -> list[str]:
    try:
        return [entry.key for entry in models.list(prefix)]
    except TryAgainError:
        return []


def processes(shop: World, selector: str) -> list[int]:
    """The first process of each pod's container, on this machine: it is the node."""
    marks = [pod["metadata"]["uid"] for pod in shop.get("pods", "-l", selector)["items"]]
    marks += [mark.replace("-", "_") for mark in marks]
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            inside = (path / "cgroup").read_text()
            program = (path / "cmdline").read_bytes().split(b"\0")[0]
        except OSError:
            continue
        if any(mark in inside for mark in marks) and program.endswith(b"minio"):
            found.append(int(path.name))
    if not found:
        pytest.skip("the cluster's node is not this machine: its processes cannot be killed from here")
    return found


def test_slots_whose_pods_are_killed_while_they_are_filled_come_back_and_are_published_to(
    shop: World, load: Load
) -> None:
    before = shop.live().version
    name = shop.start("rollback", "-p", "reason=a test")
    shop.reached(name, "model-publish(0)")
    shop.kill("app.kubernetes.io/name=tf-serving")
    nodes = shop.ended(name)
    assert nodes["model-publish"].outputs["version"] == str(before + 1)
    assert shop.answering(before + 1)


def test_the_live_slot_killed_while_it_serves_loads_its_version_again(shop: World, load: Load) -> None:
    live = shop.live()
    shop.kill(f"app.kubernetes.io/name=tf-serving,recommender/slot={live.slot}")
    shop.ready(f"tf-serving-{live.slot}")

    def available() -> bool:
        try:
            status, said = shop.ask(f"tf-serving-{live.slot}", f"/v1/models/recommender/versions/{live.version}")
        except OSError:
            return False
        return status == 200 and said["model_version_status"][0]["state"] == "AVAILABLE"

    until("the slot with the live version", available)


def test_a_full_scratch_volume_is_a_clear_failure(shop: World, load: Load) -> None:
    """In memory, so that it is full at once; on a disk the node looks only now and then."""
    before = shop.live()

    def tight(templates: dict[str, Any]) -> None:
        publish = templates["data-publish"]
        [scratch] = [volume for volume in publish["volumes"] if volume["name"] == "scratch"]
        scratch["emptyDir"] = {"medium": "Memory", "sizeLimit": "16Ki"}
        publish["retryStrategy"] |= {"limit": "1", "backoff": {"duration": "1s"}}

    shop.template("retrain", tight)
    other = ("-p", "source=demo:users=300,items=60,seed=5")  # what is published already is not written again
    name = shop.argo("submit", "--from", "workflowtemplate/retrain", "-o", "name", *other).strip()
    nodes = shop.ended(name, "Failed")
    for attempt in ("data-publish(0)", "data-publish(1)"):
        assert nodes[attempt].exit_code == "75"
        assert "No space left on device" in shop.logs(nodes[attempt])
    assert shop.run_report(name)["status"] == "Failed"
    assert shop.live() == before


def test_no_customer_noticed_any_of_it(load: Load, measured: Callable[[str], None]) -> None:
    counted = load.stop()
    measured(
        f"{counted['sent']} requests in {counted['seconds']} s, {counted['failed']} failed; "
        f"p50 {counted['p50_ms']} ms, p99 {counted['p99_ms']} ms; versions {counted['versions']}"
    )
    assert counted["failed"] == 0, counted["failures"]
    assert counted["sent"] > 90 * counted["seconds"]
