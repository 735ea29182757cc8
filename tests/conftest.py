"""What many tests need: stores of both kinds, interactions whose answer is known, and a way to run a program."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from steps.runtime.processor import use_all_of_it

# As every program does it before it loads numpy: what is calculated here and there shall be equal to the last bit.
use_all_of_it(os.environ)

import numpy as np

from steps.clients import kafka
from steps.clients.folder_store import FolderBucket
from steps.clients.object_store import Store, open_store
from steps.models.ids import IdTable
from steps.models.interactions import Interactions
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.program import main
from steps.runtime.settings import Settings

# What a test of Kafka is given back; no other test shall find a broker.
KAFKA_VARIABLES = {name: value for name, value in os.environ.items() if name.startswith("KAFKA_")}
S3_VARIABLES = ("S3_ENDPOINT", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")


# A check that runs in the background has SIGINT ignored, and so would every program that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _no_inherited_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own STORE or RUN must not leak into a test."""
    places = ("STORE", "STORE_PREFIX", "DATA_BUCKET", "MODELS_BUCKET", "SLOTS", "SAVED_MODEL", "OUTPUTS")
    for name in (*places, "RUN", "LOG_FORMAT", *KAFKA_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def times_bare_python() -> Callable[[Callable[[], object]], float]:
    """How often the processor time of a bare Python with argparse and logging a program takes.

    Neither a slow processor nor one that others use as well changes that by much.
    """

    def seconds(run: Callable[[], object]) -> float:
        before = os.times()
        run()
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    def bare() -> None:
        subprocess.run([sys.executable, "-c", "import argparse, dataclasses, json, logging, pathlib"], check=True)

    def times(run: Callable[[], object]) -> float:
        pairs = [(seconds(run), seconds(bare)) for _ in range(3)]
        return min(mine for mine, _ in pairs) / min(reference for _, reference in pairs)

    return times


@pytest.fixture
def folder_store(tmp_path: Path) -> Store:
    """A store in a folder of the test's own."""
    root = tmp_path / "store"
    return Store(FolderBucket(root / "data" / "recommender"), FolderBucket(root / "models" / "recommender"))


@pytest.fixture
def s3_settings() -> Settings:
    """Settings of a prefix of the test's own on the real S3 that the environment names."""
    missing = [name for name in S3_VARIABLES if not os.environ.get(name)]
    if missing:
        pytest.skip(f"no S3 service: {', '.join(missing)} not set")
    prefix = f"test-{uuid.uuid4().hex[:12]}"
    return Settings.from_environment({**os.environ, "STORE": "s3://", "STORE_PREFIX": prefix})


@pytest.fixture
def s3_store(s3_settings: Settings) -> Iterator[Store]:
    store = open_store(s3_settings)
    yield store
    for bucket in (store.data, store.models):
        bucket.delete(entry.key for entry in bucket.list())


@pytest.fixture
def kafka_settings() -> Iterator[KafkaSettings]:
    """Topics of the test's own on the real Kafka that the environment names."""
    if not KAFKA_VARIABLES.get("KAFKA_BROKERS"):
        pytest.skip("no Kafka: KAFKA_BROKERS not set")
    variables = {**KAFKA_VARIABLES, "KAFKA_TOPIC_PREFIX": f"test-{uuid.uuid4().hex[:12]}"}
    settings = KafkaSettings.from_environment(lambda name: variables.get(name, ""))
    yield settings
    client = kafka.admin(settings)
    mine = [name for name in client.list_topics(timeout=30).topics if name.startswith(settings.prefix)]
    for future in client.delete_topics(mine).values() if mine else ():
        future.result()


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest) -> Store:
    """Both kinds, one after the other."""
    found: Store = request.getfixturevalue(f"{request.param}_store")
    return found


@pytest.fixture(scope="session")
def ids() -> Callable[[str, int], IdTable]:
    """`ids("u", 3)` → a table of u000, u001, u002."""
    return lambda letter, count: IdTable.of([f"{letter}{number:03d}" for number in range(count)])


@pytest.fixture(scope="session")
def checkerboard(ids: Callable[[str, int], IdTable]) -> Interactions:
    """Even users bought every even item but their own number, odd users the odd ones: the missing one is the answer."""
    size = 50
    user, item = np.nonzero(np.add.outer(np.arange(size), np.arange(size)) % 2 == 0)
    kept = user != item
    return Interactions.of(ids("u", size), ids("i", size), user[kept], item[kept], np.ones(kept.sum()))


@pytest.fixture
def run_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, str]]]:
    """Runs a program in this process: `run_step("train", "--model", "als", RUN="first")` → exit code and outputs."""
    monkeypatch.setenv("STORE", f"file:{tmp_path / 'store'}")

    def run(name: str, *flags: str, **environment: str) -> tuple[int, dict[str, str]]:
        program = importlib.import_module(f"steps.{name}")
        outputs = tmp_path / "outputs" / uuid.uuid4().hex
        with monkeypatch.context() as patch:
            for variable, value in environment.items():
                patch.setenv(variable, value)
            code = main(program.parser(), program.run, [*flags, "--outputs", str(outputs)])
        found = {path.name: path.read_text() for path in outputs.iterdir()} if outputs.exists() else {}
        return int(code), found

    return run


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Shows what tests have measured. Here, for of several processes the one that writes knows no other conftest."""
    reports = [report for found in terminalreporter.stats.values() for report in found]
    rows = [
        (report.nodeid.rpartition("/")[2], line)
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, line in report.user_properties
        if name == "measured"
    ]
    if rows:
        terminalreporter.section("measured")
        for test, line in rows:
            terminalreporter.write_line(f"{test}: {line}")
