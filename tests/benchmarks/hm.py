"""Measures three ways from the files of the H&M competition to twelve articles for everybody, each in one run."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import hm_growth
import hm_stages
from hm_ours import Ours
from hm_stages import Cost, Stage

HERE = Path(__file__).parent
K = 12
CHECKED = 1000
"""Users whose recommendations are compared with a plain calculation."""
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
  python tests/benchmarks/hm.py --ways ours,ours                   what a first run costs, and one after it
  python tests/benchmarks/hm.py --scale 0.1 --pairs 5              fit and top 12 of ours and of implicit, turn by turn
  python tests/benchmarks/hm.py --grow --plot growth.svg           seconds and memory by rows, users, items, factors, k

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
    flags.add_argument("--pairs", type=int, metavar="TURNS", help="ours and implicit in so many turns, and no ways")
    flags.add_argument("--grow", action="store_true", help="how ours grows with rows, users, items …, and no ways")
    flags.add_argument("--plot", type=Path, metavar="FILE.svg", help="what --grow found, as a picture")
    return flags


@dataclass(frozen=True)
class Bench:
    """What is measured, where the files are, and a folder for what comes of them."""

    flags: argparse.Namespace
    folder: Path
    work: Path

    def data(self) -> None:
        """Makes the files, unless they are there."""
        sizes = ("--scale", str(self.flags.scale), "--seed", str(self.flags.seed))
        hm_stages.run(Stage("data", python("hm_data.py", *sizes, "--folder", str(self.folder)), counted=False))

    def stage(self, way: str, name: str) -> Cost:
        """A stage of `hm_ways.py`."""
        places = ("--folder", str(self.folder), "--work", str(self.work))
        model = ("--factors", str(self.flags.factors), "--iterations", str(self.flags.iterations))
        return hm_stages.run(Stage(name, python("hm_ways.py", f"{way}_{name}", *places, *model)))

    @property
    def ours(self) -> Ours:
        flags = self.flags
        return Ours(self.folder, self.work, flags.factors, flags.iterations, flags.split, flags.seed)


@dataclass(frozen=True)
class Way:
    """What a way has cost, and what there is to say of it."""

    name: str
    costs: Sequence[Cost]
    told: Sequence[str]

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


def python(program: str, *flags: str) -> list[str]:
    """A module beside this one as a process of its own."""
    return [sys.executable, str(HERE / program), *flags]


def staged(name: str) -> Callable[[Bench], Way]:
    """A way of others: load, fit and predict."""

    def way(bench: Bench) -> Way:
        costs = [bench.stage(name, stage) for stage in ("load", "fit", "predict")]
        return Way(name, costs, [f"{name} learned from {costs[1].facts['pairs']:,} pairs of a customer and an article"])

    return way


def ours(bench: Bench) -> Way:
    way = bench.ours
    costs = [way.publish(), way.train(), *way.release(), way.predict(K, bench.flags.shards)]
    pairs, fit = way.learned()
    about = f"ours learned from {pairs:,} pairs of a customer and an article; {fit:.1f} s of train are the fit alone"
    return Way("ours", costs, [about, way.check(CHECKED, K)])


WAYS = {"example": staged("example"), "library": staged("library"), "ours": ours}


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
        yield from way.told
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        if name in os.environ:
            yield f"{name}={os.environ[name]} was set, for all ways"
    if hm_stages.KERNELS in os.environ:
        yield f"{hm_stages.KERNELS}={os.environ[hm_stages.KERNELS]} was set aside, for all ways"


def run(bench: Bench) -> None:
    flags, ways = bench.flags, []
    bench.data()
    for number, name in enumerate(flags.ways.split(",")):
        work = bench.work / f"{number}-{name}"  # nothing of an earlier way is found there
        work.mkdir()
        ways.append(WAYS[name](replace(bench, work=work)))
        shutil.rmtree(work)
    print(f"scale {flags.scale:g}, {flags.factors} factors, {flags.iterations} iterations, {processors()} processors\n")
    print("\n".join([*table(ways), "", *notes(ways)]))


def run_pairs(bench: Bench) -> None:
    bench.data()
    flags = ("--turns", str(bench.flags.pairs), "--iterations", str(bench.flags.iterations))
    ended = subprocess.run(python("hm_pairs.py", "--folder", str(bench.folder), *flags), check=False).returncode
    if ended:
        raise SystemExit(ended)


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser()
    flags = asked.parse_args(arguments)
    unknown = [name for name in flags.ways.split(",") if name not in WAYS]
    if unknown:
        asked.error(f"--ways has {unknown[0]!r}: {', '.join(WAYS)} are allowed")
    if flags.plot and not flags.grow:
        asked.error("--plot draws what --grow finds: give both")
    if flags.pairs is not None and flags.pairs < 1:
        asked.error(f"--pairs is {flags.pairs}: at least 1 is allowed")
    if flags.folder:
        flags.folder.mkdir(parents=True, exist_ok=True)
    # What comes of the files lies beside them: it is large, and where temporary things go may be small.
    beside = flags.folder.resolve().parent if flags.folder else None
    with tempfile.TemporaryDirectory(prefix="hm-", dir=beside) as work:
        if flags.grow:
            hm_growth.measure(Path(work), flags.plot)
        else:
            (run_pairs if flags.pairs else run)(Bench(flags, flags.folder or Path(work) / "files", Path(work)))


if __name__ == "__main__":
    main()
