"""The model server and the publisher with a real Kafka, started as their users start them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from steps.artifacts.verdict import Verdict
from steps.clients import kafka
from steps.clients.object_store import Store
from steps.runtime.kafka_settings import KafkaSettings
from steps.serving.streams import topics

Run = Callable[..., tuple[int, dict[str, str]]]
Judge = Callable[..., Verdict]
SECONDS = 60


@pytest.fixture
def brokers(kafka_settings: KafkaSettings) -> dict[str, str]:
    """The environment of a program that is to find the test's topics."""
    return {"KAFKA_BROKERS": kafka_settings.brokers, "KAFKA_TOPIC_PREFIX": kafka_settings.prefix}


@contextmanager
def server(store: Path, brokers: dict[str, str], *flags: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A model server that looks for releases once an hour, unless it hears of one."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, "-m", "steps.serve", "--port", str(port), "--poll-seconds", "3600", *flags]
    with subprocess.Popen(command, env={**os.environ, "STORE": f"file:{store}", **brokers}) as process:
        try:
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def eventually(asked: Callable[[], Any], wanted: Any) -> None:
    until = time.monotonic() + SECONDS
    found = None
    while found != wanted:
        assert time.monotonic() < until, found
        try:
            found = asked()
        except (requests.ConnectionError, KeyError):
            time.sleep(0.1)
        time.sleep(0.05)


def state(url: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{url}/state", timeout=SECONDS).json()
    return found


def test_a_release_is_heard_of_and_a_message_that_names_none_is_not(
    run_step: Run, folder_store: Store, make_verdict: Judge, tmp_path: Path,
    brokers: dict[str, str], kafka_settings: KafkaSettings,
) -> None:  # fmt: skip
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1", **brokers)[0] == 0
    with server(tmp_path / "store", brokers) as (url, _):
        eventually(lambda: state(url)["version"], 1)
        eventually(lambda: state(url)["streams"]["problem"], "")
        make_verdict(folder_store, "run-2")
        assert run_step("model_publish", RUN="run-2", **brokers)[0] == 0
        eventually(lambda: state(url)["version"], 2)
        writer = kafka.producer(kafka_settings)
        writer.produce(kafka_settings.models, b'{"v":1,"about":"release","version":9}', b"release")
        assert writer.flush(SECONDS) == 0
        make_verdict(folder_store, "run-3")
        assert run_step("model_publish", RUN="run-3", **brokers)[0] == 0
        eventually(lambda: state(url)["version"], 3)


def test_what_is_announced_of_each_kind_is_kept_and_names_a_version(
    run_step: Run, folder_store: Store, make_verdict: Judge, brokers: dict[str, str], kafka_settings: KafkaSettings
) -> None:
    steps: list[tuple[str, tuple[str, ...]]] = [("run-1", ()), ("run-2", ("--canary", "10")), ("", ("--promote",))]
    for name, flags in steps:
        if name:
            make_verdict(folder_store, name)
        assert run_step("model_publish", *flags, RUN=name, **brokers)[0] == 0
    reader = kafka.consumer(kafka_settings, "reader")
    reader.subscribe([kafka_settings.models])
    found: list[tuple[str, Any]] = []
    until = time.monotonic() + SECONDS
    while len(found) < 3 and time.monotonic() < until:
        message = reader.poll(0.2)
        if message is not None and not message.error():
            found.append((message.key().decode(), json.loads(message.value())))
    reader.close()
    assert found == [
        (about, {"v": 1, "about": about, "version": version})
        for about, version in (("release", 1), ("canary", 2), ("release", 2))
    ]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_requests_are_answered_by_the_live_model_as_by_http_and_the_end_is_a_good_one(
    run_step: Run, folder_store: Store, make_verdict: Judge, tmp_path: Path,
    brokers: dict[str, str], kafka_settings: KafkaSettings, workers: str,
) -> None:  # fmt: skip
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    kafka.require_topics(kafka_settings, topics(kafka_settings))
    users = tmp_path / "users"
    users.write_text("\n".join(f"u{number:03d}" for number in range(50)))
    with server(tmp_path / "store", brokers, "--workers", workers) as (url, process):
        eventually(lambda: state(url)["version"], 1)
        flags = ("--kafka", "--users", str(users), "--rate", "0", "--count", "300", "--patience", "60")
        code, said = run_step("client", *flags, **brokers)
        assert (code, said["answered"]) == (0, "300")
        asked = {"v": 1, "id": "mine", "recommend": {"user": "u003", "k": 3, "exclude": ["i001"]}}
        found = answer_to(kafka_settings, asked)
        by_http = requests.post(f"{url}/recommend", json=asked["recommend"], timeout=SECONDS)
        assert found == {"v": 1, "id": "mine", "recommendation": by_http.json()}
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0


def answer_to(settings: KafkaSettings, asked: dict[str, Any]) -> Any:
    reader = kafka.consumer(settings, "reader")
    reader.assign(kafka.ends(reader, settings.recommendations))
    writer = kafka.producer(settings)
    writer.produce(settings.requests, json.dumps(asked))
    assert writer.flush(SECONDS) == 0
    until = time.monotonic() + SECONDS
    while (message := reader.poll(0.2)) is None or message.error():
        assert time.monotonic() < until
    reader.close()
    return json.loads(message.value())
