"""Compares recommendations that were written for everybody with what a plain calculation in float64 finds."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import scipy.sparse as sp

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.artifacts import candidate, names, release  # noqa: E402
from steps.clients.object_store import Store, open_store  # noqa: E402
from steps.models.factors import Factors  # noqa: E402
from steps.runtime.settings import Settings  # noqa: E402

ROUNDING = 16 * float(np.finfo(np.float32).eps)
"""Two products of the same vectors, summed up in another order, differ by less than this share of their lengths."""


@dataclass(frozen=True)
class Agreement:
    """How many of the items that these users should see they do see; of equal ones it may be any."""

    users: int
    right: int
    wanted: int

    @property
    def overlap(self) -> float:
        return self.right / max(self.wanted, 1)


def agreement(
    factors: Factors, seen: sp.csr_matrix, codes: npt.NDArray[np.integer], shown: list[list[str]], k: int
) -> Agreement:
    """By the definition: all scores of a user, without what was bought, and the largest of those."""
    items = np.asarray(factors.item_factors, np.float64)
    longest = float(np.linalg.norm(items, axis=1).max())
    right = wanted = 0
    for code, own in zip(codes, shown, strict=True):
        vector = np.asarray(factors.user_factors[code], np.float64)
        known = bool(factors.trained[code])
        scores = items @ vector if known else np.asarray(factors.popularity, np.float64)
        scores[seen.indices[seen.indptr[code] : seen.indptr[code + 1]]] = -np.inf
        left = int(np.isfinite(scores).sum())
        count = min(k, left)
        least = np.partition(scores, len(scores) - count)[len(scores) - count] if count else np.inf
        slack = ROUNDING * (float(np.linalg.norm(vector)) * longest if known else abs(float(least)))
        found = factors.items.codes(list(dict.fromkeys(own)))
        right += int((scores[found[found >= 0]] >= least - slack).sum())
        wanted += max(count, len(own))
    return Agreement(len(shown), right, wanted)


def predictions(store: Store, version: int) -> pl.DataFrame:
    """Users with their items, in the order of their ids."""
    keys = [entry.key for entry in store.models.list(f"{names.predictions(version)}/part-")]
    with tempfile.TemporaryDirectory() as scratch:
        parts = []
        for key in sorted(key for key in keys if key.endswith(".parquet")):
            store.models.get_file(key, Path(scratch) / "part.parquet")
            parts.append(pl.read_parquet(Path(scratch) / "part.parquet", columns=["user", "items"]))
    return pl.concat(parts).sort("user")


def compare(store: Store, asked: int, k: int, seed: int) -> Agreement:
    """Some users at random of all that the live release knows."""
    live = release.require(store.models, "live")
    shown = predictions(store, live.version)
    with tempfile.TemporaryDirectory() as scratch:
        made = candidate.read(store.models, live.candidate)
        factors, seen = candidate.scorer(store.models, made, Path(scratch))
        if not isinstance(factors, Factors):
            raise SystemExit(f"{made.path} ({made.model}) is no model of dot products")
        if len(shown) != len(factors.users):
            raise SystemExit(f"{len(shown)} users have recommendations, and the model knows {len(factors.users)}")
        chosen = np.sort(np.random.default_rng(seed).permutation(len(shown))[:asked])
        some = shown[chosen]
        codes = factors.users.codes(some["user"].to_list())
        if not np.array_equal(codes, chosen):
            raise SystemExit("the users of the recommendations are not those of the model")
        return agreement(factors, seen, codes, some["items"].to_list(), k)


def main(arguments: Sequence[str] | None = None) -> None:
    flags = argparse.ArgumentParser(prog="python tests/benchmarks/hm_exact.py", description=__doc__)
    flags.add_argument("--store", required=True, help="with a release and its predictions, such as file:FOLDER")
    flags.add_argument("--users", type=int, default=1000, help="how many, at random (default: %(default)s)")
    flags.add_argument("--k", type=int, default=12, help="how many items each should have (default: %(default)s)")
    flags.add_argument("--seed", type=int, default=7, help="default: %(default)s")
    asked = flags.parse_args(arguments)
    found = compare(open_store(Settings.from_environment({"STORE": asked.store})), asked.users, asked.k, asked.seed)
    print(json.dumps({**asdict(found), "overlap": found.overlap}))


if __name__ == "__main__":
    main()
