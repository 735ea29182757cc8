"""Trains one model family on a snapshot and leaves a candidate: the model, its arrays, and what it must answer."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.artifacts import candidate, names, records
from steps.clients.object_store import Bucket, ObjectExistsError, ObjectMissingError, open_store
from steps.models import families
from steps.models.rules import parse_metric
from steps.models.team import Keeping, Team
from steps.runtime.errors import BadDataError, TryAgainError, UsageError
from steps.runtime.flags import number, whole_number
from steps.runtime.program import Parser, Step, main, peak_memory
from steps.runtime.progress import progress

if TYPE_CHECKING:
    from steps.models.choosing import Choice, Trial, Validation
    from steps.models.recommender import Recommender, Report

log = logging.getLogger(__name__)

MOST_TRIALS = 10_000
CHIEF_WRITES = 1800
"""Seconds that the other workers wait for the chief to write what all of them have trained."""


@dataclass(frozen=True)
class Wanted:
    """What the flags ask for, checked."""

    model: Recommender
    given: Sequence[str]
    """The settings that somebody set: they are not chosen."""
    popularity: Recommender
    """What users get of whom the model knows nothing."""
    given_popularity: Sequence[str]
    seed: int
    metric: str
    k: int
    trials: int
    budget: float
    team: Team | None = None
    """The workers that train the model, this one among them; None where it trains alone."""

    @property
    def writes(self) -> bool:
        """Whether it is this process that leaves things in the store."""
        return self.team is None or self.team.chief


def parser() -> Parser:
    flags = Parser(
        prog="train",
        description=__doc__ or "",
        epilog="examples: RUN=first python -m steps.train --snapshot s-0123456789abcdef --model als\n"
        "          RUN=first python -m steps.train --snapshot s-0123456789abcdef --model als --trials 20 --budget 600",
    )
    flags.add_argument("--snapshot", required=True, help="the snapshot to train on, as data_publish printed it")
    flags.add_argument("--model", required=True, help=f"the family: {', '.join(sorted(families.FAMILIES))}")
    flags.add_argument("--set", default="", metavar="MODEL.NAME=VALUE,…", help="settings, such as als.factors=64")
    flags.add_argument("--seed", default="7", help="the same seed gives the same model (default: %(default)s)")
    flags.add_argument(
        "--trials",
        default="1",
        help="how many settings are tried on the validation split; 0 takes those that are given, and asks it nothing "
        "(default: %(default)s)",
    )
    flags.add_argument("--budget", default="", metavar="SECONDS", help="begin no trial after so long (default: any)")
    flags.add_argument("--metric", default="ndcg@10", help="by what settings are chosen (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags, store = step.flags, open_store(step.settings)
    path = names.candidate(names.require_run(step.settings.run), flags.model)
    wanted = read_flags(step)

    made = candidate.find(store.models, path)
    if made is None:
        made = train(step, wanted)
    elif not same(made, flags.snapshot, wanted):
        raise UsageError(f"{path} exists with other settings, and candidates never change: name another RUN")
    chosen = "".join(f", {name} {value}" for name, value in made.chosen.items())
    tried = f", the best of {len(made.search)} tried" if len(made.search) > 1 else ""
    log.info("%s: trained in %.1f s%s%s", made.path, made.seconds, chosen, tried)
    step.output("candidate", made.path)


def read_flags(step: Step) -> Wanted:
    flags = step.flags
    wanted = Wanted(
        families.make(flags.model, flags.set),
        list(families.settings_of(flags.model, flags.set)),
        families.make("popularity", flags.set),
        list(families.settings_of("popularity", flags.set)),
        whole_number("--seed", flags.seed or "7"),
        *parse_metric(flags.metric or "ndcg@10"),
        whole_number("--trials", flags.trials or "1", low=0, high=MOST_TRIALS),
        number("--budget", flags.budget or "0", 0, 1e9),
        Team.from_environment(os.environ),
    )
    if wanted.team and not wanted.model.trains_together:
        able = " and ".join(families.TOGETHER)
        raise UsageError(f"TF_CONFIG names several workers, and {wanted.model.name} trains in one: only {able} do that")
    if wanted.team and wanted.budget:
        raise UsageError("--budget is for one worker: the clocks of several differ, and they must try the same")
    return wanted


def same(made: candidate.Candidate, snapshot: str, wanted: Wanted) -> bool:
    """Whether a candidate is what would be made now: what was chosen by trials does not count."""
    given = {name: getattr(wanted.model.settings, name) for name in wanted.given}
    return (made.snapshot, made.seed) == (snapshot, wanted.seed) and given.items() <= made.settings.items()


def train(step: Step, wanted: Wanted) -> candidate.Candidate:
    from steps.artifacts import dataset, making
    from steps.artifacts.dataset import Split
    from steps.models.blend import Lists

    store, started = open_store(step.settings), time.perf_counter()
    if wanted.team:
        from steps.models.networks.together import join

        # The workers meet first: TensorFlow must not have calculated anything before.
        wanted.model.together = join(wanted.team, keeping(store.models, step.settings.run, wanted.model.name))
    with tempfile.TemporaryDirectory() as scratch:
        data = dataset.load(store, step.flags.snapshot, Path(scratch))
        # The test split stays unseen: evaluate judges by it, the others are there to learn from.
        if data.bought(Split.TRAIN, Split.VALIDATION).nnz == 0:
            raise BadDataError(f"snapshot {data.id} has no purchases to train on")
        # Where nothing is to be chosen, nothing has to be fitted but the model itself.
        validation = making.validation(data, wanted.metric, wanted.k, wanted.seed) if wanted.trials else None
        popular = wanted.popularity, wanted.given_popularity
        with_strangers = making.for_strangers(data, *popular, validation, wanted.seed)
        validation = making.asking(validation, with_strangers)
        with progress(f"choosing {wanted.model.name}", 1) as bar:
            chosen = choose(store.models, step.settings.run, wanted, validation, bar.at)
        model, held = chosen.model, validation.held if validation else None
        validation = None  # and with it what the trials learned from, of which a large shop's takes much room
        learnt = with_strangers(data.interactions(Split.TRAIN, Split.VALIDATION, worth=chosen.worth))
        with progress(f"training {model.name}", 1) as bar:
            fitting = time.perf_counter()
            model.fit(learnt, wanted.seed, bar.at)
            fitted = time.perf_counter() - fitting
        if not wanted.writes:
            return written_by_chief(store.models, names.candidate(step.settings.run, model.name))
        # What is served leaves out everything that was bought, in the test split too.
        folder = Path(scratch) / "candidate"
        model.export(folder, data.seen, saved_model=step.settings.saved_model)
        if held and chosen.scorer:
            Lists.of(chosen.scorer, held).save(folder / names.VALIDATION)
        reached = {f"validation {wanted.metric}@{wanted.k}": chosen.best.value} if chosen.best else {}
        manifest = candidate.Candidate(
            run=step.settings.run,
            model=model.name,
            snapshot=data.id,
            settings=asdict(model.settings),
            seed=wanted.seed,
            metrics={
                "purchases": float(learnt.matrix.nnz),
                "fit_seconds": round(fitted, 3),
                "days until what is popular fades by half": learnt.half_life,
                **reached,
            },
            expected=making.expected_answers(model.scorer, data),
            libraries=making.library_versions(),
            source_revision=step.settings.source_revision,
            seconds=round(time.perf_counter() - started, 3),
            peak_memory=peak_memory(),
            created=records.now(),
            search=[asdict(trial) for trial in chosen.trials],
            events=dict(chosen.worth),
            curve=making.learning_curve(model, chosen.best),
        )
        made = candidate.write(store.models, manifest, folder)
        # The prefix ends with a slash, which `delete_under` puts there itself.
        store.models.delete_under(names.checkpoint(step.settings.run, model.name).rstrip("/"))
        return made


def keeping(models: Bucket, run: str, model: str) -> Keeping:
    """The store as the place where workers find what another one kept."""
    prefix = names.checkpoint(run, model)

    def load(name: str) -> bytes | None:
        try:
            return models.get(f"{prefix}{name}")
        except ObjectMissingError:
            return None

    return Keeping(load, lambda name, data: models.put(f"{prefix}{name}", data))


def written_by_chief(models: Bucket, path: str) -> candidate.Candidate:
    """Waits for the candidate: a worker that left before would be missing, were the chief to begin again."""
    until = time.monotonic() + CHIEF_WRITES
    while time.monotonic() < until:
        made = candidate.find(models, path)
        if made is not None:
            return made
        time.sleep(1)
    raise TryAgainError(f"the first worker has not written {path} within {CHIEF_WRITES} s")


def choose(models: Bucket, run: str, wanted: Wanted, validation: Validation | None, report: Report) -> Choice:
    """The settings to train with; every trial is kept in the store, so that a killed search goes on where it was."""
    from steps.models import choosing

    prefix = names.trials(run, wanted.model.name)

    def record(trial: Trial) -> None:
        log.info("trial %d: %s %.4f in %.1f s", trial.number, trial.state, trial.value, trial.seconds)
        if not wanted.writes:
            return
        try:
            models.create(f"{prefix}{trial.number:05d}.json", records.encode(trial))
        except ObjectExistsError:
            log.warning("trial %d was recorded by another process meanwhile; both go on", trial.number)

    limits = choosing.Limits(wanted.trials, wanted.budget)
    known = known_trials(models, prefix, wanted)
    return choosing.choose(wanted.model, wanted.given, validation, wanted.seed, limits, known, record, report)


def known_trials(models: Bucket, prefix: str, wanted: Wanted) -> list[Trial]:
    """What an interrupted search of this run has tried, up to the first gap."""
    from steps.models.choosing import Trial

    keys = sorted(entry.key for entry in models.list(prefix))
    found = [records.read(models, key, Trial) for key in keys]
    for place, trial in enumerate(found):
        given = {name: getattr(wanted.model.settings, name) for name in wanted.given}
        if not given.items() <= trial.settings.items():
            raise UsageError(f"{models.address(prefix)} holds trials with other settings: name another RUN")
        if trial.number != place:
            return found[:place]
    return found


if __name__ == "__main__":
    sys.exit(main(parser(), run))
