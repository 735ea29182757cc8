"""Every way to write a time that people use means what they mean by it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest

from steps.sources import times

NOON = 1_706_702_399_000_000  # 2024-01-31T11:59:59Z


def read(values: Sequence[object], dtype: pl.DataType | type[pl.DataType] | None = None) -> list[int | None]:
    """As a column is read, all steps of it."""
    rows = pl.DataFrame({"time": pl.Series(values, dtype=dtype)}).lazy()
    months_first = times.months_first([times.largest(rows)]) if rows.collect_schema()["time"] == pl.String else None
    reading = times.reading(rows, lambda: months_first)
    quick = rows.select(time=reading.expression).collect()["time"].to_list()
    if reading.thorough:
        return quick
    again = rows.select(time=times.anything(pl.col("time"), months_first)).collect()["time"].to_list()
    return [second if first is None else first for first, second in zip(quick, again, strict=True)]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-31T11:59:59Z",
        "2024-01-31 11:59:59",
        "2024-01-31T11:59:59+00:00",
        "2024-01-31T12:59:59+01:00",
        "2024-01-31T12:59:59+0100",
        "2024-01-31 12:59:59+01",
        "2024-01-31T07:29:59-04:30",
        "2024-01-31 11:59:59 UTC",
        "2024/01/31 11:59:59",
        "2024-01-31T11:59:59.000",
        " 2024-01-31T11:59:59Z ",
        "31/01/2024 11:59:59",
        "31.01.2024 11:59:59",
        "1/31/2024 11:59:59",
        "1706702399",
        "1706702399000",
        "1706702399000000",
        "1706702399000000000",
        "1706702399.0",
        "1.706702399e9",
    ],
)
def test_a_moment_is_the_same_however_it_is_written(text: str) -> None:
    assert read([text]) == [NOON]


def test_a_fraction_of_a_second_is_kept_to_the_microsecond() -> None:
    assert read(["2024-01-31T11:59:59.123456789Z", "1706702399.5"]) == [NOON + 123_456, NOON + 500_000]


@pytest.mark.parametrize("text", ["2024-01-31", "2024/01/31", "2024/1/31", "20240131", "31.1.2024", "31/1/2024"])
def test_a_day_begins_at_midnight(text: str) -> None:
    assert read([text]) == [at("2024-01-31")]


def test_an_hour_without_seconds_is_read() -> None:
    assert read(["2024-01-31 11:30"]) == [at("2024-01-31T11:30")]


@pytest.mark.parametrize(
    "text", ["yesterday", "2024-13-01", "2024-02-30", "2024-01-31T25:00:00", "31/31/2024", "--", "NaN"]
)
def test_what_is_no_time_is_not_read(text: str) -> None:
    assert read([text]) == [None]


def test_one_day_above_twelve_shows_that_days_come_first() -> None:
    assert read(["01/02/2024", "13/02/2024"]) == [at("2024-02-01"), at("2024-02-13")]


def test_one_second_number_above_twelve_shows_that_months_come_first() -> None:
    assert read(["01/02/2024", "02/13/2024"]) == [at("2024-01-02"), at("2024-02-13")]


def test_where_nothing_shows_the_order_a_date_that_allows_two_readings_is_not_read() -> None:
    assert read(["01/02/2024", "03/03/2024"]) == [None, at("2024-03-03")]


def test_where_both_orders_occur_only_the_plain_cases_are_read() -> None:
    assert read(["01/02/2024", "13/02/2024", "02/13/2024"]) == [None, at("2024-02-13"), at("2024-02-13")]


def test_dots_mean_days_first_even_where_slashes_mean_months_first() -> None:
    assert read(["02.01.2024", "01/31/2024"]) == [at("2024-01-02"), at("2024-01-31")]


def test_formats_may_be_mixed_after_a_regular_beginning() -> None:
    assert read(["2024-01-31", "2024-01-31T11:59:59Z"] * 2)[1] == NOON
    beginning = ["2024-01-31"] * times.SAMPLE
    assert read([*beginning, "1706702399", "nonsense"])[-2:] == [NOON, None]


@pytest.mark.parametrize("zone", ["", "Z"])
@pytest.mark.parametrize("between", ["T", " "])
def test_moments_as_most_programs_write_them_are_read_at_once_and_alike(between: str, zone: str) -> None:
    days = ("1899-12-31", "1969-12-31", "2024-02-29", "2199-12-31")
    clocks = ("00:00:00", "11:59:59.5", "23:59:59.123456789", "11:59:59.000000000")
    texts = [f"{day}{between}{clock}{zone}" for day in days for clock in clocks]
    rows = pl.LazyFrame({"time": texts})
    reading = times.reading(rows, lambda: None)
    assert not reading.thorough
    found = rows.select(quick=reading.expression, slow=times.anything(pl.col("time"), None)).collect()
    assert found["quick"].to_list() == found["slow"].to_list()
    assert found["quick"].null_count() == 0


@pytest.mark.parametrize(
    "text", ["2024-01-31T1:59:59", "2024-1-31T11:59:59", "2024-01-31T11:59:59 ", "2024-02-30T11:59:59"]
)
def test_what_only_nearly_looks_like_that_is_left_to_the_second_look(text: str) -> None:
    rows = pl.LazyFrame({"time": ["2024-01-31T11:59:59"] * times.SAMPLE + [text]})
    reading = times.reading(rows, lambda: None)
    assert not reading.thorough
    assert rows.select(reading.expression).collect().to_series()[-1] is None


def test_eight_digits_are_a_date_only_where_they_can_be_one() -> None:
    assert read(["20241331"]) == [20_241_331 * 1_000_000]


def test_columns_that_have_a_type_need_no_guessing() -> None:
    zone = timezone(timedelta(hours=1))
    assert read([date(2024, 1, 31)]) == [at("2024-01-31")]
    assert read([datetime(2024, 1, 31, 11, 59, 59)]) == [NOON]
    assert read([datetime(2024, 1, 31, 12, 59, 59, tzinfo=zone)], pl.Datetime("ns", "Europe/Berlin")) == [NOON]
    assert read([1_706_702_399]) == [NOON]
    assert read([1_706_702_399_000], pl.UInt64) == [NOON]
    assert read([1_706_702_399.5, float("nan"), None]) == [NOON + 500_000, None, None]


def test_times_before_1970_are_negative_and_read_alike() -> None:
    assert read(["1969-12-31"]) == [-86_400_000_000]
    assert read(["-86400"]) == [-86_400_000_000]


def test_a_time_of_another_century_is_out_of_range() -> None:
    frame = pl.DataFrame({"time": [at("1899-12-31"), at("1900-01-02"), at("2199-12-31"), at("2200-01-02")]})
    assert frame.select(times.in_range(pl.col("time")))["time"].to_list() == [False, True, True, False]
