"""From a shop's site to data_publish and monitor: what users were shown and what they did then, kept as it came."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from steps.artifacts import dated
from steps.artifacts.dated import Mark
from steps.artifacts.names import FEEDBACK
from steps.clients.object_store import Bucket
from steps.runtime.errors import BadDataError

log = logging.getLogger(__name__)

SHOWN, CLICKED, BOUGHT, RATED = KINDS = ("shown", "clicked", "bought", "rated")
FIELDS = ("id", "kind", "user", "items", "version", "value", "time")
NEEDED = ("id", "kind", "user", "items")
LONGEST_EVENT_ID, LONGEST_ID = 128, 256
"""Letters of an event's own id; bytes of a user's or an item's, as in purchases of any source."""
MOST_ITEMS = 1000
LARGEST_VERSION = 2**31 - 1
AHEAD = timedelta(days=1)
"""So far a sender's clock may be ahead of this one."""
ENDING = "jsonl"
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that a user saw or did."""

    id: str
    """The shop's: an event that comes twice with the same id is one event."""
    kind: str
    user: str
    items: tuple[str, ...]
    """The whole list that was shown, in its order; of all other kinds the one item."""
    version: int
    """Of the release that made the list, 0 where that is not known."""
    value: float | None
    """What somebody rated an item; of no other kind."""
    time: str
    """When it happened: RFC 3339 in UTC with milliseconds, so that texts are ordered as times are."""

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.time)

    @classmethod
    def from_json(cls, value: object, received: datetime | None = None) -> Event:
        """Checks what a shop has sent; BadDataError with one sentence for the first thing that is wrong.

        An event that does not say when it was is of the time when it was received, which is now if not given.
        """
        if not isinstance(value, Mapping):
            raise BadDataError(f"an event is a JSON object, and this one is {_shown(value)}")
        unknown = [name for name in value if name not in FIELDS]
        if unknown:
            raise BadDataError(f"an event has no field {_shown(unknown[0])}; it may have {', '.join(FIELDS)}")
        received = received or datetime.now(UTC)
        event = _event({"time": stamp(received), **value})
        if event.time > stamp(received + AHEAD):
            raise BadDataError(f"the event's time is {event.time}: that is more than a day from now")
        return event

    def as_json(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in FIELDS}
        return {**told, "items": list(self.items)}


def stamp(moment: datetime) -> str:
    """A time as events have it."""
    at = moment.astimezone(UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def encode(events: Iterable[Event]) -> bytes:
    """A batch: one JSON object a line."""
    lines = (json.dumps(event.as_json(), ensure_ascii=False, separators=(",", ":")) for event in events)
    return "".join(f"{line}\n" for line in lines).encode()


def decode(content: bytes) -> list[Event]:
    """The events of a batch; fields that this version does not know are left out."""
    events = []
    for number, line in enumerate(content.split(b"\n"), 1):  # a text may hold what splitlines() takes for an end
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise BadDataError(f"line {number} is not JSON: {error}") from error
        if not isinstance(value, dict):
            raise BadDataError(f"line {number} is no JSON object")
        try:
            events.append(_event({name: part for name, part in value.items() if name in FIELDS}))
        except BadDataError as error:
            raise BadDataError(f"line {number}: {error}") from error
    return events


def key(now: datetime) -> str:
    """Where a batch goes that is written now; no two are alike."""
    return dated.key(FEEDBACK, ENDING, now)


def write(data: Bucket, events: Sequence[Event], now: datetime | None = None) -> str:
    """Writes a batch and returns its key: from then on the events survive a crash of who took them."""
    if not events:
        raise ValueError("a batch of feedback has at least one event")
    return dated.write(data, FEEDBACK, ENDING, encode(events), now or datetime.now(UTC))


def read(
    data: Bucket, since: datetime = EARLIEST, until: datetime = LATEST, kinds: Collection[str] = KINDS
) -> Iterator[Event]:
    """What was written from `since` on and before `until`, in the order of writing, each event of these kinds once.

    Of other kinds not even the ids are kept: far more is shown than bought.
    """
    events = _events(data, dated.keys(data, FEEDBACK, since, until))
    yield from _once(event for event in events if event.kind in kinds)


def mark(since: datetime) -> Mark:
    """Where following begins that is to miss nothing from `since` on; it finds what came shortly before as well."""
    return Mark(since)


def after(data: Bucket, mark: Mark, now: datetime) -> Iterator[tuple[list[Event], Mark]]:
    """What was written since the mark, by writers whose clocks may differ by some seconds, in portions that fit into
    memory; each comes with the mark behind it, and the last mark is that for the next time.

    The first comes from `mark()`. Where the store does not answer, it raises, and the last mark that came asks for
    what did not come. An id that came before a mark may come again after it.
    """
    for fresh, then in dated.after(data, FEEDBACK, mark, now):
        yield list(_once(_events(data, fresh))), then


def _events(data: Bucket, places: list[str]) -> Iterator[Event]:
    for place, content in dated.contents(data, places):
        try:
            yield from decode(content)
        except BadDataError as error:
            # One damaged object must not keep everybody from all the others.
            log.warning("%s is no feedback and is left out: %s", data.address(place), error)


def _once(events: Iterable[Event]) -> Iterator[Event]:
    seen: set[str] = set()
    for event in events:
        if event.id not in seen:
            seen.add(event.id)
            yield event


def _event(value: Mapping[str, object]) -> Event:
    missing = [name for name in NEEDED if value.get(name) is None]
    if missing:
        raise BadDataError(f"the event has no {missing[0]}; it needs {', '.join(NEEDED)}")
    kind = value["kind"]
    if kind not in KINDS:
        raise BadDataError(f"the event's kind is {_shown(kind)}; it may be {', '.join(KINDS)}")
    return Event(
        id=_event_id(value["id"]),
        kind=str(kind),
        user=_known("user", value["user"]),
        items=_items(str(kind), value["items"]),
        version=_version(value.get("version")),
        value=_value(str(kind), value.get("value")),
        time=_time(value.get("time")),
    )


def _event_id(value: object) -> str:
    text = _text("id", value)
    if not 1 <= len(text) <= LONGEST_EVENT_ID:
        raise BadDataError(f"the event's id has {len(text)} characters; 1 to {LONGEST_EVENT_ID} are allowed")
    return text


def _known(name: str, value: object) -> str:
    """A user's or an item's id as purchases may have it."""
    text = _text(name, value)
    if not text.strip():
        raise BadDataError(f"the event's {name} is empty")
    size = len(text.encode())
    if size > LONGEST_ID:
        raise BadDataError(f"the event's {name} is {size} bytes long; {LONGEST_ID} are allowed")
    return text


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise BadDataError(f"the event's {name} is {_shown(value)}: a text is required")
    if CONTROL.search(value):
        raise BadDataError(f"the event's {name} is {_shown(value)}: control characters are not allowed")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half of a pair, which JSON can write and nothing can store
        raise BadDataError(f"the event's {name} is {_shown(value)}: that is no Unicode text") from error
    return value


def _items(kind: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise BadDataError(f"the event's items are {_shown(value)}: a list of texts is required")
    most = MOST_ITEMS if kind == SHOWN else 1
    if not 1 <= len(value) <= most:
        allowed = f"1 to {most} are" if most > 1 else "exactly 1 is"
        raise BadDataError(f"the event has {len(value)} items; of what was {kind}, {allowed} allowed")
    return tuple(_known("item", one) for one in value)


def _version(value: object) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_VERSION:
        raise BadDataError(f"the event's version is {_shown(value)}: a whole number from 0 on is required")
    return value


def _value(kind: str, value: object) -> float | None:
    if kind != RATED:
        if value is not None:
            raise BadDataError(f"the event has a value, and only what was {RATED} has one; this was {kind}")
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not _finite(value):
        raise BadDataError(f"the event's value is {_shown(value)}: what was {RATED} needs a finite number")
    return float(value)


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond all floats
        return False


def _time(value: object) -> str:
    if not isinstance(value, str) or not RFC_3339.fullmatch(value):
        raise BadDataError(f"the event's time is {_shown(value)}: write it as 2026-01-31T23:59:59.123Z")
    try:
        moment = datetime.fromisoformat(value.upper())
        if not EARLIEST <= moment < LATEST:
            raise BadDataError(f"the event's time is {_shown(value)}: it must be between 1970 and 2200")
    except ValueError as error:
        raise BadDataError(f"the event's time is {_shown(value)}: there is no such time") from error
    return stamp(moment)


def _shown(value: object) -> str:
    """A value for a sentence: short, on one line, and nothing that only looks like text."""
    text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
