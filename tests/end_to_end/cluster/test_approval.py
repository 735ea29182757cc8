"""A person is asked before a model goes live: yes publishes it, no and silence do not."""

from __future__ import annotations

import pytest
from harness import QUICK, SHOP, World

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ASKED = (*SHOP, *QUICK, "-p", "again=true", "-p", "approve=manual")


@pytest.fixture(scope="module")
def shop(world: World) -> World:
    world.apply("kind")
    world.ready("minio", "tf-serving-blue", "tf-serving-green")
    return world


def test_yes_publishes(shop: World) -> None:
    name = shop.start(*ASKED)
    question = shop.reached(name, "approval")
    assert "report.html" in str(question.raw), "who is asked is told where the report is"
    assert shop.phase(name) == "Running"
    shop.approve(name, "yes")
    nodes = shop.ended(name)
    assert nodes["model-publish"].outputs["version"] == "1"
    assert shop.answering(1)["version"] == 1


def test_no_and_silence_end_well_without_publishing(shop: World) -> None:
    refused = shop.start(*ASKED, "-p", "seed=8")
    unanswered = shop.start(*ASKED, "-p", "seed=9", "-p", "approve-within=10s")
    shop.reached(refused, "approval")
    shop.approve(refused, "no")
    for name in (refused, unanswered):
        nodes = shop.ended(name)
        assert nodes["model-publish"].phase in ("Skipped", "Omitted")
        report = shop.run_report(name)
        assert report["status"] == "Succeeded"
        assert report["release"] is None
        assert "nobody approved" in report["note"]
    assert shop.live().version == 1
