"""Makes a promoted candidate live: fill the idle slot, wait for it, ask it, and only then write the release."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steps.artifacts import candidate, names, records, release, slots, verdict
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, open_store
from steps.clients.tf_serving import AVAILABLE, ServingClient, parse_slots
from steps.models import signature
from steps.models.signature import Answer
from steps.runtime.errors import CheckFailedError, UsageError
from steps.runtime.flags import whole_number
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2


def parser() -> Parser:
    flags = Parser(
        prog="model_publish",
        description=__doc__ or "",
        epilog="examples:\n  RUN=first python -m steps.model_publish\n"
        "  python -m steps.model_publish --rollback            (to the version before)\n"
        "  python -m steps.model_publish --rollback 3 --reason 'complaints since version 4'",
    )
    flags.add_argument(
        "--verdict", default="", metavar="RUN", help="publish what this run's verdict promoted (default: $RUN)"
    )
    flags.add_argument(
        "--deadline", default="300", help="seconds until the slot must answer well (default: %(default)s)"
    )
    flags.add_argument(
        "--force", default="", metavar="REASON", help="publish a refused candidate; the release keeps why"
    )
    flags.add_argument(
        "--rollback", nargs="?", const="previous", default="", metavar="VERSION",
        help="release an earlier version's model again, under a new version (default: the one before the live one)",
    )  # fmt: skip
    flags.add_argument("--reason", default="", help="kept in the release")
    return flags


@dataclass(frozen=True)
class Order:
    """What is to be released, and why."""

    candidate: Candidate
    run: str
    reason: str
    metrics: dict[str, float]


def run(step: Step) -> None:
    flags, settings = step.flags, step.settings
    models = open_store(settings).models
    addresses = parse_slots(settings.slots)
    deadline = Deadline(whole_number("--deadline", flags.deadline or "300", low=1))
    order = (
        rollback_order(models, flags, settings.run) if flags.rollback else promoted_order(models, flags, settings.run)
    )

    made = made_before(models, order)
    if made is None:
        if settings.saved_model and not order.candidate.part(names.SAVED_MODEL):
            raise CheckFailedError(
                f"{order.candidate.path} has no SavedModel, which the slots are said to read: train it again as things "
                "are now, or set SAVED_MODEL=false where the slots are steps.slot_server's"
            )
        made = publish(models, order, addresses, deadline)
    tidy(models, made, tuple(addresses) or slots.NAMES)
    log.info("version %d is live: %s from %s, in slot %s", made.version, made.model, made.candidate, made.slot)
    step.output("version", str(made.version))
    step.output("slot", made.slot)
    step.output("candidate", made.candidate)


def promoted_order(models: Bucket, flags: argparse.Namespace, run_name: str) -> Order:
    """What the verdict promoted; a refused candidate needs a reason, and the verdict must be about what is live now."""
    judged = verdict.read(models, flags.verdict or names.require_run(run_name))
    if not judged.promote and not flags.force:
        raise CheckFailedError(
            f"run {judged.run} was not promoted: {judged.reason} (--force REASON publishes it anyway)"
        )
    chosen = candidate.read(models, judged.winner)
    figures = judged.candidates[chosen.model]["metrics"]
    reason = flags.reason or ("promoted" if judged.promote else f"forced: {flags.force}")
    order = Order(chosen, judged.run, reason, figures)
    live = release.live(models)
    now = live.version if live else 0
    if now != judged.live_version and made_before(models, order) is None and not flags.force:
        raise CheckFailedError(
            f"run {judged.run} was judged against version {judged.live_version}, but version {now} is live now: "
            "run evaluate again under a new run"
        )
    return order


def rollback_order(models: Bucket, flags: argparse.Namespace, run_name: str) -> Order:
    live = release.require(models, "live")
    wanted = flags.rollback
    if wanted == "previous":
        if not live.previous:
            raise UsageError(f"version {live.version} is the first: there is nothing to go back to")
        wanted = str(live.previous)
    back = release.require(models, wanted)
    if back.version == live.version:
        raise UsageError(f"version {live.version} is live already")
    reason = f"rollback to {back.version}" + (f": {flags.reason}" if flags.reason else "")
    return Order(
        candidate.read(models, back.candidate), run_name or f"rollback-{live.version + 1}", reason, back.metrics
    )


def made_before(models: Bucket, order: Order) -> Release | None:
    """The release that this very run made, when a step is repeated that was killed after its last write."""
    live = release.live(models)
    same = live and (live.run, live.candidate, live.reason) == (order.run, order.candidate.path, order.reason)
    return live if same else None


def publish(models: Bucket, order: Order, addresses: dict[str, str], deadline: Deadline) -> Release:
    """Nothing that is served changes before the last line but one."""
    live = release.live(models)
    version = live.version + 1 if live else 1
    slot = slots.other(tuple(addresses) or slots.NAMES, live.slot if live else "")
    claim = slots.claim(models, version, order.run, deadline.left())
    try:
        with slot_address(models, slot, addresses) as address:
            server = ServingClient(address, signature.MODEL_NAME)
            slots.drop(models, slot, version)
            wait_until_gone(server, version, deadline)
            log.info("filling slot %s with version %d", slot, version)
            slots.fill(models, order.candidate, slot, version)
            wait_until_available(server, version, deadline)
            check_answers(server, version, order.candidate.answers)
            log.info("slot %s answers as recorded at training", slot)
        slots.check_claim(models, claim)
        made = Release(
            version=version,
            slot=slot,
            candidate=order.candidate.path,
            model=order.candidate.model,
            snapshot=order.candidate.snapshot,
            run=order.run,
            previous=live.version if live else 0,
            reason=order.reason,
            metrics=order.metrics,
            created=records.now(),
        )
        release.create(models, made)
    except (CheckFailedError, UsageError, KeyboardInterrupt):
        # The slot goes back to what it held; nobody was sent there.
        if slots.newest_claim(models, version) == claim:
            slots.drop(models, slot, version)
            slots.drop_claims(models, version)
        raise
    return made


@contextmanager
def slot_address(models: Bucket, slot: str, addresses: dict[str, str]) -> Iterator[str]:
    """The slot's server; without SLOTS one of our own runs while the candidate is checked."""
    if addresses:
        yield addresses[slot]
        return
    from steps.serving.server import in_background
    from steps.serving.slot import Slot, application

    with tempfile.TemporaryDirectory() as cache:
        embedded = Slot(models, slot, Path(cache))
        follower = threading.Thread(target=embedded.follow, args=(POLL_SECONDS,), daemon=True)
        follower.start()
        try:
            with in_background(application(embedded)) as address:
                yield address
        finally:
            embedded.stopped.set()
            follower.join()


class Deadline:
    """A point in time, not a count of tries."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        return max(0.0, self.end - time.monotonic())

    def check(self, what: str) -> None:
        if self.left() == 0:
            raise CheckFailedError(f"{what} within {self.seconds:g} seconds; the live release is untouched")


def wait_until_gone(server: ServingClient, version: int, deadline: Deadline) -> None:
    """A server must not hold the remains of an attempt under the same number."""
    while server.state(version) == AVAILABLE:
        deadline.check(f"{server.url} did not let go of an unfinished version {version}")
        time.sleep(POLL_SECONDS)


def wait_until_available(server: ServingClient, version: int, deadline: Deadline) -> None:
    """A state of failure may still be that of an earlier attempt under the same number: only the deadline ends it."""
    while (state := server.state(version)) != AVAILABLE:
        deadline.check(f"{server.url} does not say that version {version} is available ({state})")
        time.sleep(POLL_SECONDS)


def check_answers(server: ServingClient, version: int, expected: list[Answer]) -> None:
    """Asks for real recommendations and compares them with what was recorded at training."""
    wanted = [answer.user for answer in expected]
    inputs = {signature.USERS: wanted, signature.K: len(expected[0].items)}
    outputs = server.call(version, signature.RECOMMEND, inputs)
    try:
        items, scores, known = (outputs[name] for name in (signature.ITEMS, signature.SCORES, signature.KNOWN))
        found = [Answer(*one) for one in zip(wanted, items, scores, known, strict=True)]
        reasons = [signature.differs(one, other) for one, other in zip(expected, found, strict=True)]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckFailedError(f"{server.url} does not answer as {signature.RECOMMEND} promises: {error}") from error
    reason = next(filter(None, reasons), "")
    if reason:
        raise CheckFailedError(f"version {version} in {server.url} answers wrongly: {reason}")


def tidy(models: Bucket, made: Release, names_of_slots: tuple[str, ...]) -> None:
    """Removes what is older than the version before the live one. Best done last: all of it can wait."""
    for name in names_of_slots:
        dropped = slots.drop_older(models, name, made.previous)
        if dropped:
            log.info("removed from slot %s: version %s", name, ", ".join(map(str, dropped)))
    slots.drop_claims(models, made.version)


if __name__ == "__main__":
    sys.exit(main(parser(), run))
