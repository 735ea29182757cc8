"""Two ways of others through the H&M competition, stage by stage: an example's, and one that uses libraries well.

Every stage is a process of its own: it reads what the one before left in the work folder. Where a stage does only a
part of what would take an hour, it says how much longer the whole takes; see `Said`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hm_data
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.models.blas import one_thread, processors  # noqa: E402
from steps.runtime.progress import progress  # noqa: E402

MATRIX, MODEL, SUBMISSION = "matrix.npz", "model.npz", "submission.csv"
K = 12
SAMPLED_ROWS, SAMPLED_CUSTOMERS = 1_000_000, 2000
"""More are not gone through one by one."""
AT_ONCE = 10_000
"""Customers that are recommended to in one call."""


@dataclass(frozen=True)
class Said:
    """How much longer a stage would have taken with all that it has left out, in seconds, and what that was."""

    more_wall: float = 0.0
    more_processor: float = 0.0
    about: str = ""
    pairs: int = 0
    """Of a customer and an article: what is learned from."""


@dataclass(frozen=True)
class Asked:
    """Where the files are, and which model is wanted."""

    folder: Path
    work: Path
    factors: int
    iterations: int


class Loop:
    """Times a loop over some of many, and says what all of them would take."""

    def __init__(self, what: str, some: int, total: int) -> None:
        self.what, self.some, self.total = what, some, total

    def over(self, values: Iterable[Any], one: Callable[[Any], Any]) -> tuple[list[Any], Said]:
        wall, processor = time.perf_counter(), time.process_time()
        with progress(self.what, self.some) as bar:
            found = []
            for number, value in enumerate(values, 1):
                found.append(one(value))
                if number % 1000 == 0:
                    bar.advance(1000)
        more = self.total / max(self.some, 1) - 1
        told = f"{self.what}: {self.some:,} of {self.total:,} done" if self.some < self.total else ""
        return found, Said(more * (time.perf_counter() - wall), more * (time.process_time() - processor), told)


def added(*parts: Said, pairs: int = 0) -> Said:
    about = "; ".join(part.about for part in parts if part.about)
    return Said(sum(part.more_wall for part in parts), sum(part.more_processor for part in parts), about, pairs)


def example_load(asked: Asked) -> Said:
    """pandas, a dict an id, and a loop over the rows for each of both columns."""
    import pandas as pd

    rows = pd.read_csv(asked.folder / hm_data.ROWS_FILE)
    customers = pd.read_csv(asked.folder / hm_data.CUSTOMERS_FILE)
    articles = pd.read_csv(asked.folder / hm_data.ARTICLES_FILE)
    pairs = rows.groupby(["customer_id", "article_id"])["t_dat"].count().reset_index(name="times")
    user, first = looped(pairs, "customer_id", list(customers["customer_id"]))
    item, second = looped(pairs, "article_id", list(articles["article_id"]))
    shape = (len(customers), len(articles))
    sp.save_npz(asked.work / MATRIX, sp.coo_matrix((pairs["times"].to_numpy(np.float32), (user, item)), shape), False)
    return added(first, second, pairs=len(pairs))


def looped(pairs: Any, column: str, ids: Sequence[object]) -> tuple[npt.NDArray[np.int32], Said]:
    """The code of each row's id. What the loop leaves out is done at once, and its time taken off again."""
    codes = {one: code for code, one in enumerate(ids)}
    some = min(len(pairs), SAMPLED_ROWS)
    found, said = Loop(f"{column} of rows", some, len(pairs)).over(range(some), lambda row: codes[pairs[column][row]])
    wall, processor = time.perf_counter(), time.process_time()
    rest = pairs[column].iloc[some:].map(codes).to_numpy(np.int32)
    off = Said(wall - time.perf_counter(), processor - time.process_time())
    return np.concatenate([np.array(found, np.int32), rest]), added(said, off)


def example_fit(asked: Asked) -> Said:
    """The library as it comes."""
    return fit(asked, learned_from(asked), {})


def example_predict(asked: Asked) -> Said:
    """One call a customer."""
    matrix, model = learned_from(asked), fitted(asked)
    total = matrix.shape[0]
    some = np.random.default_rng(7).permutation(total)[:SAMPLED_CUSTOMERS]
    loop = Loop("customers", len(some), total)
    return loop.over(some, lambda code: model.recommend(code, matrix[code], N=K))[1]


def library_load(asked: Asked) -> Said:
    """polars, with the customers as an enumeration, so that no id is held twice."""
    import pandas as pd
    import polars as pl

    customers = pl.read_csv(asked.folder / hm_data.CUSTOMERS_FILE)["customer_id"]
    articles = pl.read_csv(asked.folder / hm_data.ARTICLES_FILE)["article_id"].to_numpy()
    rows = (
        pl.scan_csv(asked.folder / hm_data.ROWS_FILE, schema_overrides={"article_id": pl.Int64})
        .select(pl.col("customer_id").cast(pl.Enum(customers)).to_physical().cast(pl.Int32), "article_id")
        .collect(engine="streaming")
    )
    item = pd.Index(articles).get_indexer(pd.Index(rows["article_id"].to_numpy())).astype(np.int32)
    shape = (len(customers), len(articles))
    matrix = sp.csr_matrix((np.ones(len(item), np.float32), (rows["customer_id"].to_numpy(), item)), shape)
    matrix.sum_duplicates()
    sp.save_npz(asked.work / MATRIX, matrix, compressed=False)
    return Said(pairs=matrix.nnz)


def library_fit(asked: Asked) -> Said:
    """Threads of the library's own, and one for each of its matrix products."""
    import implicit.cpu.als  # noqa: F401 - brings a BLAS of its own, and only those are held that are there

    with one_thread():
        return fit(asked, learned_from(asked), {"num_threads": processors()})


def library_predict(asked: Asked) -> Said:
    """Many customers a call, and the file that the competition takes."""
    import polars as pl

    matrix, model = learned_from(asked), fitted(asked)
    total = matrix.shape[0]
    found = np.empty((total, K), np.int32)
    with one_thread(), progress("customers", total) as bar:
        for start in range(0, total, AT_ONCE):
            codes = np.arange(start, min(start + AT_ONCE, total))
            found[codes] = model.recommend(codes, matrix[codes], N=K)[0]
            bar.advance(len(codes))
    customers = pl.read_csv(asked.folder / hm_data.CUSTOMERS_FILE)["customer_id"]
    articles = pl.read_csv(asked.folder / hm_data.ARTICLES_FILE, schema_overrides={"article_id": pl.String})
    shown = articles["article_id"].gather(found.ravel()).reshape((total, K)).arr.join(" ")
    pl.DataFrame([customers, shown.alias("prediction")]).write_csv(asked.work / SUBMISSION)
    return Said()


def learned_from(asked: Asked) -> sp.csr_matrix:
    return sp.csr_matrix(sp.load_npz(asked.work / MATRIX))


def fit(asked: Asked, matrix: sp.csr_matrix, more: dict[str, Any]) -> Said:
    from implicit.cpu.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=asked.factors, iterations=asked.iterations, random_state=7, **more)
    with progress("fitting", asked.iterations) as bar:
        model.fit(matrix, show_progress=False, callback=lambda *_: bar.advance())
    model.save(str(asked.work / MODEL))
    return Said(pairs=matrix.nnz)


def fitted(asked: Asked) -> Any:
    from implicit.cpu.als import AlternatingLeastSquares

    return AlternatingLeastSquares.load(str(asked.work / MODEL))


STAGES = {
    function.__name__: function
    for function in (example_load, example_fit, example_predict, library_load, library_fit, library_predict)
}


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(prog="python tests/benchmarks/hm_ways.py", description=__doc__)
    flags.add_argument("stage", choices=STAGES)
    flags.add_argument("--folder", type=Path, required=True, help="with the three files")
    flags.add_argument("--work", type=Path, required=True, help="what the stages leave for each other")
    flags.add_argument("--factors", type=int, default=200, help="default: %(default)s")
    flags.add_argument("--iterations", type=int, default=5, help="default: %(default)s")
    asked = flags.parse_args(arguments)
    said = STAGES[asked.stage](Asked(asked.folder, asked.work, asked.factors, asked.iterations))
    print(json.dumps(asdict(said)))


if __name__ == "__main__":
    main()
