"""What the tests of the images share: the Dockerfile as data, and an engine that runs what it built."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).parents[2]
CONTAINERS = ROOT / "containers"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def targets_and_groups() -> dict[str, str]:
    """Every image of the Dockerfile with the requirements that it holds."""
    lines = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
    return {target: group for group, target in re.findall(r"^FROM with-(\S+) AS (\S+)$", lines, re.MULTILINE)}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a `target` runs once for every image, one that asks for a `group` for every pin file."""
    groups = targets_and_groups()
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", sorted(groups), scope="session")
    if "group" in metafunc.fixturenames:
        metafunc.parametrize("group", sorted(set(groups.values())))


@pytest.fixture(scope="session")
def group_of() -> dict[str, str]:
    return targets_and_groups()


@pytest.fixture(scope="session")
def project() -> dict[str, object]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], NoReturn]:
    """Ends a test for want of an engine or an image: a failure where a tag says that the images were built."""
    return pytest.fail if os.environ.get("RECOMMENDER_IMAGES_TAG") else pytest.skip


@pytest.fixture(scope="session")
def engine(lacking: Callable[[str], NoReturn]) -> str:
    """podman or docker, whichever answers; the client alone, without its service, is not enough."""
    present = [name for name in ("podman", "docker") if shutil.which(name)]
    for name in present:
        if subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0:
            return name
    return lacking(f"no engine answers on this machine; installed: {', '.join(present) or 'neither podman nor docker'}")


@pytest.fixture(scope="session")
def image(engine: str, project: dict[str, object], lacking: Callable[[str], NoReturn]) -> Callable[[str], str]:
    """The name of a target's image, where it has been built and the engine can run it."""
    tag = os.environ.get("RECOMMENDER_IMAGES_TAG") or project["version"]
    runs: list[str] = []

    def name_of(target: str) -> str:
        name = f"recommender-{target}:{tag}"
        if subprocess.run([engine, "image", "inspect", name], capture_output=True, check=False).returncode:
            lacking(f"{name} is not built: run containers/build.sh, or name a tag in RECOMMENDER_IMAGES_TAG")
        if not runs:
            command = [engine, "run", "--rm", "--network=none", "--entrypoint=true", name]
            tried = subprocess.run(command, capture_output=True, text=True, check=False)
            if tried.returncode:
                lacking(f"{engine} cannot run a container on this machine: {tried.stderr.strip()}")
            runs.append(name)
        return name

    return name_of


@pytest.fixture(scope="session")
def container(engine: str, image: Callable[[str], str]) -> Run:
    """Runs `container(target, *arguments, options=(…))` to its end, in a container that is removed afterwards."""

    def run(target: str, *arguments: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [engine, "run", "--rm", *options, image(target), *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    return run


@pytest.fixture(scope="module")
def fresh_volume(engine: str) -> Iterator[Callable[[], str]]:
    """Makes named volumes, which go at the end."""
    made: list[str] = []

    def make() -> str:
        made.append(f"recommender-test-{uuid.uuid4().hex[:12]}")
        subprocess.run([engine, "volume", "create", made[-1]], capture_output=True, check=True)
        return made[-1]

    yield make
    for name in made:
        subprocess.run([engine, "volume", "rm", "--force", name], capture_output=True, check=True)
