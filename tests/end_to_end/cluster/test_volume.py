"""One shared volume in place of an S3: steps and servers work in a folder that all of them mount."""

from __future__ import annotations

import pytest
from harness import ALONE, World

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_a_retrain_on_a_shared_volume_is_released_and_answers(world: World) -> None:
    world.apply("kind-volume")
    world.ready("tf-serving-blue", "tf-serving-green")
    done = world.submit(*ALONE, STORE_CLAIM="recommender-store")
    assert "Released version 1" in done.stdout
    assert world.answering(1)["known"] is True
    world.ready()
    assert not world.get("deployments", "-l", "app.kubernetes.io/name=minio")["items"]
