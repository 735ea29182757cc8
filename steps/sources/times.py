"""Times as sources write them, to microseconds since 1970 in UTC."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

SAMPLE = 10_000
MICROSECOND = 1_000_000
FIRST, LAST = -2_208_988_800, 7_258_118_400  # 1900-01-01 and 2200-01-01, in seconds since 1970
FORMATS = (
    "dates such as 2024-01-31, 2024/01/31 or 20240131, times such as 2024-01-31T23:59:59+01:00, "
    "seconds, milli-, micro- or nanoseconds since 1970, and 31/01/2024 where the dates show which number is the month"
)

YEARLY = r"^(\d{4})[/.-](\d{1,2})[/.-](\d{1,2})(\D.*)?$"
DATE = r"^\d{4}-\d{2}-\d{2}$"
COMPACT = r"^(?:19|20|21)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"
NUMBER = r"^[+-]?\d+(?:\.\d+)?(?:[eE]\+?\d+)?$"
SECONDS = r"^\d{9,10}$"
MOMENTS = {
    rf"^\d{{4}}-\d\d-\d\d{between}\d\d:\d\d:\d\d(?:\.\d{{1,9}})?{zone}$": f"%Y-%m-%d{between}%H:%M:%S%.f{zone}"
    for between in ("T", " ")
    for zone in ("", "Z")
}
"""How most programs write a moment, and how that is read at once."""
SLASHED = r"^(\d{1,2})[/-](\d{1,2})[/-](\d{4})(.*)$"
DOTTED = r"^(\d{1,2})\.(\d{1,2})\.(\d{4})(.*)$"


@dataclass(frozen=True)
class Reading:
    """How the times of one column are read."""

    expression: pl.Expr
    """Int64 microseconds; null where the value cannot be read this way."""
    thorough: bool
    """Whether `expression` tries every format; where not, what it cannot read deserves a second look."""


def reading(rows: pl.LazyFrame, months_first: Callable[[], bool | None]) -> Reading:
    """Chooses how to read the column `time`: by its type, else by its first values, for speed."""
    kind, column = rows.collect_schema()["time"], pl.col("time")
    if isinstance(kind, pl.Datetime):
        return Reading((column.dt.convert_time_zone("UTC") if kind.time_zone else column).dt.timestamp("us"), True)
    if kind == pl.Date:
        return Reading(column.cast(pl.Datetime("us")).cast(pl.Int64), True)
    if kind.is_numeric():
        return Reading(_epoch(column.cast(pl.Float64 if kind.is_float() else pl.Int64, strict=False)), True)
    text = column.cast(pl.String)
    sample = rows.select(text).head(SAMPLE).collect()["time"].drop_nulls()
    if sample.len() and sample.str.contains(DATE).all():
        return Reading(_date(text), False)
    for pattern, form in MOMENTS.items():
        if sample.len() and sample.str.contains(pattern).all():
            return Reading(_written(text, pattern, form), False)
    if sample.len() and sample.str.contains(SECONDS).all():
        return Reading(_epoch(text.cast(pl.Int64, strict=False)), False)
    return Reading(anything(text, months_first()), True)


def largest(rows: pl.LazyFrame) -> tuple[int, int]:
    """The largest first and the largest second number of the dates like 01/02/2024 in the column `time`."""
    text = pl.col("time").cast(pl.String).str.strip_chars()
    numbers = (text.str.extract(SLASHED, place).cast(pl.Int32).max().alias(str(place)) for place in (1, 2))
    first, second = rows.select(numbers).collect(engine="streaming").row(0)
    return first or 0, second or 0


def months_first(numbers: Iterable[tuple[int, int]]) -> bool | None:
    """Whether 01/02/2024 is a day of January, as all values together show; None where they do not."""
    pairs = list(numbers)
    first_is_day, second_is_day = any(first > 12 for first, _ in pairs), any(second > 12 for _, second in pairs)
    return None if first_is_day == second_is_day else second_is_day


def undecided(text: pl.Expr) -> pl.Expr:
    """Whether a value is a date that is read only where the order of day and month is known."""
    return text.str.contains(SLASHED)


def anything(text: pl.Expr, months_first: bool | None) -> pl.Expr:
    """Reads each value in whichever format it has."""
    text = text.str.strip_chars()
    compact = text.str.contains(COMPACT)
    return pl.coalesce(
        pl.when(compact).then(_date(text, "%Y%m%d")),
        pl.when(text.str.contains(NUMBER) & ~compact).then(_number(text)),
        _moment(_year_first(text, months_first)),
    )


def in_range(microseconds: pl.Expr) -> pl.Expr:
    """Whether a time is one at which people bought things, rather than a number of another meaning."""
    return microseconds.is_between(FIRST * MICROSECOND, LAST * MICROSECOND)


def _date(text: pl.Expr, form: str = "%Y-%m-%d") -> pl.Expr:
    return text.str.to_date(form, strict=False).cast(pl.Datetime("us")).cast(pl.Int64)


def _written(text: pl.Expr, pattern: str, form: str) -> pl.Expr:
    """Only what looks as it should: the form alone would take more, such as an hour of one digit."""
    moment = text.str.to_datetime(form, strict=False, time_unit="us").cast(pl.Int64)
    return pl.when(text.str.contains(pattern)).then(moment)


def _number(text: pl.Expr) -> pl.Expr:
    """Whole numbers keep every digit; a fraction or an exponent goes through floating point."""
    return pl.coalesce(
        _epoch(text.cast(pl.Int64, strict=False)),
        _epoch(text.cast(pl.Float64, strict=False)),
    )


def _epoch(value: pl.Expr) -> pl.Expr:
    """Seconds, milli-, micro- or nanoseconds since 1970: their sizes lie a thousand apart, so that a size tells."""
    size = value.abs()
    scaled = (
        pl.when(size < 10**11)
        .then(value * MICROSECOND)
        .when(size < 10**14)
        .then(value * 1000)
        .when(size < 10**17)
        .then(value)
        .otherwise(value // 1000)
    )
    return scaled.cast(pl.Int64, strict=False)


def _year_first(text: pl.Expr, months_first: bool | None) -> pl.Expr:
    """1/2/2024 as 2024-01-02 or 2024-02-01, 1.2.2024 always as the second, and 2024/02/01 as 2024-02-01."""
    dotted, slashed = (
        [text.str.extract(pattern, place).str.zfill(2) for place in (1, 2)] for pattern in (DOTTED, SLASHED)
    )
    if months_first is None:  # then only a date that allows one order is read
        second_is_month = (slashed[0] > "12") | (slashed[0] == slashed[1])
        known = pl.when(second_is_month).then(slashed[1]).when(slashed[1] > "12").then(slashed[0])
        month = known.otherwise(None)
    else:
        month = slashed[0] if months_first else slashed[1]
    day = pl.when(month == slashed[0]).then(slashed[1]).otherwise(slashed[0])
    year, middle, last = (text.str.extract(YEARLY, place).str.zfill(2) for place in (1, 2, 3))
    return pl.coalesce(
        _joined(text.str.extract(DOTTED, 3), dotted[1], dotted[0], text.str.extract(DOTTED, 4)),
        _joined(text.str.extract(SLASHED, 3), month, day, text.str.extract(SLASHED, 4)),
        _joined(year, middle, last, text.str.extract(YEARLY, 4).fill_null("")),
    )


def _joined(year: pl.Expr, month: pl.Expr, day: pl.Expr, rest: pl.Expr) -> pl.Expr:
    return pl.concat_str([year, month, day], separator="-") + rest


def _moment(text: pl.Expr) -> pl.Expr:
    """YYYY-MM-DD, alone or with a time of day and a zone; without a zone it is UTC."""
    parts = text.str.extract_groups(
        r"^(?<day>\d{4}-\d{2}-\d{2})"
        r"(?:[T ](?<clock>\d{2}:\d{2})(?::(?<second>\d{2})(?:[.,](?<fraction>\d{1,9}))?)?"
        r" ?(?<zone>Z|z|UTC|[+-]\d{2}:?\d{2}|[+-]\d{2})?)?$"
    )
    clock = parts.struct.field("clock").fill_null("00:00")
    second = parts.struct.field("second").fill_null("00")
    stamp = pl.concat_str(parts.struct.field("day"), pl.lit(" "), clock, pl.lit(":"), second)
    whole = stamp.str.to_datetime("%Y-%m-%d %H:%M:%S", strict=False, time_unit="us").cast(pl.Int64)
    fraction = parts.struct.field("fraction").fill_null("0").str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64)
    return whole + fraction - _offset(parts.struct.field("zone"))


def _offset(zone: pl.Expr) -> pl.Expr:
    """A zone such as +01:00 in microseconds; the year-round zones that a number can express."""
    digits = zone.str.replace_all(r"[^0-9]", "").str.pad_end(4, "0")
    minutes = digits.str.slice(0, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(2, 2).cast(
        pl.Int64, strict=False
    )
    sign = pl.when(zone.str.starts_with("-")).then(-1).otherwise(1)
    return (sign * minutes * 60 * MICROSECOND).fill_null(0)
