"""Makes a promoted candidate live, or a canary first: fill the idle slot, see it answer, and only then record it."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import replace

from steps.artifacts import canary, candidate, names, orders, release, slots
from steps.artifacts.canary import CANARY, Canary
from steps.artifacts.orders import Order
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, open_store
from steps.clients.tf_serving import parse_slots
from steps.runtime.errors import CheckFailedError, UsageError
from steps.runtime.flags import number, whole_number
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.program import Parser, Step, main
from steps.serving.filling import Addresses, Deadline, filled, see_it_answer, server_of

log = logging.getLogger(__name__)

NO_REASON = "no reason was given"
LIVE, ABORTED = "live", canary.ABORTED
SAID = {LIVE: "is live", CANARY: "is tried", ABORTED: "was taken back"}
"""What became of a version, for the workflow that goes on from here, and for people."""


def parser() -> Parser:
    flags = Parser(
        prog="model_publish",
        description=__doc__ or "",
        epilog="examples:\n  RUN=first python -m steps.model_publish\n"
        "  python -m steps.model_publish --rollback            (to the version before)\n"
        "  python -m steps.model_publish --rollback 3 --reason 'complaints since version 4'\n"
        "  RUN=first python -m steps.model_publish --canary 10 (then --promote, or --abort 'fewer clicks')",
    )
    flags.add_argument(
        "--verdict", default="", metavar="RUN", help="publish what this run's verdict promoted (default: $RUN)"
    )
    flags.add_argument(
        "--deadline", default="300", help="seconds until the slot must answer well (default: %(default)s)"
    )
    flags.add_argument(
        "--force",
        default="",
        metavar="REASON",
        help="publish a refused candidate, or while a canary is tried; the release keeps why",
    )
    flags.add_argument(
        "--rollback", nargs="?", const="previous", default="", metavar="VERSION",
        help="release an earlier version's model again, under a new version (default: the one before the live one); "
        "'canary' takes back the one that is being tried, as --abort does",
    )  # fmt: skip
    flags.add_argument(
        "--canary", default="", metavar="PERCENT",
        help="try it on this share of the users first; where nothing is live yet, and with 0, it goes live at once",
    )  # fmt: skip
    flags.add_argument(
        "--shadow", action="store_true",
        help="ask the canary for its share of the users (default: all), but show them what the live version answers",
    )  # fmt: skip
    flags.add_argument("--promote", action="store_true", help="make the canary live for everybody")
    flags.add_argument("--abort", nargs="?", const=NO_REASON, default="", metavar="REASON", help="take the canary back")
    flags.add_argument(
        "--version", default="", help="only where this is the canary that --promote or --abort finds (default: any)"
    )
    flags.add_argument("--reason", default="", help="kept in the release, or with the end of the canary")
    return flags


def run(step: Step) -> None:
    flags, settings = step.flags, step.settings
    percent, mode = trial(flags)
    models = open_store(settings).models
    addresses = parse_slots(settings.slots)
    deadline = Deadline(whole_number("--deadline", flags.deadline or "300", low=1))

    canary.settle(models)
    made: Release | Canary
    if flags.abort or flags.rollback == CANARY:
        made, became = abort(models, flags.version, flags.reason or flags.abort or NO_REASON), ABORTED
    elif flags.promote:
        made, became = promote(models, flags.version, flags.reason, addresses, deadline), LIVE
    else:
        order = replace(ordered(models, flags, settings.run), percent=percent, mode=mode)
        made = orders.made_before(models, order) or publish(models, order, addresses, deadline, settings.saved_model)
        became = LIVE if isinstance(made, Release) else CANARY
    tell_servers(settings.kafka, made.version, became)
    tidy(models, made, tuple(addresses) or slots.NAMES)
    log.info("version %d %s: %s from %s, in slot %s", made.version, SAID[became], made.model, made.candidate, made.slot)
    step.output("version", str(made.version))
    step.output("slot", made.slot)
    step.output("candidate", made.candidate)
    step.output("became", became)


def tell_servers(kafka: KafkaSettings, version: int, became: str) -> None:
    """So that they look into the store now; without Kafka they do at their next turn."""
    if kafka:
        from steps.serving.announcements import announce

        announce(kafka, "release" if became == LIVE else "canary", version)


def trial(flags: argparse.Namespace) -> tuple[float, str]:
    """The share of the users that a new version is tried on, and how; of flags that exclude one another none does."""
    ways = [f"--{name}" for name in ("rollback", "promote", "abort") if getattr(flags, name)]
    news = [f"--{name}" for name in ("canary", "shadow", "force") if getattr(flags, name)]
    if len(ways) > 1:
        raise UsageError(f"{' and '.join(ways)} exclude one another: give one of them")
    if ways and news:
        raise UsageError(f"{news[0]} is about a new version: leave it out where {ways[0]} is given")
    if flags.version and not (flags.promote or flags.abort or flags.rollback == CANARY):
        raise UsageError(f"--version is {flags.version!r}, but it is for --promote and --abort alone")
    percent = number("--canary", flags.canary or ("100" if flags.shadow else "0"), 0, 100)
    return percent, canary.SHADOW if flags.shadow else canary.CANARY


def ordered(models: Bucket, flags: argparse.Namespace, run_name: str) -> Order:
    """An earlier version's model, or what a run's verdict promoted."""
    if flags.rollback:
        return orders.back(models, run_name, wanted=flags.rollback, reason=flags.reason)
    judged = flags.verdict or names.require_run(run_name)
    return orders.promoted(models, judged, force=flags.force, reason=flags.reason)


def publish(
    models: Bucket, order: Order, addresses: Addresses, deadline: Deadline, saved_model: bool
) -> Release | Canary:
    """Nothing that is served changes before the record, which is the last thing written."""
    orders.check(models, order)
    if saved_model and not order.candidate.part(names.SAVED_MODEL):
        raise CheckFailedError(
            f"{order.candidate.path} has no SavedModel, which the slots are said to read: train it again as things "
            "are now, or set SAVED_MODEL=false where the slots are steps.slot_server's"
        )
    orders.make_way(models, order)
    with filled(models, order.candidate, order.run, addresses, deadline) as place:
        orders.check(models, order)  # again, for all that took a while
        if order.percent and place.live:
            tried = order.canary(place.version, place.slot, place.live)
            canary.start(models, tried)
            return tried
        made = order.release(place.version, place.slot, place.live)
        release.create(models, made)
        return made


def promote(models: Bucket, version: str, reason: str, addresses: Addresses, deadline: Deadline) -> Release:
    """The canary goes live under its own number, from the slot that it is in."""
    tried = canary.require(models, version)
    if canary.ended(models, tried) is None:
        with server_of(models, tried.slot, addresses) as server:
            see_it_answer(server, tried.version, candidate.read(models, tried.candidate), deadline)
    why = tried.as_release(reason).reason
    over = canary.ended(models, tried) or canary.end(models, tried.version, canary.PROMOTED, why)
    live = release.require(models, "live")
    if live.version != tried.version:
        raise CheckFailedError(
            f"version {tried.version} is no canary any more: {over.outcome}, {over.reason}; "
            f"version {live.version} stays live"
        )
    return live


def abort(models: Bucket, version: str, reason: str) -> Canary:
    """The canary is asked no more. It stays in its slot until that is filled again, for whoever is asking it now."""
    tried = canary.require(models, version)
    over = canary.ended(models, tried) or canary.end(models, tried.version, canary.ABORTED, reason)
    if over.outcome == canary.PROMOTED:
        raise CheckFailedError(f"version {tried.version} is no canary any more, it went live: --rollback takes it back")
    return tried


def tidy(models: Bucket, made: Release | Canary, names_of_slots: tuple[str, ...]) -> None:
    """Removes what is neither live, nor was before that, nor is tried. Best done last: all of it can wait."""
    live = release.read(models, made.base) if isinstance(made, Canary) else made
    for name in names_of_slots:
        dropped = slots.drop_older(models, name, made.version, kept={live.version, live.previous})
        if dropped:
            log.info("removed from slot %s: version %s", name, ", ".join(map(str, dropped)))
    slots.drop_claims(models, made.version)
    canary.settle(models)


if __name__ == "__main__":
    sys.exit(main(parser(), run))
