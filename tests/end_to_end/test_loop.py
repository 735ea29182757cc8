"""The loop that learns, typed as a person would: visits, a look, a new model on trial, and one gone bad."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from steps.artifacts import canary, candidate, dataset, making, records, release, verdict
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store, open_store
from steps.models.factors import Factors
from steps.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
USERS = 300
SHOP = ("-p", f"source=demo:users={USERS},items=120,purchases=2400", "-p", "models=als", "-p", "set=als.factors=16")
LOOK = ("-p", "within=0.0003", "-p", "online-metric=hit_rate")
"""What a shopper does follows in the same moment: after a second a list can be judged."""
NEW = ("--taste", "new", "--kinds", "none", "--on-their-own", "0.8")
"""All like what has nothing to do with what they liked before, nor with what was bought together before."""


@dataclass
class Loop:
    """A shop in a folder of its own: its store, its model server, and what is typed there."""

    folder: Path
    url: str = ""
    store: Store = field(init=False)
    typed: int = 0

    def __post_init__(self) -> None:
        self.store = open_store(Settings.from_environment({"STORE": f"file:{self.folder / 'store'}"}))

    def type(self, command: str, *more: str, **environment: str) -> str:
        """Runs a command to its end, and returns what it said."""
        found = subprocess.run(
            words(command, *more), cwd=self.folder, env={**os.environ, **environment}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert found.returncode == 0, found.stdout + found.stderr
        return found.stdout + found.stderr

    def outputs(self, command: str, *more: str, **environment: str) -> tuple[dict[str, str], str]:
        """The outputs of a program, and what it said is to be typed next."""
        self.typed += 1
        folder = self.folder / "outputs" / str(self.typed)
        said = self.type(command, *more, "--outputs", str(folder), LOG_FORMAT="text", **environment)
        following = re.findall(r"next: (.*)", said)
        return {path.name: path.read_text() for path in folder.iterdir()}, following[-1] if following else ""

    def visits(self, count: int, *flags: str) -> dict[int, float]:
        """By version, the share of the lists that something was bought from."""
        asked = ("--url", self.url, "--rate", "0", "--at-once", "64", "--patience", "60")
        said, following = self.outputs("python -m steps.client --shopper", *asked, "--count", str(count), *flags)
        # On a machine that is busy with other things some wait too long.
        assert int(said["answered"]) > 0.5 * count
        assert "monitor" in following
        return {int(version): share for version, share in json.loads(said["bought-from"]).items()}

    def lists(self) -> dict[str, tuple[int, list[str]]]:
        """Of every user the version that answers, and what it shows."""
        found = {}
        for number in range(USERS):
            user = f"u{number:04d}"
            answer = self.asked(user)
            found[user] = answer["version"], [one["item"] for one in answer["items"]]
        return found

    def asked(self, user: str) -> dict[str, Any]:
        """What the server recommends, once it has the time for it."""
        until = time.monotonic() + SECONDS
        while True:
            answer = requests.post(f"{self.url}/recommend", json={"user": user, "k": 10}, timeout=SECONDS)
            if answer.status_code == 200:
                return dict(answer.json())
            assert answer.status_code in (429, 503), answer.text
            assert time.monotonic() < until
            time.sleep(0.1)

    def serves(self, live: int, tried: int | None) -> bool:
        state = requests.get(f"{self.url}/state", timeout=SECONDS).json()
        now = state["canary"]["version"] if state["canary"] else None
        return (state["version"], now) == (live, tried)


def words(command: str, *more: str) -> list[str]:
    program, *rest = shlex.split(command)
    assert program == "python"
    return [sys.executable, *(str(ROOT / word) if word.startswith("workflows/") else word for word in rest), *more]


def eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


@contextmanager
def served(folder: Path, environment: Mapping[str, str]) -> Iterator[str]:
    """The model server of a store, and its address."""
    log = folder / "serve.log"
    command = words("python -m steps.serve --port 0 --poll-seconds 0.2")
    with log.open("w") as told, subprocess.Popen(command, cwd=folder, env={**environment}, stderr=told) as process:
        try:
            eventually(lambda: "serving on " in log.read_text() or process.poll() is not None)
            url = log.read_text().split("serving on ")[1].split(",")[0]
            eventually(lambda: ready(url))
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def ready(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=SECONDS).ok
    except (requests.ConnectionError, requests.Timeout):  # it does not listen yet
        return False


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    """A shop whose first model is live."""
    found = Loop(tmp_path)
    assert "Released version 1" in found.type("python workflows/submit.py retrain", *SHOP)
    with served(tmp_path, {**os.environ, "LOG_FORMAT": "text", "PYTHONPATH": str(ROOT)}) as found.url:
        yield found


def until_tried(loop: Loop, command: str, *more: str) -> str:
    """Begins a workflow, and interrupts it while it waits for users to try its model; returns how it goes on."""
    with subprocess.Popen(
        words(command, *more), cwd=loop.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            if "canary-wait" in line and "canary-wait" not in said:
                process.send_signal(signal.SIGTERM)
            said += line
    assert "canary-wait" in said, said
    [run] = set(re.findall(r"--resume (\S+)", said))
    return f"python workflows/submit.py --resume {run}"


def poisoned(loop: Loop) -> str:
    """Puts a model into the store that takes every item for another one, refused; returns its run."""
    live = release.require(loop.store.models, "live")
    good = candidate.read(loop.store.models, live.candidate)
    scorer, seen = candidate.scorer(loop.store.models, good, loop.folder / "good")
    assert isinstance(scorer, Factors)
    shuffled = np.random.default_rng(7).permutation(len(scorer.items))
    bad = replace(scorer, item_factors=np.ascontiguousarray(scorer.item_factors[shuffled]), mapped=None)
    folder = loop.folder / "bad"
    bad.save(folder / Factors.folder, seen)
    data = dataset.load(loop.store, live.snapshot, loop.folder / "cache")
    run = "poisoned"
    made = candidate.write(
        loop.store.models, replace(good, run=run, expected=making.expected_answers(bad, data), files={}), folder
    )
    judged = Verdict(
        run=run, snapshot=live.snapshot, fingerprint="", promote=False, winner=made.path, reason="it is poisoned",
        metric="ndcg@10", thresholds={}, users=0, candidates={made.model: {"metrics": {}, "slices": {}}}, bars={},
        differences={}, live_version=live.version, sample=[], created=records.now(),
    )  # fmt: skip
    verdict.write(loop.store.models, judged)
    return run


def test_the_loop_learns_and_takes_a_poisoned_model_back(
    loop: Loop, record_property: Callable[[str, object], None]
) -> None:
    # Shoppers as ever: the first look finds how good the release is.
    loop.visits(400)
    assert "which is its baseline from now on" in loop.type("python workflows/submit.py monitor", *SHOP, *LOOK)

    # All tastes change. The release is worse by more than chance, so a look begins a new one, for half of the users.
    before = loop.visits(3000, *NEW, "--seed", "1")
    resume = until_tried(
        loop, "python workflows/submit.py monitor", *SHOP, *LOOK, "-p", "canary=50", "-p", "canary-for=24h"
    )
    eventually(lambda: loop.serves(1, 2))
    tried = loop.visits(800, *NEW, "--seed", "2")
    assert "Released version 2" in loop.type(resume, "-p", "canary-for=100ms")
    eventually(lambda: loop.serves(2, None))
    after = loop.visits(400, *NEW, "--seed", "3")
    assert before.keys() == {1}
    assert tried.keys() == {1, 2}
    assert after.keys() == {2}
    record_property("measured", f"bought from of lists: {before}, {tried}, {after}")
    assert tried[2] > 1.3 * tried[1]
    assert after[2] > 1.3 * before[1]

    report = loop.store.models.get(f"{release.read(loop.store.models, 2).candidate}/report.html").decode()
    assert "followed lists of recommendations: they were learned from, and no model was judged by them" in report

    # A bad model that somebody forces upon half of the users, who buy less from its lists: a look says what to do.
    lists = loop.lists()
    command = "python -m steps.model_publish --force 'a test' --canary 50"
    assert loop.outputs(command, RUN=poisoned(loop))[0]["became"] == canary.CANARY
    eventually(lambda: loop.serves(2, 3))
    meanwhile = loop.lists()
    spared = {user for user, (version, _) in meanwhile.items() if version == 2}
    assert 0.25 * USERS < len(spared) < 0.75 * USERS
    assert all(meanwhile[user] == lists[user] for user in spared)
    poison = loop.visits(800, *NEW, "--seed", "4")
    record_property("measured", f"with the poisoned one: {poison}")
    assert poison[3] < 0.8 * poison[2]
    looked, following = loop.outputs("python -m steps.monitor --canary")
    assert looked["canary"] == "abort"
    assert loop.outputs(following)[0]["became"] == canary.ABORTED
    eventually(lambda: loop.serves(2, None))
    assert {version for version, _ in loop.lists().values()} == {2}
    assert release.versions(loop.store.models) == [1, 2]
