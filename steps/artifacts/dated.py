"""Small objects that many processes write all day: where they lie by the time of writing, and how they are followed."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from steps.clients.object_store import Bucket, ObjectExistsError, ObjectMissingError

PLACE = re.compile(r"[^/]+/(\d{4})-(\d\d)-(\d\d)/(\d\d)/(\d\d)(\d\d)(\d{3})-[0-9a-f]{12}\.[a-z]+")
LOOK_BACK = timedelta(seconds=30)
"""So far the clocks of writers may differ, and so long a write may take, without a follower missing anything."""
TOGETHER, AHEAD = 8, 256
"""So many objects are read at the same time, and so many before the first of them is asked for."""
PORTION = 32
"""So many objects a follower is handed at once: what it has to catch up with may be larger than its memory."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
UNITS = ((10 * MINUTE, MINUTE, "%Y-%m-%d/%H/%M"), (DAY, HOUR, "%Y-%m-%d/%H/"), (100 * DAY, DAY, "%Y-%m-%d/"))
"""For a time up to the first, what is asked for together, and the keys of that: a follower lists next to nothing."""


@dataclass(frozen=True)
class Mark:
    """How far a follower has come: hand it back, and what was written since is found."""

    at: datetime
    read: frozenset[str] = frozenset()
    """What was read of the time shortly before, because something may still be written there."""


def key(folder: str, ending: str, now: datetime) -> str:
    """Where an object goes that is written now; no two are alike."""
    at = now.astimezone(UTC)
    return f"{folder}/{at:%Y-%m-%d/%H/%M%S}{at.microsecond // 1000:03d}-{secrets.token_hex(6)}.{ending}"


def write(bucket: Bucket, folder: str, ending: str, content: bytes, now: datetime) -> str:
    """Writes an object that nobody changes any more; its key."""
    while True:
        place = key(folder, ending, now)
        try:
            bucket.create(place, content)
        except ObjectExistsError:  # written already, but the store's answer was lost: a second one does no harm
            continue
        return place


def written(place: str) -> datetime | None:
    """When an object was written, as its key says; None for what is no such object."""
    found = PLACE.fullmatch(place)
    if not found:
        return None
    year, month, day, hour, minute, second, thousandths = map(int, found.groups())
    try:
        return datetime(year, month, day, hour, minute, second, thousandths * 1000, UTC)
    except ValueError:
        return None


def keys(bucket: Bucket, folder: str, since: datetime, until: datetime) -> list[str]:
    """The objects written from `since` on and before `until`, in that order."""
    found = {}
    for prefix in _prefixes(folder, since, until):
        for entry in bucket.list(prefix):
            time = written(entry.key)
            if time is not None and since <= time < until:
                found[entry.key] = time
    return sorted(found, key=lambda place: (found[place], place))


def contents(bucket: Bucket, places: list[str]) -> Iterator[tuple[str, bytes]]:
    """What lies there, in the order given; several are fetched at once. What is gone by now is left out."""
    with ThreadPoolExecutor(TOGETHER) as pool:
        for begin in range(0, len(places), AHEAD):
            some = places[begin : begin + AHEAD]
            for place, content in zip(some, pool.map(lambda one: _content(bucket, one), some), strict=True):
                if content is not None:
                    yield place, content


def after(bucket: Bucket, folder: str, mark: Mark, now: datetime) -> Iterator[tuple[list[str], Mark]]:
    """What was written since the mark and was not read yet, a few objects at a time, each time with the mark that goes
    on behind them; after the last of them, with none, the mark for the next time.
    """
    at, read = mark.at, mark.read
    for since, until in _hours(mark.at - LOOK_BACK, now + LOOK_BACK):
        fresh = [place for place in keys(bucket, folder, since, until) if place not in mark.read]
        for begin in range(0, len(fresh), PORTION):
            portion = fresh[begin : begin + PORTION]
            at = max(at, min(written(portion[-1]) or at, now))
            read = _since(at - LOOK_BACK, read.union(portion))
            yield portion, Mark(at, read)
    # A clock that was set back must not make the next look begin before what this one remembers.
    at = max(at, now)
    yield [], Mark(at, _since(at - LOOK_BACK, read))


def _content(bucket: Bucket, place: str) -> bytes | None:
    try:
        return bucket.get(place)
    except ObjectMissingError:
        return None


def _since(time: datetime, places: Iterable[str]) -> frozenset[str]:
    return frozenset(place for place in places if (then := written(place)) is not None and then >= time)


def _hours(since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """A time in parts, none of which lies in two hours of the clock."""
    while since < until:
        end = min(since + HOUR - (since - EPOCH) % HOUR, until)
        yield since, end
        since = end


def _prefixes(folder: str, since: datetime, until: datetime) -> Iterator[str]:
    """Beginnings of keys that hold the whole time between."""
    for longest, unit, form in UNITS:
        if until - since <= longest:
            at = since.astimezone(UTC) - (since.astimezone(UTC) - EPOCH) % unit
            while at < until:
                yield f"{folder}/{at:{form}}"
                at += unit
            return
    yield f"{folder}/"
