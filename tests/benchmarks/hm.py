"""Measures three ways from the files of the H&M competition to twelve articles for everybody, each in one run."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import hm_stages
from hm_stages import Cost, Stage

HERE = Path(__file__).parent
RUN = "hm"
K = 12
CHECKED = 1000
"""Users whose recommendations are compared with a plain calculation."""
JUDGED = "2000"
"""Users by whom evaluate judges, which it has to do before anything is released; it is not counted."""
GIB = 1 << 30


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/hm.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
the ways:
  example   pandas, loops over rows, implicit's ALS as it comes, one call a customer: as examples of the competition do
  library   polars, implicit with one thread for each of its matrix products, many customers a call
  ours      data_publish, train --model als and batch_predict, three programs with a folder as their store

examples:
  python tests/benchmarks/hm.py                                    a hundredth of the competition, the three ways
  python tests/benchmarks/hm.py --scale 0.1 --folder hm-0.1        a tenth; the files stay in hm-0.1 for the next time
  python tests/benchmarks/hm.py --scale 1 --folder hm --ways ours  all of it, ours alone; 3 GB of files, 8 GB of disk

The files are made up, of the competition's shape. Each stage is a process of its own: seconds by the clock, seconds of
processors, and the most memory are its own. Where the example would take an hour, it does a part, and the table
says of which the rest was extrapolated. All three fit the same model: so many factors, alpha 1, regularization 0.01.
What ours wrote is compared with a plain calculation in float64 for 1,000 customers at random.""",
    )
    flags.add_argument("--scale", type=float, default=0.01, help="1 is the whole competition (default: %(default)s)")
    flags.add_argument("--factors", type=int, default=200, help="default: %(default)s")
    flags.add_argument("--iterations", type=int, default=5, help="default: %(default)s")
    flags.add_argument("--ways", default=",".join(WAYS), help="which, in which order (default: %(default)s)")
    flags.add_argument("--seed", type=int, default=7, help="of the files and of ours (default: %(default)s)")
    flags.add_argument("--folder", type=Path, help="keep the files there, or use them again (default: kept nowhere)")
    flags.add_argument("--split", default="time:0.001", help="what ours holds out of the fit (default: %(default)s)")
    flags.add_argument("--shards", default="4", help="of ours' batch_predict (default: %(default)s)")
    return flags


@dataclass(frozen=True)
class Bench:
    """What is measured, where the files are, and a folder for what comes of them."""

    flags: argparse.Namespace
    folder: Path
    work: Path

    def step(self, program: str, *flags: str, counted: bool = True) -> Stage:
        outputs = ("--outputs", str(self.work / "outputs"))
        environment = {"STORE": self.store, "RUN": RUN, "SLOTS": "", "SAVED_MODEL": "false", "STORE_PREFIX": ""}
        return Stage(program, python("-m", f"steps.{program}", *flags, *outputs), environment, counted)

    def way(self, name: str) -> Stage:
        """A stage of `hm_ways.py`."""
        places = ("--folder", str(self.folder), "--work", str(self.work))
        model = ("--factors", str(self.flags.factors), "--iterations", str(self.flags.iterations))
        return Stage(name.partition("_")[2], python(str(HERE / "hm_ways.py"), name, *places, *model))

    @property
    def store(self) -> str:
        return f"file:{self.work.resolve() / 'store'}"

    def output(self, name: str) -> str:
        """What the last step left under that name."""
        return (self.work / "outputs" / name).read_text()

    def object(self, key: str) -> dict[str, object]:
        """A JSON object of the models' bucket, which this process reads by itself, to stay small."""
        return dict(json.loads((self.work / "store" / "models" / "recommender" / key).read_text()))


@dataclass(frozen=True)
class Way:
    """What a way has cost, and how many pairs of a customer and an article it has learned from."""

    name: str
    costs: Sequence[Cost]
    pairs: int

    @property
    def counted(self) -> list[Cost]:
        return [cost for cost in self.costs if cost.stage.counted]

    @property
    def seconds(self) -> float:
        return sum(cost.seconds for cost in self.counted)

    @property
    def processor(self) -> float:
        return sum(cost.processor for cost in self.counted)

    @property
    def memory(self) -> int:
        return max(cost.memory for cost in self.counted)


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def staged(name: str) -> Callable[[Bench], Way]:
    """A way of others: load, fit and predict."""

    def way(bench: Bench) -> Way:
        costs = [hm_stages.run(bench.way(f"{name}_{stage}")) for stage in ("load", "fit", "predict")]
        return Way(name, costs, int(costs[1].facts["pairs"]))

    return way


def ours(bench: Bench) -> Way:
    """Three programs; what has to lie between the second and the third, for a model to be live, is not counted."""
    flags = bench.flags
    model = f"als.factors={flags.factors},als.iterations={flags.iterations},als.alpha=1,als.unobserved=1"
    model += ",als.exponent=0,als.regularization=0.01,als.repeats=1"
    published = hm_stages.run(bench.step("data_publish", "--source", str(bench.folder), "--split", flags.split))
    at = ("--snapshot", bench.output("snapshot"), "--seed", str(flags.seed))
    costs = [published, hm_stages.run(bench.step("train", *at, "--model", "als", "--set", model, "--trials", "0"))]
    costs.append(hm_stages.run(bench.step("evaluate", *at, "--max-users", JUDGED, counted=False)))
    costs.append(hm_stages.run(bench.step("model_publish", "--force", "it is measured", counted=False)))
    costs.append(hm_stages.run(bench.step("batch_predict", "--k", str(K), "--shards", flags.shards)))
    metrics = dict(bench.object(f"candidates/{RUN}/als/manifest.json")["metrics"])  # type: ignore[call-overload]
    return Way("ours", costs, int(metrics["purchases"]))


WAYS = {"example": staged("example"), "library": staged("library"), "ours": ours}


def check(bench: Bench) -> str:
    """Ours against brute force, in a sentence."""
    command = python(str(HERE / "hm_exact.py"), "--store", bench.store, "--users", str(CHECKED), "--k", str(K))
    found = hm_stages.run(Stage("check", command, counted=False)).facts
    return (
        f"ours against float64 brute force, {found['users']:,} customers: {found['right']:,} of {found['wanted']:,} "
        f"items agree, overlap {found['overlap']:.6f}"
    )


def table(ways: Sequence[Way]) -> Iterator[str]:
    """Lines of Markdown: a stage each, and the sums that are compared with the first way's."""
    first = ways[0]
    titles = ("way", "stage", "seconds", "processor s", f"times as fast as {first.name}", "peak memory")
    yield from (row(titles), row("---" for _ in titles))
    for way in ways:
        for cost in way.costs:
            about = "≈ " if cost.note else ""
            name = cost.stage.name if cost.stage.counted else f"({cost.stage.name}, not counted)"
            figures = (f"{about}{cost.seconds:.1f}", f"{about}{cost.processor:.1f}", "", size(cost.memory))
            yield row((way.name, name, *figures))
        about = "≈ " if any(cost.note for cost in way.costs) else ""
        sums = (f"**{about}{way.seconds:.1f}**", f"{about}{way.processor:.1f}", f"{first.seconds / way.seconds:.1f}")
        yield row((way.name, "**all**", *sums, size(way.memory)))


def row(cells: Sequence[str] | Iterator[str]) -> str:
    return f"| {' | '.join(cells)} |"


def size(memory: int) -> str:
    return f"{memory / GIB:.2f} GiB"


def notes(ways: Sequence[Way]) -> Iterator[str]:
    """What the table leaves unsaid."""
    for way in ways:
        for cost in way.costs:
            if cost.note:
                yield f"≈ {way.name}, {cost.stage.name}: extrapolated; {cost.note}"
        yield f"{way.name} learned from {way.pairs:,} pairs of a customer and an article"
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if name in os.environ:
            yield f"{name}={os.environ[name]} was set, for all ways"


def run(bench: Bench) -> None:
    flags, ways = bench.flags, []
    data = ("--scale", str(flags.scale), "--seed", str(flags.seed), "--folder", str(bench.folder))
    hm_stages.run(Stage("data", python(str(HERE / "hm_data.py"), *data), counted=False))
    for name in flags.ways.split(","):
        ways.append(WAYS[name](bench))
    print(f"scale {flags.scale:g}, {flags.factors} factors, {flags.iterations} iterations, {processors()} processors\n")
    print("\n".join([*table(ways), "", *notes(ways)]))
    if "ours" in flags.ways.split(","):
        print(check(bench))


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser()
    flags = asked.parse_args(arguments)
    unknown = [name for name in flags.ways.split(",") if name not in WAYS]
    if unknown:
        asked.error(f"--ways has {unknown[0]!r}: {', '.join(WAYS)} are allowed")
    if flags.folder:
        flags.folder.mkdir(parents=True, exist_ok=True)
    # What comes of the files lies beside them: it is large, and where temporary things go may be small.
    beside = flags.folder.resolve().parent if flags.folder else None
    with tempfile.TemporaryDirectory(prefix="hm-", dir=beside) as work:
        run(Bench(flags, flags.folder or Path(work) / "files", Path(work)))


if __name__ == "__main__":
    main()
