"""Brings a candidate into the idle slot as the next version, and believes only what that slot answers."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from steps.artifacts import canary, release, slots
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket
from steps.clients.tf_serving import AVAILABLE, ServingClient
from steps.models import signature
from steps.models.signature import Answer
from steps.runtime.errors import CheckFailedError, TryAgainError, UsageError

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2

Addresses = Mapping[str, str]
"""Where the slots answer, by their names; empty where nobody serves them but ourselves, for the check."""


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


@dataclass(frozen=True)
class Place:
    """Where a candidate lies that has answered well, and what was live meanwhile."""

    version: int
    slot: str
    live: Release | None


@contextmanager
def filled(models: Bucket, chosen: Candidate, run: str, addresses: Addresses, deadline: Deadline) -> Iterator[Place]:
    """The candidate as the next version in the idle slot, where it answers as recorded; the caller makes it count.

    Where it does not answer, or is not made to count, the slot goes back to what it held: nobody was sent there.
    """
    version = canary.next_version(models)
    claim = slots.claim(models, version, run, deadline.left())
    if canary.next_version(models) != version:
        slots.drop_claims(models, version)
        raise TryAgainError(f"version {version} was made by someone else meanwhile; nothing was changed")
    live = release.live(models)
    slot = slots.other(tuple(addresses) or slots.NAMES, live.slot if live else "")
    try:
        with server_of(models, slot, addresses) as server:
            slots.drop(models, slot, version)
            wait_until_gone(server, version, deadline)
            log.info("filling slot %s with version %d", slot, version)
            slots.fill(models, chosen, slot, version)
            see_it_answer(server, version, chosen, deadline)
        slots.check_claim(models, claim)
        yield Place(version, slot, live)
    except (CheckFailedError, UsageError, KeyboardInterrupt):
        # Told to stop right after the version was made to count, it stays.
        if slots.newest_claim(models, version) == claim and canary.next_version(models) == version:
            slots.drop(models, slot, version)
            slots.drop_claims(models, version)
        raise


@contextmanager
def server_of(models: Bucket, slot: str, addresses: Addresses) -> Iterator[ServingClient]:
    """The slot's server; where it has none, one of our own runs while it is asked."""
    if addresses:
        if slot not in addresses:
            raise UsageError(f"SLOTS names {' and '.join(addresses)}, but what is to be asked is in slot {slot}")
        yield ServingClient(addresses[slot], signature.MODEL_NAME)
        return
    from steps.serving.server import in_background
    from steps.serving.slot import Slot, application

    with tempfile.TemporaryDirectory() as cache:
        embedded = Slot(models, slot, Path(cache))
        follower = threading.Thread(target=embedded.follow, args=(POLL_SECONDS,), daemon=True)
        follower.start()
        try:
            with in_background(application(embedded)) as address:
                yield ServingClient(address, signature.MODEL_NAME)
        finally:
            embedded.stopped.set()
            follower.join()


def see_it_answer(server: ServingClient, version: int, chosen: Candidate, deadline: Deadline) -> None:
    """Until the version is available and has answered as recorded at training."""
    wait_until_available(server, version, deadline)
    check_answers(server, version, chosen.answers)
    log.info("%s answers version %d as recorded at training", server.url, version)


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
