"""The same snapshot, settings and seed make the same candidate, in whatever process and on whatever day."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steps.artifacts import candidate, names, verdict
from steps.clients.object_store import Bucket, Store

pytestmark = pytest.mark.timeout(900)

ARRAYS = ("als", "ease", "item_knn")
NETWORKS = ("deep_cf", "sequence", "two_tower")
SETTINGS = ",".join(
    [
        "als.factors=16,als.iterations=5",
        "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=2",
        "sequence.factors=8,sequence.blocks=1,sequence.epochs=2",
        "two_tower.factors=8,two_tower.hidden=8,two_tower.epochs=2",
    ]
)
TIMES = ("manifest.json", "metrics.json", "report.html", "search/")
"""What holds times or durations, or is made of such files."""
TRAINED = """
import sys
from steps import evaluate, train
from steps.runtime.program import main
snapshot, settings, *models = sys.argv[1:]
codes = [main(train.parser(), train.run, ["--snapshot", snapshot, "--model", one, "--set", settings]) for one in models]
sys.exit(max(*codes, main(evaluate.parser(), evaluate.run, ["--snapshot", snapshot])))
"""


@pytest.fixture
def runs(run_step: Callable[..., tuple[int, dict[str, str]]], tmp_path: Path) -> tuple[str, str]:
    """Two runs of the same, each in a process of its own that orders its sets and dicts in another way."""
    snapshot = run_step("data_publish", "--source", "demo:users=100,items=40,days=60")[1]["snapshot"]
    for number, run in enumerate(("first", "second")):
        settings = {"STORE": f"file:{tmp_path / 'store'}", "RUN": run, "PYTHONHASHSEED": str(number + 1)}
        settings["SAVED_MODEL"] = "true"
        command = [sys.executable, "-c", TRAINED, snapshot, SETTINGS, *ARRAYS, *NETWORKS]
        done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **settings})
        assert done.returncode == 0, done.stderr
    return "first", "second"


def test_another_process_makes_the_same_files_and_reaches_the_same_metrics(
    runs: tuple[str, str], folder_store: Store
) -> None:
    models = folder_store.models
    judged = [verdict.read(models, run).candidates for run in runs]
    for model in ARRAYS:
        first, second = (files(models, names.candidate(run, model)) for run in runs)
        assert {"saved_model/saved_model.pb", "saved_model/fingerprint.pb"} <= set(first)
        assert sorted(first) == sorted(second), model
        # Whatever is not the same is known to hold a time.
        assert [name for name in first if first[name] != second[name] and not name.startswith(TIMES)] == [], model
    for model in NETWORKS:
        chosen = [candidate.read(models, names.candidate(run, model)).metrics["validation ndcg@10"] for run in runs]
        assert chosen[0] == pytest.approx(chosen[1], abs=1e-3), model
        assert judged[0][model]["metrics"] == pytest.approx(judged[1][model]["metrics"], abs=1e-3), model


def files(models: Bucket, path: str) -> dict[str, bytes]:
    """All that lies in a candidate, by the names inside it."""
    keys = [entry.key for entry in models.list(f"{path}/")]
    return {key.removeprefix(f"{path}/"): models.get(key) for key in keys}
