"""Answers lists that were asked for: by the release whose turn it is, else by another one, else by popularity."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Full, Queue

import msgspec

from steps.serving.asgi import RefusedError
from steps.serving.messages import Recommendation
from steps.serving.models import Bought, Model, Serving, Wanted
from steps.serving.statistics import AGREED, ANSWERED, DEGRADED, FAILED, SHADOWED, STRANGERS, Statistics

log = logging.getLogger(__name__)

MOST_WAITING = 100
"""Batches that a shadow has not been asked yet."""


class Answers:
    """Counts for each version what it has answered, and what others had to answer for it."""

    def __init__(self, statistics: Statistics, recent: Bought) -> None:
        self.statistics = statistics
        self.recent = recent
        self.shadow = InTheShadow(statistics, recent)

    def of(self, serving: Serving, wanted: Sequence[Wanted]) -> list[Recommendation | RefusedError]:
        """A list for each, or why it cannot be had. What a broken model cannot answer another one does."""
        turns: dict[int, list[int]] = {}
        models = [serving.of(one.user) for one in wanted]
        for place, model in enumerate(models):
            turns.setdefault(id(model), []).append(place)
        found: dict[int, Recommendation | RefusedError] = {}
        for places in turns.values():
            model = models[places[0]]
            found |= zip(places, self._by(serving, model, [wanted[place] for place in places]), strict=True)
        if serving.shadow is not None:
            asked = [
                (wanted[place], shown)
                for place, shown in found.items()
                if isinstance(shown, Recommendation) and serving.in_share(wanted[place].user)
            ]
            self.shadow.ask(serving.shadow, asked)
        return [found[place] for place in range(len(wanted))]

    def _by(self, serving: Serving, model: Model, wanted: Sequence[Wanted]) -> Sequence[Recommendation | RefusedError]:
        try:
            found = model.answer(wanted, self.recent)
        except Exception as error:
            if len(wanted) > 1:  # what breaks for one must not break for those who only asked at the same time
                return [one for alone in wanted for one in self._by(serving, model, [alone])]
            if isinstance(error, RefusedError):  # the question is to blame
                return [error]
            log.exception("version %d could not answer", model.version)
            self.statistics.answered(model.version, FAILED)
            return [self._instead(serving, model, wanted[0])]
        self._count(model.version, found)
        return found

    def _instead(self, serving: Serving, broken: Model, wanted: Wanted) -> Recommendation:
        attempts: list[Callable[[], Recommendation]] = [
            *(lambda other=other: other.answer([wanted], self.recent)[0] for other in serving.others(broken)),
            *(lambda other=other: other.popular(wanted) for other in (broken, *serving.others(broken))),
        ]
        for attempt in attempts:
            try:
                found = msgspec.structs.replace(attempt(), degraded=True)
            except Exception:
                log.exception("nor could another one")
                continue
            # Who is broken and gives popular items has still not answered.
            if found.version != broken.version:
                self._count(found.version, [found])
            self.statistics.answered(broken.version, DEGRADED)
            return found
        raise RuntimeError("no release that is loaded can answer")

    def _count(self, version: int, found: Sequence[Recommendation]) -> None:
        self.statistics.answered(version, ANSWERED, len(found))
        strangers = sum(not one.known for one in found)
        if strangers:
            self.statistics.answered(version, STRANGERS, strangers)


class InTheShadow:
    """Asks a version that nobody sees, beside all else, and counts how far it agrees with what was shown."""

    def __init__(self, statistics: Statistics, recent: Bought) -> None:
        self.statistics = statistics
        self.recent = recent
        self._waiting: Queue[tuple[Model, Sequence[tuple[Wanted, Recommendation]]]] = Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def ask(self, model: Model, asked: Sequence[tuple[Wanted, Recommendation]]) -> None:
        """Nobody waits for it; where it cannot keep up, some questions are not put to it."""
        if not asked:
            return
        if self._thread is None:  # only now, because a process that has threads cannot be divided
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()
        with suppress(Full):
            self._waiting.put_nowait((model, asked))

    def _work(self) -> None:
        while True:
            model, asked = self._waiting.get()
            try:
                found = model.answer([wanted for wanted, _ in asked], self.recent)
            except RefusedError:  # of a column that it does not have: nothing is to be compared
                continue
            except Exception:
                log.exception("version %d could not answer in the shadow", model.version)
                self.statistics.answered(model.version, FAILED, len(asked))
                continue
            shares = [overlap(shown, own) for (_, shown), own in zip(asked, found, strict=True)]
            self.statistics.answered(model.version, SHADOWED, len(shares))
            self.statistics.answered(model.version, AGREED, round(1e6 * sum(shares)))


def overlap(shown: Recommendation, other: Recommendation) -> float:
    """The share of what was shown that the other list has too."""
    items = {one.item for one in shown.items}
    return len(items & {one.item for one in other.items}) / len(items) if items else 1.0
