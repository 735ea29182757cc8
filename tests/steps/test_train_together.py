"""Two worker processes on this machine train one model, are killed, and begin again where they were."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from steps.artifacts import candidate, names
from steps.clients.object_store import Store

pytestmark = pytest.mark.timeout(900)

Run = Callable[..., tuple[int, dict[str, str]]]
SETTINGS = {
    "deep_cf": "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=2,deep_cf.patience=2",
    "two_tower": "two_tower.factors=8,two_tower.hidden=8,two_tower.epochs=20,two_tower.patience=20",
}
PATIENCE = 240
WORKERS = '{"cluster": {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}, "task": {"type": "worker", "index": 0}}'


@pytest.fixture
def snapshot(run_step: Run) -> str:
    return run_step("data_publish", "--source", "demo:users=80,items=40,days=60")[1]["snapshot"]


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def started(store: Path, model: str, snapshot: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Two workers, the first of them the chief."""
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = []
    for index in (0, 1):
        told = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        settings = {"STORE": f"file:{store}", "RUN": "together", "TF_CONFIG": json.dumps(told), "LOG_FORMAT": "text"}
        # More threads than processors would only wait for one another.
        settings |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}
        command = [sys.executable, "-m", "steps.train", "--snapshot", snapshot, "--model", model]
        command += ["--set", SETTINGS[model]]
        # Into a file: a full pipe would hold up one worker, and with it the others.
        with (store.parent / f"worker-{index}.log").open("w") as said:
            workers.append(subprocess.Popen(command, stderr=said, text=True, env={**os.environ, **settings}))
    try:
        yield workers
    finally:
        for one in workers:
            one.kill()
            one.wait()


def said(store: Path, index: int) -> str:
    return (store.parent / f"worker-{index}.log").read_text()


def test_two_workers_learn_what_one_does(run_step: Run, snapshot: str, folder_store: Store, tmp_path: Path) -> None:
    store = tmp_path / "store"
    with started(store, "deep_cf", snapshot) as workers:
        assert [one.wait(PATIENCE) for one in workers] == [0, 0], said(store, 0)
    assert run_step("train", *flags(snapshot, "deep_cf"), RUN="alone")[0] == 0
    same_model(folder_store, tmp_path, "deep_cf")
    assert folder_store.models.list(names.checkpoint("together", "deep_cf")) == []


def test_a_killed_worker_ends_all_and_the_job_begun_again_goes_on(
    run_step: Run, snapshot: str, folder_store: Store, tmp_path: Path
) -> None:
    store, until = tmp_path / "store", time.monotonic() + PATIENCE
    with started(store, "two_tower", snapshot) as workers:
        while not [one for one in folder_store.models.list(names.checkpoint("together", "two_tower")) if one.size > 99]:
            assert time.monotonic() < until
            assert [one.poll() for one in workers] == [None, None], said(store, 0)
            time.sleep(0.02)
        workers[1].send_signal(signal.SIGKILL)
        assert workers[0].wait(PATIENCE) == 75, said(store, 0)
        assert "another worker is gone" in said(store, 0)
    assert candidate.find(folder_store.models, "candidates/together/two_tower") is None
    with started(store, "two_tower", snapshot) as workers:
        assert [one.wait(PATIENCE) for one in workers] == [0, 0], said(store, 0)
    for index in (0, 1):
        begun = [line for line in said(store, index).splitlines() if line.startswith("goes on after epoch ")]
        assert 1 <= int(begun[0].rsplit(" ", 1)[1]) < 20
    assert run_step("train", *flags(snapshot, "two_tower"), RUN="alone")[0] == 0
    same_model(folder_store, tmp_path, "two_tower")


def flags(snapshot: str, model: str) -> tuple[str, ...]:
    return "--snapshot", snapshot, "--model", model, "--set", SETTINGS[model]


def same_model(store: Store, folder: Path, model: str) -> None:
    alone, together = (candidate.read(store.models, names.candidate(run, model)) for run in ("alone", "together"))
    scorers = [candidate.scorer(store.models, one, folder / "cache")[0] for one in (alone, together)]
    scores = [one.personal(np.arange(80, dtype=np.int32)) for one in scorers]
    assert scores[0].std() > 0.01
    # Rounding differs, and every step of a training makes more of it.
    assert scores[1] == pytest.approx(scores[0], abs=1e-3)


@pytest.mark.parametrize(
    ("model", "more", "config", "sentence"),
    [
        ("als", (), WORKERS, "als trains in one: only deep_cf and two_tower do that"),
        ("deep_cf", ("--budget", "60"), WORKERS, "--budget is for one worker"),
        ("deep_cf", (), "nonsense", "TF_CONFIG is 'nonsense'"),
    ],
)
def test_what_several_workers_cannot_do_is_refused_at_once(
    run_step: Run, snapshot: str, model: str, more: tuple[str, ...], config: str, sentence: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    assert run_step("train", "--snapshot", snapshot, "--model", model, *more, RUN="together", TF_CONFIG=config)[0] == 2
    assert sentence in caplog.text
