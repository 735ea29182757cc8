"""Several processes behind one port."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from steps.artifacts.candidate import Candidate
from steps.clients.folder_store import FolderBucket
from steps.clients.object_store import Store

SECONDS = 60.0


@pytest.fixture
def server(
    tmp_path: Path, make_candidate: Callable[..., Candidate], make_release: Callable[..., object]
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`serve --workers 2` on a release, with its address."""
    root = tmp_path / "served"
    store = Store(FolderBucket(root / "data" / "recommender"), FolderBucket(root / "models" / "recommender"))
    make_release(store, make_candidate(store, "run-1"))
    command = [sys.executable, "-m", "steps.serve", "--port", "0", "--workers", "2", "--poll-seconds", "0.2"]
    environment = os.environ | {"STORE": f"file:{root}", "LOG_FORMAT": "text"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    line = next(line for line in process.stderr if "serving on " in line)
    url = line.split("serving on ")[1].split(",")[0]
    eventually(lambda: all(ready(url) for _ in range(10)))  # whichever worker takes it
    yield process, url
    process.kill()
    process.wait()
    process.stderr.close()


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=60).ok
    except (requests.ConnectionError, requests.Timeout):  # it does not listen yet
        return False


def children(process: int) -> set[int]:
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return {int(one) for one in found}


def runs(process: int) -> bool:
    """Whether a process is there and is more than a note of how it ended."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ask(url: str) -> int:
    # A connection of its own each time, so that any worker may take it.
    return requests.post(f"{url}/recommend", json={"user": "u003", "k": 3}, timeout=60).status_code


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_a_worker_that_dies_is_replaced_and_what_is_counted_is_of_all(
    server: tuple[subprocess.Popen[str], str],
) -> None:
    process, url = server
    before = children(process.pid)
    assert len(before) == 2
    assert [ask(url) for _ in range(20)] == [200] * 20
    before = children(process.pid)
    os.kill(min(before), signal.SIGKILL)
    eventually(lambda: len(children(process.pid) - before) == 1)
    eventually(lambda: ready(url))
    state = requests.get(f"{url}/state", timeout=60).json()
    assert state["workers"] == 2
    assert state["requests"]["/recommend"]["requests"] == 20
    assert state["versions"]["1"]["answers"] == 20


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_told_to_stop_all_of_them_end_well(server: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = server
    workers = children(process.pid)
    process.terminate()
    assert process.wait(SECONDS) == 0
    assert not any(map(runs, workers))


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_workers_end_with_a_parent_that_was_killed(server: tuple[subprocess.Popen[str], str]) -> None:
    process, _ = server
    workers = children(process.pid)
    process.kill()
    process.wait()
    eventually(lambda: not any(map(runs, workers)))
