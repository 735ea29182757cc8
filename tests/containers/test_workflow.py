"""The same run in containers and on this machine: one DAG, one release."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from steps.artifacts import candidate, release
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Store, open_store
from steps.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = "als.factors=16,als.iterations=5"
SHOP = ("-p", "source=demo:users=200,items=60,days=120", "-p", f"set={SETTINGS}", "-p", "models=popularity,als,ease")

pytestmark = pytest.mark.containers


@pytest.fixture
def image_tag(image: Callable[[str], str]) -> str:
    """The tag under which every image of the workflow was built."""
    programs = ("data-publish", "plan", "train", "evaluate", "model-publish", "run-report")
    tags = {image(program).rpartition(":")[2] for program in programs}
    assert len(tags) == 1
    return tags.pop()


def submit(folder: Path, *arguments: str, **environment: str) -> str:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(ROOT / "workflows" / "submit.py"), *SHOP, *arguments]
    ran = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def released(store: Store) -> tuple[Release, Candidate]:
    live = release.live(store.models)
    assert live
    return live, candidate.read(store.models, live.candidate)


def array(store: Store, model: Candidate, name: str) -> NDArray[np.float32]:
    return np.load(io.BytesIO(store.models.get(f"{model.path}/factors/{name}")))


def folder_of(path: Path) -> Store:
    return open_store(Settings.from_environment({"STORE": f"file:{path / 'store'}"}))


def same(one: Store, other: Store) -> None:
    (mine, my_model), (theirs, their_model) = released(one), released(other)
    assert (mine.version, mine.snapshot, mine.model) == (theirs.version, theirs.snapshot, theirs.model)
    assert mine.metrics == pytest.approx(theirs.metrics, rel=1e-6)
    assert my_model.part("factors").keys() == their_model.part("factors").keys()
    for name, record in my_model.part("factors").items():
        if record != their_model.part("factors")[name]:
            assert name.endswith("_factors.npy"), f"only what was calculated may differ, not {name}"
            np.testing.assert_allclose(array(one, my_model, name), array(other, their_model, name), atol=1e-4)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What this machine makes of it."""
    folder = tmp_path_factory.mktemp("here")
    submit(folder)
    return folder_of(folder)


def test_containers_give_the_same_release_as_this_machine(tmp_path: Path, image_tag: str, here: Store) -> None:
    told = submit(tmp_path / "there", "--on", "docker", IMAGE_TAG=image_tag)
    assert "Released version 1" in told
    same(here, folder_of(tmp_path / "there"))


def test_containers_give_the_same_release_on_s3(
    tmp_path: Path, image_tag: str, here: Store, s3_store: Store, s3_settings: Settings
) -> None:
    there = {"STORE": "s3://", "STORE_PREFIX": s3_settings.store_prefix}
    submit(tmp_path / "there", "--on", "docker", IMAGE_TAG=image_tag, **there)
    same(here, s3_store)
