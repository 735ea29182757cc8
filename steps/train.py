"""Trains one model family on a snapshot and leaves a candidate: the model, its arrays, and what it must answer."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from steps.artifacts import candidate, names, records
from steps.clients.object_store import open_store
from steps.models import families
from steps.runtime.errors import BadDataError, UsageError
from steps.runtime.flags import whole_number
from steps.runtime.program import Parser, Step, main, peak_memory
from steps.runtime.progress import progress

if TYPE_CHECKING:
    from steps.artifacts.dataset import Dataset
    from steps.models.recommender import Recommender

log = logging.getLogger(__name__)

LIBRARIES = ("numpy", "scipy", "implicit", "tensorflow", "tensorflow-cpu")
EXPECTED_USERS = 16
EXPECTED_ITEMS = 10
STRANGER = "a user that nobody knows"


def parser() -> Parser:
    flags = Parser(
        prog="train",
        description=__doc__ or "",
        epilog="example: RUN=first python -m steps.train --snapshot s-0123456789abcdef --model als",
    )
    flags.add_argument("--snapshot", required=True, help="the snapshot to train on, as data_publish printed it")
    flags.add_argument("--model", required=True, help=f"the family: {', '.join(sorted(families.FAMILIES))}")
    flags.add_argument("--set", default="", metavar="MODEL.NAME=VALUE,…", help="settings, such as als.factors=64")
    flags.add_argument("--seed", default="7", help="the same seed gives the same model (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags, store = step.flags, open_store(step.settings)
    path = names.candidate(names.require_run(step.settings.run), flags.model)
    model = families.make(flags.model, flags.set)
    seed = whole_number("--seed", flags.seed or "7")

    made = candidate.find(store.models, path)
    if made is None:
        made = train(step, model, seed)
    elif (made.snapshot, made.settings, made.seed) != (flags.snapshot, asdict(model.settings), seed):
        raise UsageError(f"{path} exists with other settings, and candidates never change: name another RUN")
    chosen = "".join(f", {name} {value}" for name, value in made.settings.items())
    log.info("%s: trained in %.1f s%s", made.path, made.seconds, chosen)
    step.output("candidate", made.path)


def train(step: Step, model: Recommender, seed: int) -> candidate.Candidate:
    from steps.artifacts import dataset
    from steps.artifacts.dataset import Split

    store, started = open_store(step.settings), time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        data = dataset.load(store, step.flags.snapshot, Path(scratch))
        # The test split stays unseen: evaluate judges by it, the others are there to learn from.
        learnt = data.interactions(Split.TRAIN, Split.VALIDATION)
        if learnt.matrix.nnz == 0:
            raise BadDataError(f"snapshot {data.id} has no purchases to train on")
        with progress(f"training {model.name}", 1) as bar:
            model.fit(learnt, seed, bar.at)
        fitted = time.perf_counter() - started
        # What is served leaves out everything that was bought, in the test split too.
        folder = Path(scratch) / "candidate"
        model.export(folder, data.seen)
        manifest = candidate.Candidate(
            run=step.settings.run,
            model=model.name,
            snapshot=data.id,
            settings=asdict(model.settings),
            seed=seed,
            metrics={"purchases": float(learnt.matrix.nnz), "fit_seconds": round(fitted, 3)},
            expected=expected_answers(model, data),
            libraries=library_versions(),
            source_revision=step.settings.source_revision,
            seconds=round(time.perf_counter() - started, 3),
            peak_memory=peak_memory(),
            created=records.now(),
        )
        return candidate.write(store.models, manifest, folder)


def expected_answers(model: Recommender, data: Dataset) -> list[dict[str, object]]:
    """What the model answers here and now for users with many and with few purchases, and for a stranger."""
    import numpy as np

    from steps.models.ids import UNKNOWN
    from steps.models.recommender import NOBODY
    from steps.models.scorer import rows_of

    by_activity = np.argsort(-np.diff(data.seen.indptr), kind="stable")
    chosen = by_activity[np.unique(np.linspace(0, len(by_activity) - 1, EXPECTED_USERS).astype(int))]
    codes = np.append(chosen, UNKNOWN).astype(np.int32)
    found = model.recommend(codes, min(EXPECTED_ITEMS, len(data.items)), rows_of(data.seen, codes))
    return [
        {
            "user": STRANGER if code == UNKNOWN else data.users[int(code)],
            "items": ["" if item == NOBODY else data.items[int(item)] for item in items],
            "scores": [float(score) for score in scores],
            "known": bool(known),
        }
        for code, items, scores, known in zip(codes, found.items, found.scores, found.known, strict=True)
    ]


def library_versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # one of the two distributions of TensorFlow
            continue
    return found


if __name__ == "__main__":
    sys.exit(main(parser(), run))
