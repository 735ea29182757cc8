"""Makes up a release of any size: nothing is learned, but its vectors are spread as als leaves those of purchases."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.artifacts import candidate, records, release  # noqa: E402
from steps.artifacts.candidate import Candidate  # noqa: E402
from steps.artifacts.release import Release  # noqa: E402
from steps.clients.object_store import Bucket, open_store  # noqa: E402
from steps.models.factors import Factors  # noqa: E402
from steps.models.fold_in import FoldIn  # noqa: E402
from steps.models.ids import IdTable  # noqa: E402
from steps.models.recommender import Floats  # noqa: E402
from steps.models.scorer import Shared  # noqa: E402
from steps.runtime.settings import Settings  # noqa: E402

RUN = "made-up"
TASTES, TASTES_EACH, APART = 300, 3, 0.7
"""Directions that vectors have, of how many a customer likes, and how far items are from them."""
MIDDLE, SPREAD = 0.055, 1.3
"""Of the items' lengths, and of the logarithm of all: a tenth of the competition gives als such, alpha being 1."""
WHO_BUYS_MORE = 1.2
MOST_BOUGHT = 2000
USERS_AT_ONCE = 1 << 16

Reals = npt.NDArray[np.floating]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/serving_release.py",
        description=__doc__,
        epilog="example: python tests/benchmarks/serving_release.py --folder big --customers 1371980 --items 105542",
    )
    add_flags(flags)
    flags.add_argument("--folder", type=Path, required=True, help="of the store; nothing is made where one is live")
    return flags


def add_flags(flags: argparse.ArgumentParser) -> None:
    flags.add_argument("--customers", type=int, default=137_198, help="default: %(default)s")
    flags.add_argument("--items", type=int, default=33_375, help="default: %(default)s")
    flags.add_argument("--factors", type=int, default=200, help="default: %(default)s")
    flags.add_argument(
        "--bought", type=float, default=20, help="items that a customer has, mean (default: %(default)s)"
    )
    flags.add_argument("--seed", type=int, default=7, help="another one, other vectors (default: %(default)s)")


@dataclass(frozen=True)
class Size:
    """How many there are."""

    customers: int
    items: int
    factors: int
    bought: float
    seed: int

    @classmethod
    def of(cls, flags: argparse.Namespace) -> Size:
        return cls(flags.customers, flags.items, flags.factors, flags.bought, flags.seed)


def models_of(folder: Path) -> Bucket:
    return open_store(Settings.from_environment({"STORE": f"file:{folder}"})).models


def require(folder: Path, size: Size) -> None:
    """A store in which a release of this size is live; made unless it is there."""
    models = models_of(folder)
    live = release.live(models)
    if live is not None:
        if candidate.read(models, live.candidate).settings != asdict(size):
            raise SystemExit(f"{folder} holds a release of another size: name another folder, or empty it")
        return
    made = Candidate(
        run=RUN, model="als", snapshot="", settings=asdict(size), seed=size.seed, metrics={}, expected=[],
        libraries={}, source_revision="", seconds=0, peak_memory=0, created=records.now(),
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    # On the same disk as the store, which takes the files without a copy.
    with tempfile.TemporaryDirectory(dir=folder) as work:
        scorer, seen = factors(size)
        scorer.save(Path(work) / Factors.folder, seen)
        made = candidate.write(models, made, Path(work))
    release.create(
        models,
        Release(
            version=1, slot="blue", candidate=made.path, model=made.model, snapshot="", run=RUN, previous=0,
            reason="it is measured", metrics={}, created=records.now(),
        ),
    )  # fmt: skip


def factors(size: Size) -> tuple[Factors, sp.csr_matrix]:
    random = np.random.default_rng(size.seed)
    users = IdTable.of([f"{number:064x}" for number in range(size.customers)])
    items = IdTable.of([f"{number:010d}" for number in range(size.items)])
    popularity = np.sort(random.lognormal(0, SPREAD, size.items))[::-1]
    random.shuffle(popularity)
    shared = Shared(users, items, np.ones(len(users), bool), (popularity / popularity.sum()).astype(np.float32))
    tastes = random.standard_normal((TASTES, size.factors), np.float32)
    tastes /= np.linalg.norm(tastes, axis=1, keepdims=True)
    of_users = np.empty((size.customers, size.factors), np.float32)
    for start in range(0, size.customers, USERS_AT_ONCE):
        part = of_users[start : start + USERS_AT_ONCE]
        part[:] = vectors(random, tastes, random.lognormal(-1, 1, len(part)), TASTES_EACH)
    of_items = vectors(random, tastes, MIDDLE * popularity, 1)
    how = FoldIn(confidence=2, unobserved=1, regularization=0.01)
    return Factors(shared, of_users, of_items, how), bought(random, size, popularity)


def vectors(random: np.random.Generator, tastes: Floats, lengths: Reals, each: int) -> Floats:
    """Of these lengths, each somewhere between so many tastes."""
    towards = random.standard_normal((len(lengths), tastes.shape[1]), np.float32) * (APART / np.sqrt(tastes.shape[1]))
    for _ in range(each):
        towards += tastes[random.integers(0, len(tastes), len(lengths))] / np.sqrt(each)
    towards *= (lengths / np.linalg.norm(towards, axis=1))[:, None]
    return towards


def bought(random: np.random.Generator, size: Size, popularity: Reals) -> sp.csr_matrix:
    """The popular by many, and much by some."""
    many = random.lognormal(np.log(size.bought) - WHO_BUYS_MORE**2 / 2, WHO_BUYS_MORE, size.customers)
    counts = np.clip(np.round(many), 1, MOST_BOUGHT).astype(np.int64)
    limits = np.cumsum(popularity / popularity.sum())
    items = np.searchsorted(limits, random.random(counts.sum(), np.float32)).clip(max=size.items - 1)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    matrix = sp.csr_matrix((np.ones(len(items), bool), items.astype(np.int32), indptr), (size.customers, size.items))
    matrix.sum_duplicates()
    return matrix


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    require(flags.folder, Size.of(flags))


if __name__ == "__main__":
    main()
