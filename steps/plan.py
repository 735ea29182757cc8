"""Decides what a run trains: nothing, where nothing has changed since the last verdict."""

from __future__ import annotations

import hashlib
import json
import logging
import sys

from steps.artifacts import canary, release, verdict
from steps.clients.object_store import Bucket, open_store
from steps.models import families
from steps.models.rules import read_rules
from steps.runtime.errors import UsageError
from steps.runtime.flags import number, whole_number, yes_or_no
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)


def parser() -> Parser:
    flags = Parser(
        prog="plan",
        description=__doc__ or "",
        epilog="example: python -m steps.plan --snapshot s-0123456789abcdef --models popularity,als",
    )
    flags.add_argument("--snapshot", required=True, help="the snapshot to train on, as data_publish printed it")
    flags.add_argument("--models", default=families.DEFAULT, help="what to train (default: %(default)s)")
    flags.add_argument("--set", default="", metavar="MODEL.NAME=VALUE,…", help="settings, such as als.factors=64")
    flags.add_argument("--metric", default="ndcg@10", help="what evaluate will judge by (default: %(default)s)")
    flags.add_argument("--tolerance", default="0.01", help="what evaluate will forgive (default: %(default)s)")
    flags.add_argument("--min-metric", default="", help="what evaluate will demand, such as recall@10=0.05")
    flags.add_argument("--trials", default="1", help="how many settings each model tries (default: %(default)s)")
    flags.add_argument("--budget", default="", help="seconds after which a model tries nothing more (default: any)")
    flags.add_argument("--seed", default="7", help="the seed of training (default: %(default)s)")
    flags.add_argument("--again", default="false", help="true trains although nothing has changed (default: false)")
    flags.add_argument(
        "--distributed",
        default="false",
        help=f"true has several workers train {' and '.join(families.TOGETHER)} (default: false)",
    )
    flags.add_argument("--canary", default="0", help="percent of the users that model_publish will try a model on")
    flags.add_argument("--workers", default="2", help="how many of them, where that is true (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    from steps.artifacts import dataset

    flags = step.flags
    store = open_store(step.settings)
    names = families.parse_names(flags.models or families.DEFAULT)
    families.check_settings(names, flags.set)
    read_rules(flags.metric or "ndcg@10", flags.tolerance or "0.01", flags.min_metric)
    whole_number("--seed", flags.seed or "7")
    whole_number("--trials", flags.trials or "1", low=0)
    number("--budget", flags.budget or "0", 0, 1e9)
    number("--canary", flags.canary or "0", 0, 100)
    again = yes_or_no("--again", flags.again or "false")
    together = shared_out(names, flags.distributed, flags.workers, flags.budget)
    if not dataset.exists(store, flags.snapshot):
        raise UsageError(f"there is no snapshot {flags.snapshot!r} in {store.data.address()}")

    wanted = fingerprint(
        flags.snapshot, sorted(names), flags.set, flags.metric, flags.tolerance, flags.min_metric, flags.seed,
        flags.trials, flags.budget, step.settings.source_revision, step.settings.saved_model,
    )  # fmt: skip
    known = "" if again else already_judged(store.models, wanted)
    able, unfit = fit_for(names, flags.set, dataset.counts(store, flags.snapshot)["bought_items"])
    reason = known or "; ".join([f"{', '.join(able)} on {flags.snapshot}", *unfit])
    log.info("%s: %s", "nothing to train" if known else "to train", reason)
    step.output("train", "false" if known else "true")
    step.output("models", [] if known else [name for name in able if name not in together])
    step.output(
        "together", [] if known else [{"model": name, "job": job_name(name)} for name in able if name in together]
    )
    # One model alone is no blend.
    step.output("blend", "true" if not known and families.BLEND in names and len(able) > 1 else "false")
    step.output("fingerprint", wanted)
    step.output("reason", reason)


def shared_out(models: list[str], distributed: str, workers: str, budget: str) -> list[str]:
    """Those of the models that several workers train."""
    whole_number("--workers", workers or "2", low=2)
    if not yes_or_no("--distributed", distributed or "false"):
        return []
    if number("--budget", budget or "0", 0, 1e9):
        raise UsageError("--budget is for one worker, and --distributed is true: give --trials alone")
    together = [name for name in models if name in families.TOGETHER]
    if not together:
        able = " and ".join(families.TOGETHER)
        raise UsageError(f"--distributed is true, but of {', '.join(models)} none trains by several workers: {able} do")
    return together


def job_name(model: str) -> str:
    """What Kubernetes allows in a name."""
    return model.replace("_", "-")


def fit_for(names: list[str], settings: str, items: int) -> tuple[list[str], list[str]]:
    """The families that can learn from so many items, and of the others why not. A blend is not trained."""
    why = {name: families.make(name, settings).unfit(items) for name in names if name != families.BLEND}
    able = [name for name, reason in why.items() if not reason]
    unfit = [reason for reason in why.values() if reason]
    if not able:
        raise UsageError(f"nothing is left to train: {'; '.join(unfit)}")
    return able, unfit


def fingerprint(*parts: object) -> str:
    """The same for two runs that would train and judge the same."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def already_judged(models: Bucket, wanted: str) -> str:
    """Why a run would find nothing new, or an empty text.

    A verdict counts while the model that it was about is still in the place that the verdict gave it.
    """
    live = release.live(models)
    for judged in verdict.newest_first(models):
        if judged.fingerprint != wanted:
            continue
        if not judged.promote and (live.version if live else 0) == judged.live_version:
            return f"run {judged.run} judged the same purchases with the same settings: {judged.reason}"
        if judged.promote and live and live.candidate == judged.winner:
            return f"version {live.version} ({live.model}, run {judged.run}) came of the same purchases and settings"
        if judged.promote and live and live.version != judged.live_version and was_released(models, judged.winner):
            # Somebody went back from it: making it again would undo that.
            same = f"run {judged.run}'s model came of the same purchases and settings"
            return f"{same}, and version {live.version} replaced it"
        tried = was_tried(models, judged.winner) if judged.promote else ""
        if tried:
            return f"run {judged.run}'s model came of the same purchases and settings, and {tried}"
    return ""


def was_tried(models: Bucket, path: str) -> str:
    """What became of a candidate as a canary, where it is tried still or was taken back."""
    tried = next((one for one in canary.newest_first(models) if one.candidate == path), None)
    over = canary.ended(models, tried) if tried else None
    if tried and over is None:
        return f"is being tried as version {tried.version}"
    if tried and over and over.outcome == canary.ABORTED:
        return f"was taken back as version {tried.version}: {over.reason}"
    return ""


def was_released(models: Bucket, path: str) -> bool:
    return any(release.read(models, version).candidate == path for version in release.versions(models))


if __name__ == "__main__":
    sys.exit(main(parser(), run))
