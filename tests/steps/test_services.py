"""The long-running programs, started as their users start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from steps.artifacts import slots
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store

ROOT = Path(__file__).parents[2]
Make = Callable[..., Candidate]
Run = Callable[..., tuple[int, dict[str, str]]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def service(tmp_path: Path, name: str, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "STORE": f"file:{tmp_path / 'store'}"}
    command = [sys.executable, "-m", f"steps.{name}", *flags]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


BARE = """
import re, runpy, sys, tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
root, sys.argv = Path(sys.argv[1]), ["serve", *sys.argv[2:]]
pinned = re.findall(r"^([a-z0-9-]+)==", (root / "containers/requirements/serve.txt").read_text(), re.MULTILINE)
wanted = tomllib.loads((root / "pyproject.toml").read_text())["project"]["dependencies"]
absent = {re.match("[a-z0-9-]+", one)[0] for one in wanted} - set(pinned)
assert "pandas" in absent and "numpy" not in absent, absent
modules = {module for module, names in packages_distributions().items() if {name.lower() for name in names} <= absent}
assert {"pandas", "jinja2"} <= modules, modules
sys.modules.update(dict.fromkeys(modules, None))
runpy.run_module("steps.serve", run_name="__main__")
"""
"""Serves with nothing of the dependencies but what is in the image of the server."""


def wait_for(url: str) -> requests.Response:
    until = time.monotonic() + 60
    while True:
        try:
            answer = requests.get(url, timeout=2)
            if answer.ok:
                return answer
        except requests.ConnectionError:
            pass
        assert time.monotonic() < until, f"{url} never answered"
        time.sleep(0.05)


def test_serve_answers_and_ends_well_on_sigterm(
    tmp_path: Path, folder_store: Store, make_candidate: Make, make_release: Callable[..., object]
) -> None:
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    port = free_port()
    with service(tmp_path, "serve", "--port", str(port), "--poll-seconds", "0.1") as process:
        assert wait_for(f"http://127.0.0.1:{port}/readyz").json()["version"] == 1
        assert "/recommend" in requests.get(f"http://127.0.0.1:{port}/openapi.json", timeout=60).json()["paths"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_serve_needs_no_more_than_its_image_holds(
    tmp_path: Path,
    folder_store: Store,
    make_snapshot: Callable[..., str],
    make_candidate: Make,
    make_release: Callable[..., object],
) -> None:
    make_release(folder_store, make_candidate(folder_store, "run-1", snapshot=make_snapshot(folder_store)))
    port = free_port()
    command = [sys.executable, "-c", BARE, str(ROOT), "--port", str(port), "--poll-seconds", "0.1"]
    environment = {**os.environ, "STORE": f"file:{tmp_path / 'store'}"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            wait_for(f"http://127.0.0.1:{port}/readyz")
            url = f"http://127.0.0.1:{port}"
            for body in ({"user": "u003"}, {"items": ["i003"]}):
                assert requests.post(f"{url}/recommend", json=body, timeout=60).json()["known"]
            assert requests.get(f"{url}/similar/i003", timeout=60).ok
            assert wait_for(f"{url}/items/i004").json()["name"] == "Blue Lamp 4"
        finally:
            process.kill()


def test_model_publish_fills_the_slots_of_a_running_slot_server(
    tmp_path: Path, folder_store: Store, make_verdict: Callable[..., object], run_step: Run
) -> None:
    blue, green = free_port(), free_port()
    flags = ("--slots", f"blue={blue},green={green}", "--poll-seconds", "0.1")
    addresses = f"blue=http://127.0.0.1:{blue},green=http://127.0.0.1:{green}"
    with service(tmp_path, "slot_server", *flags) as process:
        for number in (1, 2):
            make_verdict(folder_store, f"run-{number}")
            assert run_step("model_publish", RUN=f"run-{number}", SLOTS=addresses)[0] == 0
        status = requests.get(f"http://127.0.0.1:{green}/v1/models/recommender/versions/2", timeout=60).json()
        assert status["model_version_status"][0]["state"] == "AVAILABLE"
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


def test_slot_sync_mirrors_once_or_goes_on(
    tmp_path: Path, folder_store: Store, make_candidate: Make, run_step: Run
) -> None:
    slots.fill(folder_store.models, make_candidate(folder_store, "run-1"), "blue", 1)
    watched = tmp_path / "watched"
    flags = ("--slot", "blue", "--folder", str(watched), "--poll-seconds")
    assert run_step("slot_sync", *flags, "0")[0] == 0
    assert (watched / "1" / "saved_model.pb").is_file()
    with service(tmp_path, "slot_sync", *flags, "0.1") as process:
        slots.fill(folder_store.models, make_candidate(folder_store, "run-2"), "blue", 2)
        until = time.monotonic() + 15
        while not (watched / "2").exists():
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("serve", ("--port", "http")),
        ("serve", ("--poll-seconds", "0")),
        ("slot_server", ("--slots", "blue")),
        ("slot_server", ("--slots", "blue=80000")),
        ("slot_server", ("--slots", "blue=8501,blue=8502")),
        ("slot_sync", ("--slot", "blue", "--folder", __file__, "--poll-seconds", "1")),
        ("slot_sync", ("--slot", "../up", "--folder", "x", "--poll-seconds", "0")),
    ],
)
def test_wrong_flags_end_a_service_before_it_starts(run_step: Run, name: str, flags: tuple[str, ...]) -> None:
    assert run_step(name, *flags)[0] == 2


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for name, flags in (("serve", ("--port", str(port))), ("slot_server", ("--slots", f"blue={port}"))):
            with service(tmp_path, name, *flags) as process:
                assert process.wait(20) == 2
                assert process.stderr
                text = process.stderr.read().decode()
                assert str(port) in text
                assert "Traceback" not in text
