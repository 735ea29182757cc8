"""Our way through the H&M competition: three programs with a folder as their store, and what lies between them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import hm_stages
from hm_stages import Cost, Stage

RUN = "hm"
JUDGED = "2000"
"""Users by whom evaluate judges, which it has to do before anything is released."""
EXACT = Path(__file__).with_name("hm_exact.py")


@dataclass(frozen=True)
class Ours:
    """The model that `implicit` has, from a folder with the three files; the store goes into `work`.

    What has to happen for a model to be live, between the second program and the third, is not counted.
    """

    folder: Path
    work: Path
    factors: int
    iterations: int
    split: str = "time:0.001"
    seed: int = 7

    @property
    def store(self) -> Path:
        return self.work.resolve() / "store"

    def step(self, program: str, *flags: str, counted: bool = True) -> Cost:
        """A program of the pipeline, with nothing of the environment's own store or slots."""
        command = [sys.executable, "-m", f"steps.{program}", *flags, "--outputs", str(self.work / "outputs")]
        environment = {"STORE": f"file:{self.store}", "RUN": RUN, "SLOTS": "", "SAVED_MODEL": "false"}
        defaults = dict.fromkeys(("STORE_PREFIX", "DATA_BUCKET", "MODELS_BUCKET"), "")
        return hm_stages.run(Stage(program, command, {**environment, **defaults}, counted))

    def publish(self) -> Cost:
        return self.step("data_publish", "--source", str(self.folder), "--split", self.split)

    def train(self) -> Cost:
        model = f"als.factors={self.factors},als.iterations={self.iterations},als.alpha=1,als.unobserved=1"
        settings = f"{model},als.exponent=0,als.regularization=0.01,als.repeats=1"
        return self.step("train", *self._on_snapshot(), "--model", "als", "--set", settings, "--trials", "0")

    def release(self) -> list[Cost]:
        return [
            self.step("evaluate", *self._on_snapshot(), "--max-users", JUDGED, counted=False),
            self.step("model_publish", "--force", "it is measured", counted=False),
        ]

    def predict(self, k: int, shards: str) -> Cost:
        return self.step("batch_predict", "--k", str(k), "--shards", shards)

    def check(self, users: int, k: int) -> str:
        """What was predicted against brute force, in a sentence."""
        flags = ("--store", f"file:{self.store}", "--users", str(users), "--k", str(k))
        found = hm_stages.run(Stage("check", [sys.executable, str(EXACT), *flags], counted=False)).facts
        return (
            f"ours against float64 brute force, {found['users']:,} customers: {found['right']:,} of "
            f"{found['wanted']:,} items agree, overlap {found['overlap']:.6f}"
        )

    def learned(self) -> tuple[int, float]:
        """From how many pairs of a user and an item, and in how many seconds.

        It is read here as a file: a process that loads what reads candidates is not small any more.
        """
        manifest = self.store / "models" / "recommender" / "candidates" / RUN / "als" / "manifest.json"
        metrics = json.loads(manifest.read_text())["metrics"]
        return int(metrics["purchases"]), float(metrics["fit_seconds"])

    def _on_snapshot(self) -> tuple[str, ...]:
        return ("--snapshot", (self.work / "outputs" / "snapshot").read_text(), "--seed", str(self.seed))
