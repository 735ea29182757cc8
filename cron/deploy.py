"""Puts the schedules on a cluster, or fires them here. `python cron/deploy.py --help` says how."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    # Run as a script, Python puts this folder first on the path; the packages are one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from cron.schedules import CRONS

USAGE, INTERRUPTED = 2, 130

EXAMPLES = """\
schedules:
{schedules}

examples:
  python cron/deploy.py                                   apply templates and schedules with kubectl
  python cron/deploy.py -o yaml                           only print them
  python cron/deploy.py --schedule retrain="0 3 * * *" --timezone Europe/Berlin
  python cron/deploy.py -p retrain.source=s3://shop/purchases.parquet
  python cron/deploy.py --suspend retrain-nightly         no more runs, until --resume retrain-nightly
  python cron/deploy.py backfill retrain --from 2026-11-01 --to 2026-11-07
  python cron/deploy.py --on local                        fire the same schedules here, until Ctrl-C

environment (a flag goes before it):
  RETRAIN_SCHEDULE, BATCH_PREDICT_SCHEDULE, MONITOR_SCHEDULE,
  CLEANUP_SCHEDULE                                                   five fields of cron
  SCHEDULE_TIMEZONE                                                  default UTC
  RETRAIN_PARAMETERS, BATCH_PREDICT_PARAMETERS, CLEANUP_PARAMETERS   "name=value name=value"
  MONITOR_PARAMETERS                                                 the same; those of retrain hold there too
  IMAGE_REGISTRY, IMAGE_TAG, STORE_CLAIM, RUN_AS_USER                as for submit.py
  ARGO_SERVER, ARGO_TOKEN, ARGO_NAMESPACE                            this Argo Server instead of kubectl
"""


def parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {cron.name.ljust(22)} {cron.schedule.ljust(13)} {cron.what}" for cron in CRONS)
    found = argparse.ArgumentParser(
        prog="deploy.py",
        description="Puts the schedules of the workflows on a cluster, or fires them here.",
        epilog=EXAMPLES.format(schedules=listed),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    found.add_argument(
        "command", nargs="?", default="", choices=("", "backfill"), metavar="backfill", help="run for past dates"
    )
    found.add_argument("name", nargs="?", default="", metavar="NAME", help="the schedule to backfill")
    found.add_argument("--on", choices=("argo", "local"), default="argo", help="where (default: %(default)s)")
    found.add_argument(
        "--schedule", action="append", default=[], metavar="NAME=CRON", help="another time for one of them"
    )
    found.add_argument(
        "--timezone", default="", help="timezone of all schedules (default: $SCHEDULE_TIMEZONE, else UTC)"
    )
    found.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="WORKFLOW.NAME=VALUE", help="what the runs get"
    )
    found.add_argument("-o", "--output", choices=("yaml",), help="print the objects instead of applying them")
    found.add_argument(
        "--argo", default="4.1", metavar="VERSION", help="the Argo to write for, 3.3 to 4.1 (default: %(default)s)"
    )
    found.add_argument(
        "-n",
        "--namespace",
        default="",
        help="default: $ARGO_NAMESPACE, else that of kubectl's context, else recommender",
    )
    found.add_argument("--suspend", metavar="NAME", help="stop one schedule")
    found.add_argument("--resume", metavar="NAME", help="let it go on")
    found.add_argument("--from", dest="first", default="", metavar="DATE", help="backfill: first date, as 2026-11-01")
    found.add_argument("--to", dest="last", default="", metavar="DATE", help="backfill: last date, included")
    found.add_argument("--dry-run", action="store_true", help="backfill: only say which runs there would be")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    flags = parser().parse_args(arguments)
    from cron.command import Refused, run

    try:
        return run(flags)
    except Refused as error:
        sys.stderr.write(f"deploy.py: {error}\n")
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
