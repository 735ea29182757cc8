"""A cron schedule: read, checked, and asked for the times at which it fires.

Written here and not taken from a library, because it must accept exactly what the controller accepts (robfig's standard
parser: five fields, Sunday is 0 and not 7) and refuse what surprises there (day of month and day of week together are
ORed). The libraries of the field are either abandoned by their author or read other dialects.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import product
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
HORIZON = timedelta(days=366 * 8)
"""February the 29th comes within eight years; what does not come in that time never does."""


class ScheduleError(ValueError):
    """A schedule, a timezone or a date that cannot be used."""


@dataclass(frozen=True)
class Field:
    """One of the five: its name, its range, and the names that its values have."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    def read(self, text: str) -> frozenset[int]:
        found: set[int] = set()
        for part in text.split(","):
            found |= self.part(part, text)
        return frozenset(found)

    def part(self, part: str, text: str) -> set[int]:
        span, slash, written_step = part.partition("/")
        step = self.number(written_step, text, words=False) if slash else 1
        if step < 1:
            raise ScheduleError(f"{self.name} is {text!r}: a step must be 1 or more")
        if span in ("*", "?"):
            first, last = self.low, self.high
        else:
            begin, dash, end = span.partition("-")
            first = self.value(begin, text)
            last = self.value(end, text) if dash else self.high if slash else first
        if first > last:
            raise ScheduleError(f"{self.name} is {text!r}: the range {span} runs backwards")
        return set(range(first, last + 1, step))

    def value(self, word: str, text: str) -> int:
        found = self.number(word, text, words=True)
        if not self.low <= found <= self.high:
            hint = "; Sunday is 0" if self.name == "day of week" and found == 7 else ""
            raise ScheduleError(f"{self.name} is {text!r}: {word} is not within {self.low} to {self.high}{hint}")
        return found

    def number(self, word: str, text: str, *, words: bool) -> int:
        if words and word.lower() in self.words:
            return self.words.index(word.lower()) + self.low
        if not (word.isascii() and word.isdigit()):
            raise ScheduleError(f"{self.name} is {text!r}: {word!r} is no number")
        return int(word)


FIELDS = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    Field("day of month", 1, 31),
    Field("month", 1, 12, MONTHS),
    Field("day of week", 0, 6, DAYS),
)


@dataclass(frozen=True)
class Schedule:
    """When something happens, in a timezone."""

    text: str
    zone: tzinfo
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]

    @classmethod
    def read(cls, text: str, timezone: str) -> Schedule:
        parts = text.split()
        if len(parts) != len(FIELDS):
            raise ScheduleError(
                f"the schedule {text!r} has {len(parts)} fields; it needs five: "
                "minute, hour, day of month, month, day of week"
            )
        found = [field.read(part) for field, part in zip(FIELDS, parts, strict=True)]
        if not any(parts[place].startswith(("*", "?")) for place in (2, 4)):
            raise ScheduleError(
                f"the schedule {text!r} sets both day of month and day of week; cron fires on either, so set only one"
            )
        schedule = cls(text, zone(timezone), *found)
        if next(schedule.after(datetime(2024, 1, 1, tzinfo=UTC)), None) is None:
            raise ScheduleError(f"the schedule {text!r} never fires: no month has that day")
        return schedule

    def after(self, moment: datetime) -> Iterator[datetime]:
        """The times after a moment, in order, as UTC. As on the controller, a time that a change of clocks leaves out
        is left out, and one that comes twice counts twice."""
        local = moment.astimezone(self.zone)
        day, last = local.date(), local.date() + HORIZON
        while day <= last:
            if self.has(day):
                for found in self.on(day):
                    if found > moment:
                        yield found
                        last = day + HORIZON
            day += timedelta(days=1)

    def next(self, moment: datetime) -> datetime:
        return next(self.after(moment))

    def between(self, first: datetime, last: datetime) -> list[datetime]:
        """The times from the first moment to the last, both included."""
        found = []
        for moment in self.after(first - timedelta(microseconds=1)):
            if moment > last:
                break
            found.append(moment)
        return found

    def has(self, day: date) -> bool:
        return day.month in self.months and day.day in self.days and day.isoweekday() % 7 in self.weekdays

    def on(self, day: date) -> list[datetime]:
        found = set()
        for hour, minute, fold in product(self.hours, self.minutes, (0, 1)):
            local = datetime.combine(day, time(hour, minute, fold=fold), self.zone)
            moment = local.astimezone(UTC)
            if moment.astimezone(self.zone).replace(tzinfo=None) == local.replace(tzinfo=None):
                found.add(moment)
        return sorted(found)


def zone(name: str) -> tzinfo:
    if name in ("UTC", "Etc/UTC"):
        return UTC  # known without the timezone files, which a small image may lack
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(f"the timezone is {name!r}; write a name such as UTC or Europe/Berlin") from error
