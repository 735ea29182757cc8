"""Ours beside `implicit`, in turns: the fit of the same model, and the best twelve for the same customers.

Other work on a machine slows both alike where they take turns, so their ratio says more than seconds do.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hm_ways
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from hm_ways import Asked

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.models.als import ALS, ALSSettings  # noqa: E402
from steps.models.blas import one_thread, processors  # noqa: E402
from steps.models.factors import Factors  # noqa: E402
from steps.models.ids import IdTable  # noqa: E402
from steps.models.interactions import Interactions  # noqa: E402
from steps.runtime.progress import progress  # noqa: E402

FACTORS = (64, 128, 200)
K = 12
MOST_ASKED = 20_000
"""Customers that are recommended to in one turn."""
Work = Callable[[], object]


@dataclass(frozen=True)
class Spent:
    """Seconds by the clock and of processors."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Pairs:
    """What both have spent, turn by turn."""

    what: str
    factors: int
    theirs: Sequence[Spent]
    ours: Sequence[Spent]

    def cells(self) -> Iterator[str]:
        yield self.what
        yield str(self.factors)
        for spent in (self.theirs, self.ours):
            yield spread([one.wall for one in spent])
        for measure in ("wall", "processor"):
            yield spread(
                [getattr(t, measure) / getattr(o, measure) for t, o in zip(self.theirs, self.ours, strict=True)]
            )


def spread(values: Sequence[float]) -> str:
    """The median, the least and the most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def spent(work: Work) -> Spent:
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return Spent(time.perf_counter() - wall, time.process_time() - processor)


def in_turns(what: str, factors: int, theirs: Work, ours: Work, turns: int) -> Pairs:
    """Each as often, and each as often first. What only a first call costs is spent before."""
    theirs(), ours()
    found: dict[Work, list[Spent]] = {theirs: [], ours: []}
    with progress(f"{what} at {factors}", turns) as bar:
        for turn in range(turns):
            for work in (theirs, ours) if turn % 2 else (ours, theirs):
                found[work].append(spent(work))
            bar.advance()
    return Pairs(what, factors, found[theirs], found[ours])


def purchases(folder: Path) -> Interactions:
    """Read as the libraries' way reads them."""
    with tempfile.TemporaryDirectory() as work:
        asked = Asked(folder, Path(work), 1, 1)
        hm_ways.library_load(asked)
        matrix = hm_ways.learned_from(asked)
    users, items = (IdTable.of([f"{number:08d}" for number in range(count)]) for count in matrix.shape)
    return Interactions(users, items, matrix)


class Implicit:
    """The library as its notes advise: threads of its own, and one for each of its matrix products."""

    def __init__(self, factors: int, iterations: int) -> None:
        from implicit.cpu.als import AlternatingLeastSquares

        self.settings = {"factors": factors, "iterations": iterations, "num_threads": processors()}
        self.make = AlternatingLeastSquares
        self.model: Any = None

    def fit(self, matrix: sp.csr_matrix) -> None:
        with one_thread():
            self.model = self.make(**self.settings, random_state=7)
            self.model.fit(matrix, show_progress=False)

    def recommend(self, users: npt.NDArray[np.int32], hidden: sp.csr_matrix) -> tuple[Any, Any]:
        with one_thread():
            items, scores = self.model.recommend(users, hidden, N=K)
        return items, scores


def measured(bought: Interactions, factors: int, iterations: int, turns: int) -> Iterator[Pairs]:
    """The fit, and then the recommendations of what implicit has fitted, by both."""
    settings = ALSSettings(factors, regularization=0.01, unobserved=1, exponent=0, repeats=1, iterations=iterations)
    library, model = Implicit(factors, iterations), ALS(settings)
    yield in_turns("fit", factors, lambda: library.fit(bought.matrix), lambda: model.fit(bought, seed=7), turns)

    vectors = library.model.user_factors, library.model.item_factors
    scorer = Factors(model.scorer.shared, *vectors)
    users = np.flatnonzero(scorer.trained)
    chosen = np.sort(np.random.default_rng(7).permutation(users)[:MOST_ASKED]).astype(np.int32)
    hidden = sp.csr_matrix(bought.matrix[chosen])
    require_same(library.recommend(chosen, hidden)[1], scorer.recommend(chosen, K, hidden).scores)
    what = f"top {K} for {len(chosen):,}"
    theirs, ours = lambda: library.recommend(chosen, hidden), lambda: scorer.recommend(chosen, K, hidden)
    yield in_turns(what, factors, theirs, ours, turns)


def require_same(theirs: npt.NDArray[np.float32], ours: npt.NDArray[np.float32]) -> None:
    """What is compared must be the same work: the same scores, but for the order in which they were summed up."""
    if not np.allclose(theirs, ours, rtol=1e-3, atol=1e-5):
        raise SystemExit("implicit and ours do not recommend the same")


def table(rows: Iterator[Pairs]) -> Iterator[str]:
    """Lines of Markdown as they come."""
    titles = ("what", "factors", "implicit s", "ours s", "times as fast", "by processor s")
    yield f"| {' | '.join(titles)} |"
    yield f"| {' | '.join('---' for _ in titles)} |"
    for pairs in rows:
        yield f"| {' | '.join(pairs.cells())} |"


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(prog="python tests/benchmarks/hm_pairs.py", description=__doc__)
    flags.add_argument("--folder", type=Path, required=True, help="with the three files")
    flags.add_argument("--turns", type=int, default=5, help="of each (default: %(default)s)")
    flags.add_argument("--iterations", type=int, default=5, help="of a fit (default: %(default)s)")
    flags.add_argument("--factors", default=",".join(map(str, FACTORS)), help="default: %(default)s")
    asked = flags.parse_args(arguments)
    widths = [int(width) for width in asked.factors.split(",")]
    bought = purchases(asked.folder)
    rows = (pairs for width in widths for pairs in measured(bought, width, asked.iterations, asked.turns))
    for line in table(rows):
        print(line, flush=True)


if __name__ == "__main__":
    main()
