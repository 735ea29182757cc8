"""Mirrors a slot of the store to the folder that TF Serving watches: whole versions only, and the newest two."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path

from steps.artifacts import slots
from steps.clients.object_store import open_store
from steps.runtime.errors import StepError, UsageError
from steps.runtime.flags import number
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)


def parser() -> Parser:
    flags = Parser(
        prog="slot_sync",
        description=__doc__ or "",
        epilog="example: python -m steps.slot_sync --slot blue --folder /models/recommender",
    )
    flags.add_argument("--slot", required=True, help="the slot, such as blue")
    flags.add_argument("--folder", required=True, help="TF Serving's base path of the model")
    flags.add_argument("--poll-seconds", default="5", help="how often to look; 0 looks once (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags = step.flags
    models = open_store(step.settings).models
    seconds = number("--poll-seconds", flags.poll_seconds or "5", 0, 86_400)
    if not flags.slot.isalnum():
        raise UsageError(f"--slot is {flags.slot!r}: a slot's name has letters and digits only")
    try:
        Path(flags.folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--folder is {flags.folder!r}, which cannot be made: {error.strerror}") from error
    known: list[int] | None = None
    while True:
        try:
            found = slots.mirror(models, flags.slot, Path(flags.folder))
        except (StepError, OSError) as error:  # also a volume that is full for a while
            if not seconds:
                raise
            log.warning("slot %s stays as it is: %s", flags.slot, error)
        else:
            if found != known:
                log.info("slot %s holds %s", flags.slot, ", ".join(map(str, found)) or "no version")
                known = found
        if not seconds:
            return
        time.sleep(seconds)


if __name__ == "__main__":
    sys.exit(main(parser(), run, service=True))
