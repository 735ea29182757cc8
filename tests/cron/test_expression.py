"""Schedules: what is accepted, what is refused, when they fire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from cron.expression import Schedule, ScheduleError


def times(text, start, count=3, zone="UTC"):
    schedule = Schedule.read(text, zone)
    return [moment.strftime("%a %Y-%m-%d %H:%M") for moment in islice(schedule.after(start), count)]


FRIDAY = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(("text", "expected"), [
    ("15 2 * * *", ["Sat 2026-11-21 02:15", "Sun 2026-11-22 02:15", "Mon 2026-11-23 02:15"]),
    ("0 12 * * *", ["Sat 2026-11-21 12:00", "Sun 2026-11-22 12:00", "Mon 2026-11-23 12:00"]),
    ("*/20 12 * * *", ["Fri 2026-11-20 12:20", "Fri 2026-11-20 12:40", "Sat 2026-11-21 12:00"]),
    ("30 4 * * 1", ["Mon 2026-11-23 04:30", "Mon 2026-11-30 04:30", "Mon 2026-12-07 04:30"]),
    ("0 5 * * 0", ["Sun 2026-11-22 05:00", "Sun 2026-11-29 05:00", "Sun 2026-12-06 05:00"]),
    ("0 0 31 * *", ["Thu 2026-12-31 00:00", "Sun 2027-01-31 00:00", "Wed 2027-03-31 00:00"]),
    ("0 0 29 2 *", ["Tue 2028-02-29 00:00", "Sun 2032-02-29 00:00", "Fri 2036-02-29 00:00"]),
    ("5,7 1-2 1 jan ?", ["Fri 2027-01-01 01:05", "Fri 2027-01-01 01:07", "Fri 2027-01-01 02:05"]),
    ("0 9-17/4 * * mon-wed", ["Mon 2026-11-23 09:00", "Mon 2026-11-23 13:00", "Mon 2026-11-23 17:00"]),
    ("50/5 23 * * *", ["Fri 2026-11-20 23:50", "Fri 2026-11-20 23:55", "Sat 2026-11-21 23:50"]),
])  # fmt: skip
def test_the_next_times(text, expected):
    assert times(text, FRIDAY) == expected


def test_a_time_is_after_the_moment_and_never_at_it():
    schedule = Schedule.read("0 12 * * *", "UTC")
    assert schedule.next(FRIDAY) == FRIDAY + timedelta(days=1)
    assert schedule.next(FRIDAY - timedelta(seconds=1)) == FRIDAY


def test_times_are_those_of_the_timezone():
    # Kolkata is 5:30 ahead, all year.
    assert times("15 2 * * *", FRIDAY, 1, "Asia/Kolkata") == ["Fri 2026-11-20 20:45"]


def test_a_time_that_the_change_of_clocks_leaves_out_is_left_out():
    # Berlin goes from 02:00 to 03:00 on 2027-03-28.
    start = datetime(2027, 3, 27, 12, 0, tzinfo=UTC)
    assert times("30 2 * * *", start, 2, "Europe/Berlin") == ["Mon 2027-03-29 00:30", "Tue 2027-03-30 00:30"]


def test_a_time_that_comes_twice_fires_twice_as_on_the_controller():
    # Argo's docs/cron-workflows.md: Los Angeles goes from 02:00 back to 01:00 on 2020-11-01, and 01:59 comes twice.
    start = datetime(2020, 11, 1, 7, 30, tzinfo=UTC)
    assert times("59 1 * * *", start, 3, "America/Los_Angeles") == [
        "Sun 2020-11-01 08:59", "Sun 2020-11-01 09:59", "Mon 2020-11-02 09:59",
    ]  # fmt: skip
    # No hour of a schedule that fires in each of them is left out, and all come in order.
    assert times("0,30 * * * *", start, 5, "America/Los_Angeles") == [
        f"Sun 2020-11-01 {hour}" for hour in ("08:00", "08:30", "09:00", "09:30", "10:00")
    ]


def test_between_includes_both_ends():
    schedule = Schedule.read("0 * * * *", "UTC")
    found = schedule.between(FRIDAY, FRIDAY + timedelta(hours=2))
    assert found == [FRIDAY, FRIDAY + timedelta(hours=1), FRIDAY + timedelta(hours=2)]


@pytest.mark.parametrize(("text", "said"), [
    ("* * * *", "has 4 fields; it needs five"),
    ("0 0 * * * *", "has 6 fields; it needs five"),
    ("@daily", "has 1 fields; it needs five"),
    ("", "has 0 fields"),
    ("60 * * * *", "minute is '60': 60 is not within 0 to 59"),
    ("* 24 * * *", "hour is '24': 24 is not within 0 to 23"),
    ("* * 0 * *", "day of month is '0': 0 is not within 1 to 31"),
    ("* * * 13 *", "month is '13': 13 is not within 1 to 12"),
    ("* * * * 7", "day of week is '7': 7 is not within 0 to 6; Sunday is 0"),
    ("5-1 * * * *", "the range 5-1 runs backwards"),
    ("*/0 * * * *", "a step must be 1 or more"),
    ("x * * * *", "minute is 'x': 'x' is no number"),
    ("1, * * * *", "'' is no number"),
    ("-1 * * * *", "'' is no number"),
    ("² * * * *", "'²' is no number"),
    ("* * * foo *", "month is 'foo': 'foo' is no number"),
    ("0 0 1 * 1", "sets both day of month and day of week"),
    ("0 0 30 2 *", "never fires: no month has that day"),
])  # fmt: skip
def test_a_wrong_schedule_says_what_is_wrong(text, said):
    with pytest.raises(ScheduleError) as caught:
        Schedule.read(text, "UTC")
    assert said in str(caught.value)


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "CEST+1"])
def test_a_timezone_that_does_not_exist_is_refused(zone):
    with pytest.raises(ScheduleError, match="write a name such as UTC or Europe/Berlin"):
        Schedule.read("0 0 * * *", zone)


def test_every_minute_of_a_year_agrees_with_a_slow_definition():
    schedule = Schedule.read("*/7 3,15 * 2-11/3 1-5", "America/New_York")
    zone = ZoneInfo("America/New_York")
    moment, end, slow = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), []
    while moment < end:
        local = moment.astimezone(zone)
        if local.minute % 7 == 0 and local.hour in (3, 15) and local.month in (2, 5, 8, 11) and local.isoweekday() <= 5:
            slow.append(moment)
        moment += timedelta(minutes=1)
    assert schedule.between(datetime(2026, 1, 1, tzinfo=UTC), end - timedelta(minutes=1)) == slow
