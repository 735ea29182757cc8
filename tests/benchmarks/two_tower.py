"""Measures the joint two-tower model as the TensorFlow Recommenders tutorial does: retrieval and ranking of ratings."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.artifacts import dataset  # noqa: E402
from steps.artifacts.dataset import Dataset, Split  # noqa: E402
from steps.clients.object_store import open_store  # noqa: E402
from steps.models import families  # noqa: E402
from steps.models.two_tower import TwoTower  # noqa: E402
from steps.runtime.progress import progress  # noqa: E402
from steps.runtime.settings import Settings  # noqa: E402

K = 100
AT_ONCE = 256


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/two_tower.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
examples:
  python tests/benchmarks/dense.py ml-latest-small.zip dense
  python tests/benchmarks/two_tower.py --source dense

A fifth of the ratings is held out at random. Of each of them is asked whether the film is among the 100 that the user
would be shown, where those that the user rated before are not left out, and what its rating would be.""",
    )
    flags.add_argument("--source", required=True, help="MovieLens, as data_publish reads it")
    flags.add_argument("--set", default="", metavar="two_tower.NAME=VALUE,…", help="settings, as train takes them")
    flags.add_argument("--seed", type=int, default=7, help="of the split and of training (default: %(default)s)")
    return flags


def published(source: str, seed: int, folder: Path) -> Dataset:
    address = f"file:{folder / 'store'}"
    command = [sys.executable, "-m", "steps.data_publish", "--source", source, "--split", "random:0.2"]
    outputs = ("--seed", str(seed), "--outputs", str(folder / "outputs"))
    subprocess.run([*command, *outputs], cwd=ROOT, env={"STORE": address}, check=True)
    store = open_store(Settings.from_environment({"STORE": address}))
    return dataset.load(store, (folder / "outputs" / "snapshot").read_text(), folder)


def measure(model: TwoTower, data: Dataset) -> tuple[float, float]:
    """How many of the held-out ratings were among the first 100, and the root of the mean square of their errors."""
    asked = data.split == Split.TEST
    user, item, rating = data.user[asked], data.item[asked], data.weight[asked]
    shown = np.concatenate(
        [
            model.recommend(user[start : start + AT_ONCE], K).items == item[start : start + AT_ONCE, None]
            for start in range(0, len(user), AT_ONCE)
        ]
    )
    return float(shown.any(axis=1).mean()), float(np.sqrt(np.mean((model.rate(user, item) - rating) ** 2)))


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    model = families.make("two_tower", flags.set)
    assert isinstance(model, TwoTower)
    with tempfile.TemporaryDirectory() as scratch:
        data = published(str(Path(flags.source).resolve()), flags.seed, Path(scratch))
        began = time.perf_counter()
        with progress("training two_tower", 1) as bar:
            model.fit(data.interactions(Split.TRAIN, Split.VALIDATION), flags.seed, bar.at)
        seconds = time.perf_counter() - began
        found, error = measure(model, data)
    print(f"{flags.source}: top-{K} accuracy {found:.3f}, RMSE {error:.3f}; trained in {seconds:.0f} s")


if __name__ == "__main__":
    main()
