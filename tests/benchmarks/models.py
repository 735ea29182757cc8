"""Measures the model families on purchases of your choice: the real steps, the same held-out purchases for all."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.artifacts import candidate, dataset, verdict  # noqa: E402
from steps.artifacts.candidate import Candidate  # noqa: E402
from steps.artifacts.dataset import Dataset, Split  # noqa: E402
from steps.clients.object_store import Store, open_store  # noqa: E402
from steps.models import evaluation, metrics  # noqa: E402
from steps.models.evaluation import HeldOut, Measured  # noqa: E402
from steps.runtime.settings import Settings  # noqa: E402

MODELS = "popularity,als,ease,item_knn,blend"
K, MORE = 10, 50
MOST_USERS = 50_000
COMPARED = "implicit"
"""Never blended with the others: it is here to be compared with."""
COLUMNS = ("model", "nDCG@10", "95 % interval", "recall@10", "recall@50", "MAP@10", "coverage@10", "fit s", "search s")


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/models.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
examples:
  python tests/benchmarks/models.py                                       the generated shop, as it comes
  python tests/benchmarks/models.py --source ml-latest-small.zip --split random:0.25 --trials 20
  python tests/benchmarks/models.py --source sales.csv --columns user=household,item=product,time=day

The purchases are published, every model is trained, the best are blended, and evaluate decides, each as the program
that a workflow runs. The table comes from the candidates that these left, all asked about the same purchases of the
test split. With the library implicit installed, its ALS is measured too, as it comes and after a search.""",
    )
    flags.add_argument("--source", default="demo:", help="what data_publish reads (default: %(default)s)")
    flags.add_argument("--columns", default="", help="which columns those are, as data_publish takes them")
    flags.add_argument("--split", default="auto", help="what is held out (default: %(default)s, by time if it can)")
    flags.add_argument("--models", default=MODELS, help="default: %(default)s")
    flags.add_argument("--set", default="", metavar="MODEL.NAME=VALUE,…", help="settings, as train takes them")
    flags.add_argument("--trials", default="1", help="settings tried for each model (default: %(default)s)")
    flags.add_argument("--budget", default="", metavar="SECONDS", help="begin no trial after so long (default: any)")
    flags.add_argument("--implicit-trials", default="20", help="for implicit's search; 0 leaves it out (default: 20)")
    flags.add_argument("--seed", default="7", help="of the random split and of training (default: %(default)s)")
    flags.add_argument("--store", default="", metavar="FOLDER", help="keep everything there (default: nothing is kept)")
    return flags


@dataclass(frozen=True)
class Bench:
    """Where the steps run, and what they are asked."""

    store: Store
    address: str
    flags: argparse.Namespace

    def step(self, program: str, *flags: str, run: str = "") -> dict[str, str]:
        """Runs a program; what it left as outputs. Ends with its exit code where it fails."""
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as outputs:
            command = [sys.executable, "-m", f"steps.{program}", *flags, "--outputs", outputs]
            environment = {**os.environ, "STORE": self.address, "RUN": run, "PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.stderr.write(done.stderr)
                raise SystemExit(done.returncode)
            said = {path.name: path.read_text() for path in Path(outputs).iterdir()}
        print(f"{program} {' '.join(flags)}: {time.perf_counter() - began:.1f} s", file=sys.stderr)
        return said

    def publish(self) -> str:
        asked = self.flags
        flags = ("--source", asked.source, "--columns", asked.columns, "--split", asked.split, "--seed", asked.seed)
        return self.step("data_publish", *flags)["snapshot"]

    def train(self, snapshot: str, run: str, models: Sequence[str], trials: str) -> list[Candidate]:
        at = ("--snapshot", snapshot, "--seed", self.flags.seed)
        asked = ("--models", ",".join(models), "--set", self.flags.set)
        planned = self.step("plan", "--snapshot", snapshot, *asked, "--again", "true", run=run)
        print(planned["reason"], file=sys.stderr)
        search = ("--set", self.flags.set, "--trials", trials, "--budget", self.flags.budget)
        for model in json.loads(planned["models"]):
            self.step("train", *at, "--model", model, *search, run=run)
        if "blend" in models:
            self.step("blend", *at, run=run)
        return candidate.of_run(self.store.models, run)


@dataclass(frozen=True)
class Row:
    """A model and what it showed."""

    name: str
    made: Candidate
    measured: Measured

    def cells(self, items: int) -> Iterator[str]:
        ndcg = self.measured.per_user("ndcg", K)
        low, high = metrics.interval(ndcg)
        yield self.name
        yield f"{ndcg.mean():.4f}"
        yield f"{low:.4f} to {high:.4f}"
        yield from (f"{self.measured.mean('recall', k):.4f}" for k in (K, MORE))
        yield f"{self.measured.mean('map', K):.4f}"
        yield f"{metrics.coverage(self.measured.shown[:, :K], items):.3f}"
        fitted = self.made.metrics.get("fit_seconds")  # a blend's members are fitted, it is not
        yield "" if fitted is None else f"{fitted:.1f}"
        yield "" if fitted is None else f"{sum(trial['seconds'] for trial in self.made.search):.1f}"


def measured(bench: Bench, made: Sequence[Candidate], data: Dataset, held: HeldOut, note: str = "") -> list[Row]:
    rows = []
    for one in made:
        with tempfile.TemporaryDirectory() as scratch:
            scorer, _ = candidate.scorer(bench.store.models, one, Path(scratch))
            rows.append(Row(f"{one.model}{note}", one, evaluation.measure(scorer, held, MORE)))
    return rows


def table(rows: Sequence[Row], items: int) -> Iterator[str]:
    """Lines of Markdown, the best model first."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"| {' | '.join('---' for _ in COLUMNS)} |"
    for row in sorted(rows, key=lambda row: -row.measured.mean("ndcg", K)):
        yield f"| {' | '.join(row.cells(items))} |"


def run(bench: Bench) -> None:
    flags = bench.flags
    snapshot = bench.publish()
    models = [name for name in flags.models.split(",") if name != COMPARED]
    with tempfile.TemporaryDirectory() as scratch:
        data = dataset.load(bench.store, snapshot, Path(scratch))
    learnt = data.interactions(Split.TRAIN, Split.VALIDATION).matrix
    held = evaluation.held_out(learnt, data.interactions(Split.TEST).matrix, MOST_USERS, int(flags.seed))
    rows = measured(bench, bench.train(snapshot, "ours", models, flags.trials), data, held)
    bench.step("evaluate", "--snapshot", snapshot, "--seed", flags.seed, run="ours")
    if flags.implicit_trials != "0":
        for trials in dict.fromkeys(["1", flags.implicit_trials]):
            made = bench.train(snapshot, f"{COMPARED}-{trials}", [COMPARED], trials)
            rows += measured(bench, made, data, held, ", as it comes" if trials == "1" else f", {trials} trials")
    counts = f"{len(data):,} purchases of {len(data.items):,} items by {len(data.users):,} users"
    split = data.manifest["split"]["rule"]
    print(f"{flags.source}: {counts}; split {split}, {len(held.users):,} users asked, trials {flags.trials}\n")
    print("\n".join(table(rows, len(data.items))))
    print(f"\nevaluate: {verdict.read(bench.store.models, 'ours').reason}")


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        address = f"file:{Path(flags.store or scratch).resolve()}"
        run(Bench(open_store(Settings.from_environment({"STORE": address})), address, flags))


if __name__ == "__main__":
    main()
