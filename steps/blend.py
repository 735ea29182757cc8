"""Combines a run's best models into one, where together they are surely better than alone; else leaves nothing."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from steps.artifacts import candidate, names, records
from steps.clients.object_store import Store, open_store
from steps.models import families
from steps.models.rules import parse_metric
from steps.runtime.errors import UsageError
from steps.runtime.flags import whole_number
from steps.runtime.program import Parser, Step, main, peak_memory

if TYPE_CHECKING:
    from steps.artifacts.dataset import Dataset
    from steps.models.blend import Chosen, Lists

log = logging.getLogger(__name__)


def parser() -> Parser:
    flags = Parser(
        prog="blend",
        description=__doc__ or "",
        epilog="example: RUN=first python -m steps.blend --snapshot s-0123456789abcdef",
    )
    flags.add_argument("--snapshot", required=True, help="the snapshot that the candidates were trained on")
    flags.add_argument(
        "--models", default="", help="the models of the run; without blend among them nothing is done (default: blend)"
    )
    flags.add_argument("--metric", default="ndcg@10", help="what decides (default: %(default)s)")
    flags.add_argument("--seed", default="7", help="the seed of training (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags, store = step.flags, open_store(step.settings)
    run_name = names.require_run(step.settings.run)
    asked = families.parse_names(flags.models) if flags.models else [families.BLEND]
    metric, k = parse_metric(flags.metric or "ndcg@10")
    seed = whole_number("--seed", flags.seed or "7")
    made = candidate.find(store.models, names.candidate(run_name, families.BLEND))
    if made is not None and made.snapshot != flags.snapshot:
        raise UsageError(f"{made.path} is of {made.snapshot}, and candidates never change: name another RUN")
    if made is None and families.BLEND in asked:
        made = blend(step, store, metric, k, seed)
    elif made is None:
        log.info("no blend was asked for")
    step.output("candidate", made.path if made else "")


def blend(step: Step, store: Store, metric: str, k: int, seed: int) -> candidate.Candidate | None:
    """The blend's candidate; None where one model alone may do as well."""
    from steps.artifacts import dataset, making
    from steps.models.blend import choose

    started, run_name = time.perf_counter(), step.settings.run
    with tempfile.TemporaryDirectory() as scratch:
        members = {
            one.model: one
            for one in candidate.of_run(store.models, run_name)
            if one.part(names.VALIDATION) and one.snapshot == step.flags.snapshot
        }
        if len(members) < 2:
            log.info("nothing to blend: %d of the run's models can be combined", len(members))
            return None
        data = dataset.load(store, step.flags.snapshot, Path(scratch))
        held = making.validation_users(data, seed)
        lists = {name: lists_of(store, one, Path(scratch)) for name, one in members.items()}
        for name, one in lists.items():
            if one.users.tolist() != held.users.tolist():
                raise UsageError(f"{members[name].path} was trained with another seed than {seed}")
        chosen = choose(lists, held, metric, k)
        reached = f"{metric}@{k} {chosen.value:.4f}"
        if len(chosen.weights) < 2:
            (name,) = chosen.weights
            log.info("no blend: on the validation split none is ahead of %s alone (%s) beyond chance", name, reached)
            return None
        about = " + ".join(f"{weight:.2f} {name}" for name, weight in chosen.weights.items())
        log.info("validation: %s reaches %s, the best alone %.4f", about, reached, chosen.alone)
        return write(
            step, store, data, {name: members[name] for name in chosen.weights}, chosen, started, Path(scratch)
        )


def lists_of(store: Store, one: candidate.Candidate, scratch: Path) -> Lists:
    from steps.models.blend import Lists

    part = one.part(names.VALIDATION)
    return Lists.load(store.models.fetch(f"{one.path}/{names.VALIDATION}", part, scratch))


def write(
    step: Step,
    store: Store,
    data: Dataset,
    members: dict[str, candidate.Candidate],
    chosen: Chosen,
    started: float,
    scratch: Path,
) -> candidate.Candidate:
    from steps.artifacts import making
    from steps.models.blend import Blend
    from steps.models.scorer_model import export

    loaded = {name: candidate.scorer(store.models, one, scratch)[0] for name, one in members.items()}
    scorer = Blend(next(iter(loaded.values())).shared, loaded, chosen.weights)
    scorer.check(families.BLEND)
    folder = scratch / "candidate"
    export(scorer, data.seen, folder, saved_model=step.settings.saved_model)
    manifest = candidate.Candidate(
        run=step.settings.run,
        model=families.BLEND,
        snapshot=data.id,
        settings={name: round(weight, 4) for name, weight in chosen.weights.items()},
        seed=whole_number("--seed", step.flags.seed or "7"),
        metrics={"validation": chosen.value, "validation of the best alone": chosen.alone},
        expected=making.expected_answers(scorer, data),
        libraries=making.library_versions(),
        source_revision=step.settings.source_revision,
        seconds=round(time.perf_counter() - started, 3),
        peak_memory=peak_memory(),
        created=records.now(),
    )
    return candidate.write(store.models, manifest, folder)


if __name__ == "__main__":
    sys.exit(main(parser(), run))
