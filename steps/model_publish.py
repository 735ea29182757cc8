"""Makes a promoted candidate live, or a canary first: fill the idle slot, see it answer, and only then record it."""

from __future__ import annotations

import argparse
import sys

from steps.artifacts import canary, names
from steps.artifacts.canary import CANARY
from steps.clients.object_store import open_store
from steps.runtime.errors import UsageError
from steps.runtime.flags import number, whole_number
from steps.runtime.program import Parser, Step, main
from steps.serving.publishing import NO_REASON, Publisher


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
    deadline = whole_number("--deadline", flags.deadline or "300", low=1)
    publisher = Publisher.of(open_store(settings).models, settings, deadline)
    if flags.abort or flags.rollback == CANARY:
        done = publisher.abort(flags.version, flags.reason or flags.abort)
    elif flags.promote:
        done = publisher.promote(flags.version, flags.reason)
    elif flags.rollback:
        done = publisher.roll_back(settings.run, flags.rollback, flags.reason)
    else:
        judged = flags.verdict or names.require_run(settings.run)
        done = publisher.publish(judged, force=flags.force, reason=flags.reason, percent=percent, mode=mode)
    step.output("version", str(done.made.version))
    step.output("slot", done.made.slot)
    step.output("candidate", done.made.candidate)
    step.output("became", done.became)


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


if __name__ == "__main__":
    sys.exit(main(parser(), run))
