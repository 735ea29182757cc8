"""The whole path as a user takes it: submit.py in a folder of one's own, and what it leaves in the store."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from steps.artifacts import canary, candidate, feedback, release, slots
from steps.artifacts.feedback import Event
from steps.clients.object_store import Store, open_store
from steps.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
SETTINGS = "als.factors=16,als.iterations=5"
SHOP = ("-p", "source=demo:users=200,items=60,days=120", "-p", f"set={SETTINGS}")
LARGER = ("-p", "source=demo:users=600,items=60,days=120", "-p", f"set={SETTINGS}")
"""With so many buyers als is better than popularity beyond chance, whatever its seed."""
TWO = (*LARGER, "-p", "models=popularity,als")
"""Where it does not matter how many models there are."""


def submit(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "workflows" / "submit.py"), *arguments]
    return subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )


def store_in(folder: Path) -> Store:
    return open_store(Settings.from_environment({"STORE": f"file:{folder / 'store'}"}))


def live(store: Store) -> release.Release:
    found = release.live(store.models)
    assert found
    return found


def check_whole(store: Store, versions: list[int]) -> None:
    """What must hold after any run: the releases, the slots, and every file that a manifest names."""
    assert release.versions(store.models) == versions
    made = live(store)
    assert made.version in slots.whole_versions(store.models, made.slot)
    chosen = candidate.read(store.models, made.candidate)
    store.models.fetch(chosen.path, chosen.records, Path("unused"))
    assert store.models.list("claims/") == []


def test_a_first_run_releases_version_1_and_a_second_one_nothing(tmp_path: Path) -> None:
    first = submit(tmp_path, *SHOP)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "Released version 1" in first.stdout
    assert "python -m steps.serve" in first.stdout
    check_whole(store_in(tmp_path), [1])
    objects = [(entry.key, entry.modified) for entry in store_in(tmp_path).models.list() if "runs/" not in entry.key]
    again = submit(tmp_path, *SHOP)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing was released" in again.stdout
    left = [(entry.key, entry.modified) for entry in store_in(tmp_path).models.list() if "runs/" not in entry.key]
    assert left == objects


def test_a_refused_gate_ends_well_and_releases_nothing(tmp_path: Path) -> None:
    assert submit(tmp_path, *TWO).returncode == 0
    weaker = submit(tmp_path, *LARGER, "-p", "models=popularity", "-p", "seed=8")
    assert weaker.returncode == 0, weaker.stdout + weaker.stderr
    assert "worse than the live model" in re.sub(r"\s+", " ", weaker.stdout)
    check_whole(store_in(tmp_path), [1])


def test_a_release_is_taken_back_and_everybody_is_predicted_for(tmp_path: Path) -> None:
    assert submit(tmp_path, *TWO).returncode == 0
    assert submit(tmp_path, *TWO, "-p", "seed=8", "-p", "tolerance=0.5").returncode == 0
    back = submit(tmp_path, "rollback", "-p", "reason=a test")
    assert back.returncode == 0, back.stdout + back.stderr
    store = store_in(tmp_path)
    check_whole(store, [1, 2, 3])
    assert live(store).candidate == release.read(store.models, 1).candidate
    assert submit(tmp_path, "batch-predict", "-p", "shards=3", "-p", "k=5").returncode == 0
    assert json.loads(store.models.get("predictions/3/manifest.json"))["users"] == 600
    assert submit(tmp_path, "cleanup", "-p", "keep-runs=1", "-p", "min-age-days=0").returncode == 0
    check_whole(store, [1, 2, 3])


def test_a_model_is_tried_and_what_its_users_do_decides(tmp_path: Path) -> None:
    """The wait of a day is interrupted once there is feedback, and the run is resumed with a short one."""
    first = submit(tmp_path, *TWO, "-p", "canary=50")
    assert first.returncode == 0, first.stdout + first.stderr
    store = store_in(tmp_path)
    check_whole(store, [1])  # there was nothing to try it against
    for seed, clicked, end in ((8, False, "was taken back"), (9, True, "Released version 3")):
        tried = begin_canary(tmp_path, store, seed)
        feedback.write(store.data, visits(tried.version, clicked) + visits(tried.base, not clicked))
        [*_, run] = sorted((tmp_path / ".runs").glob("[!.]*"), key=lambda folder: folder.stat().st_mtime)
        ended = submit(tmp_path, "--resume", run.name, "-p", "canary-for=100ms")
        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert end in ended.stdout
        assert canary.running(store.models) is None
    check_whole(store, [1, 3])
    assert canary.versions(store.models) == [2, 3]
    assert live(store).reason.startswith("promoted, after a canary of 50 % beside version 1: ")


def begin_canary(folder: Path, store: Store, seed: int) -> canary.Canary:
    """A run that waits while its model is tried, interrupted."""
    parameters = ("-p", f"seed={seed}", "-p", "tolerance=0.5", "-p", "canary=50", "-p", "canary-for=24h")
    command = [sys.executable, str(ROOT / "workflows" / "submit.py"), *TWO, *parameters]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        said = ""
        for line in process.stdout:
            if "canary-wait" in line and "canary-wait" not in said:
                process.send_signal(signal.SIGTERM)
            said += line
        assert process.wait() != 0, said
    found = canary.running(store.models)
    assert found, said
    return found


def visits(version: int, clicked: bool) -> list[Event]:
    """120 users who are shown the same three products, and who click the first of them, or nothing."""
    now = datetime.now(UTC)
    found = []
    for number in range(120):
        about = {"user": f"u{number:04d}", "version": version}
        names = ("i0001", "i0002", "i0003")
        found.append({"id": f"shown-{version}-{number}", "kind": "shown", "items": names, **about})
        if clicked:
            found.append({"id": f"clicked-{version}-{number}", "kind": "clicked", "items": names[:1], **about})
    return [Event.from_json(one, now) for one in found]


def test_bad_data_ends_the_run_with_a_sentence_and_nothing_is_published(tmp_path: Path) -> None:
    (tmp_path / "purchases.csv").write_text("who,what\n")
    found = submit(tmp_path, "-p", "source=purchases.csv", "-p", "columns=user=who,item=what")
    assert found.returncode != 0
    assert "Traceback" not in found.stdout + found.stderr
    assert "--resume" in found.stdout + found.stderr
    assert store_in(tmp_path).data.list() == []


@pytest.mark.parametrize("attempt", range(10))
def test_killed_at_a_random_moment_the_printed_command_finishes_the_run(tmp_path: Path, attempt: int) -> None:
    """kill -9 of the runner; its children die with it, and what had succeeded is not repeated."""
    command = [sys.executable, str(ROOT / "workflows" / "submit.py"), *SHOP, "-p", "models=als"]
    moment = random.Random(attempt).uniform(0.3, 7.0)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
    # A run is begun under a hidden name, and gets its own once it can be resumed.
    runs = sorted((tmp_path / ".runs").glob("[!.]*"))
    if not runs:
        return  # killed before that: there is nothing to resume
    done = {key: entry for key, entry in written(tmp_path).items() if "/slots/" not in key}
    time.sleep(0.5)
    resumed = submit(tmp_path, *shlex.split(f"--resume {runs[0].name}"))
    assert resumed.returncode == 0, f"killed after {moment:.1f} s: {resumed.stdout}{resumed.stderr}"
    check_whole(store_in(tmp_path), [1])
    after = written(tmp_path)
    manifests = [key for key in done if key.endswith("/manifest.json")]
    # What was whole is the same object still: nothing that had succeeded was made again.
    assert {key: after[key] for key in manifests} == {key: done[key] for key in manifests}
    assert submit(tmp_path, "cleanup", "-p", "min-age-days=0").returncode == 0
    check_whole(store_in(tmp_path), [1])
    strays = [path for path in (tmp_path / "store").rglob(".unfinished-*") if path.is_file()]
    assert strays == []


def written(folder: Path) -> dict[str, tuple[int, float]]:
    root = folder / "store"
    found = {}
    for path in root.rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            stat = path.stat()
            found[path.relative_to(root).as_posix()] = (stat.st_ino, stat.st_mtime)
    return found


def test_the_same_run_works_on_s3_and_gives_the_same_release(
    tmp_path: Path, s3_store: Store, s3_settings: Settings
) -> None:
    there = submit(tmp_path, *TWO, STORE="s3://", STORE_PREFIX=s3_settings.store_prefix)
    assert there.returncode == 0, there.stdout + there.stderr
    check_whole_on_s3(s3_store, tmp_path)
    assert submit(tmp_path, *TWO).returncode == 0
    here, other = live(store_in(tmp_path)), live(s3_store)
    assert (here.snapshot, here.model, here.version) == (other.snapshot, other.model, other.version)
    assert here.metrics == pytest.approx(other.metrics, rel=1e-6)
    mine = candidate.read(store_in(tmp_path).models, here.candidate)
    theirs = candidate.read(s3_store.models, other.candidate)
    assert mine.part("factors") == theirs.part("factors")


def check_whole_on_s3(store: Store, tmp_path: Path) -> None:
    assert release.versions(store.models) == [1]
    made = live(store)
    chosen = candidate.read(store.models, made.candidate)
    assert store.models.fetch(chosen.path, chosen.records, tmp_path / "cache").is_dir()
