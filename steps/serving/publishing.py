"""Makes a candidate live, tries it first, promotes, takes back: whoever asks, a program or somebody at a server.

The idle slot is filled and seen to answer before anything is recorded, and the record is the last thing written.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Self

from steps.artifacts import canary, candidate, names, orders, release, slots
from steps.artifacts.canary import CANARY, Canary
from steps.artifacts.orders import Order
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket
from steps.clients.tf_serving import parse_slots
from steps.runtime.errors import CheckFailedError
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.settings import Settings
from steps.serving.filling import Addresses, Deadline, filled, see_it_answer, server_of

log = logging.getLogger(__name__)

SECONDS = 300.0
"""That a slot has to answer well."""
NO_REASON = "no reason was given"
LIVE, ABORTED = "live", canary.ABORTED
SAID = {LIVE: "is live", CANARY: "is tried", ABORTED: "was taken back"}
"""What became of a version, for the workflow that goes on from here, and for people."""


@dataclass(frozen=True)
class Done:
    """A version, and what became of it."""

    made: Release | Canary
    became: str


@dataclass(frozen=True)
class Publisher:
    """Where the models lie, in which slots they are tried, and how long a slot may take."""

    models: Bucket
    addresses: Addresses
    saved_model: bool
    """Whether the slots read SavedModels."""
    kafka: KafkaSettings
    seconds: float = SECONDS

    @classmethod
    def of(cls, models: Bucket, settings: Settings, seconds: float = SECONDS) -> Self:
        return cls(models, parse_slots(settings.slots), settings.saved_model, settings.kafka, seconds)

    def publish(self, run: str, *, force: str, reason: str, percent: float, mode: str) -> Done:
        """What a run's verdict promoted goes live, or is tried on a share of the users."""
        canary.settle(self.models)
        order = orders.promoted(self.models, run, force=force, reason=reason)
        return self._made(replace(order, percent=percent, mode=mode))

    def roll_back(self, run: str, wanted: str, reason: str, live: int | None = None) -> Done:
        """An earlier version's model goes live again under a new version; `previous` is the one before the live one.

        Only in the place of `live`, where that is said: who repeats what was done already changes nothing.
        """
        canary.settle(self.models)
        now = release.require(self.models, "live").version
        if live is not None and now != live:
            raise CheckFailedError(f"version {live} is not live any more, version {now} is: look at that one first")
        return self._made(orders.back(self.models, run, wanted=wanted, reason=reason))

    def promote(self, version: str, reason: str) -> Done:
        """The canary goes live under its own number, from the slot that it is in."""
        canary.settle(self.models)
        tried = canary.require(self.models, version)
        if canary.ended(self.models, tried) is None:
            with server_of(self.models, tried.slot, self.addresses) as server:
                chosen = candidate.read(self.models, tried.candidate)
                see_it_answer(server, tried.version, chosen, Deadline(self.seconds))
        why = tried.as_release(reason).reason
        over = canary.ended(self.models, tried) or canary.end(self.models, tried.version, canary.PROMOTED, why)
        live = release.require(self.models, "live")
        if live.version != tried.version:
            raise CheckFailedError(
                f"version {tried.version} is no canary any more: {over.outcome}, {over.reason}; "
                f"version {live.version} stays live"
            )
        return self._told(Done(live, LIVE))

    def abort(self, version: str, reason: str) -> Done:
        """The canary is asked no more. It stays in its slot until that is filled again: some may be asking it now."""
        canary.settle(self.models)
        tried = canary.require(self.models, version)
        mine = reason or NO_REASON
        over = canary.ended(self.models, tried) or canary.end(self.models, tried.version, canary.ABORTED, mine)
        if over.outcome == canary.PROMOTED:
            raise CheckFailedError(
                f"version {tried.version} is no canary any more, it went live: --rollback takes it back"
            )
        return self._told(Done(tried, ABORTED))

    def _made(self, order: Order) -> Done:
        made = orders.made_before(self.models, order) or self._make(order)
        return self._told(Done(made, LIVE if isinstance(made, Release) else CANARY))

    def _make(self, order: Order) -> Release | Canary:
        """Nothing that is served changes before the record, which is the last thing written."""
        models, deadline = self.models, Deadline(self.seconds)
        orders.check(models, order)
        if self.saved_model and not order.candidate.part(names.SAVED_MODEL):
            raise CheckFailedError(
                f"{order.candidate.path} has no SavedModel, which the slots are said to read: train it again as "
                "things are now, or set SAVED_MODEL=false where the slots are steps.slot_server's"
            )
        orders.make_way(models, order)
        with filled(models, order.candidate, order.run, self.addresses, deadline) as place:
            orders.check(models, order)  # again, for all that took a while
            if order.percent and place.live:
                tried = order.canary(place.version, place.slot, place.live)
                canary.start(models, tried)
                return tried
            made = order.release(place.version, place.slot, place.live)
            release.create(models, made)
            return made

    def _told(self, done: Done) -> Done:
        """What can wait until everything is recorded."""
        made = done.made
        if self.kafka:
            from steps.serving.announcements import announce

            # So that the servers look into the store now; without Kafka they do at their next turn.
            announce(self.kafka, "release" if done.became == LIVE else "canary", made.version)
        tidy(self.models, made, tuple(self.addresses) or slots.NAMES)
        what = SAID[done.became]
        log.info("version %d %s: %s from %s, in slot %s", made.version, what, made.model, made.candidate, made.slot)
        return done


def tidy(models: Bucket, made: Release | Canary, names_of_slots: tuple[str, ...]) -> None:
    """Removes what is neither live, nor was before that, nor is tried. Best done last: all of it can wait."""
    live = release.read(models, made.base) if isinstance(made, Canary) else made
    for name in names_of_slots:
        dropped = slots.drop_older(models, name, made.version, kept={live.version, live.previous})
        if dropped:
            log.info("removed from slot %s: version %s", name, ", ".join(map(str, dropped)))
    slots.drop_claims(models, made.version)
    canary.settle(models)
