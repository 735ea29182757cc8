"""Every row becomes a purchase as it was written, or a reject with its number, the reason and the value to blame."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from steps.models.events import Kinds
from steps.runtime.errors import BadDataError, UsageError
from steps.sources.clean import Clean, clean
from steps.sources.found import Found, Part

Csv = Callable[..., Path]
Open = Callable[..., Any]


def checked(columns: dict[str, list[Any]], max_rejects: float = 1.0, **more: Any) -> Clean:
    """The columns as one part of a source, cleaned."""
    part = Part("table", pl.DataFrame(columns, strict=False).lazy())
    events = more.pop("events", {})
    return clean(Found("a table", (part,), **more), events, max_rejects)


def reasons(found: Clean) -> list[tuple[int, str, str | None]]:
    return [(row["row"], row["reason"], row["value"]) for row in found.rejects.to_dicts()]


def named(found: Clean) -> list[tuple[str, str]]:
    users, items = found.users["id"].to_list(), found.items["id"].to_list()
    return [(users[row["user"]], items[row["item"]]) for row in found.purchases.to_dicts()]


def test_purchases_become_codes_in_the_order_of_the_ids_bytes() -> None:
    found = checked({"user": ["b", "ä", "a", "B"], "item": ["2", "10", "1", "1"]})
    assert found.users["id"].to_list() == ["B", "a", "b", "ä"]
    assert found.items["id"].to_list() == ["1", "10", "2"]
    assert found.purchases["user"].to_list() == [2, 3, 1, 0]
    assert found.purchases["item"].to_list() == [2, 1, 0, 0]
    assert found.purchases["weight"].to_list() == [1.0] * 4
    assert found.purchases.schema == {"user": pl.Int32, "item": pl.Int32, "weight": pl.Float32}


@pytest.mark.parametrize(
    "one",
    [
        "with space",
        " edges ",
        'quo"te',
        "it's",
        "comma,",
        "новый",
        "😀",
        "new\nline",
        "a/b\\c",
        "..",
        "0007",
        "nan",
        "null",
    ],
)
def test_ids_of_any_kind_stay_as_they_are(csv_file: Csv, opened: Open, one: str) -> None:
    quoted = '"{}"'.format(one.replace('"', '""'))
    path = csv_file("user,item", f"{quoted},x", f"u,{quoted}")
    found = opened(path)
    assert found.pairs == sorted([(one, "x"), ("u", one)])
    assert found.rejects == []


def test_ids_that_no_system_takes_are_rejected_with_the_reason() -> None:
    long, longest = "é" * 128 + "x", "é" * 128
    found = checked(
        {
            "user": ["", None, "  ", "a\0b", long, longest, "u", "u", "u", "u"],
            "item": [*["i"] * 6, "", None, "\0", long],
        }
    )
    assert named(found) == [(longest, "i")]
    assert reasons(found) == [
        (1, "the user is missing", ""),
        (2, "the user is missing", None),
        (3, "the user is missing", "  "),
        (4, "the user's id has a NUL character", "a\0b"),
        (5, "the user's id is longer than 256 bytes", long[:80]),
        (7, "the item is missing", ""),
        (8, "the item is missing", None),
        (9, "the item's id has a NUL character", "\0"),
        (10, "the item's id is longer than 256 bytes", long[:80]),
    ]


def test_ids_of_rejected_rows_are_not_in_the_tables() -> None:
    found = checked({"user": ["a", "b"], "item": ["x", "y"], "weight": ["1", "many"]})
    assert found.users["id"].to_list() == ["a"]
    assert found.items["id"].to_list() == ["x"]


def test_numbers_as_ids_are_written_without_a_point() -> None:
    found = checked({"user": [1.0, 2.5, float("nan")], "item": [Decimal("7.00"), Decimal("8.50"), Decimal("9")]})
    assert named(found) == [("1", "7"), ("2.5", "8.50")]
    assert reasons(found) == [(3, "the user is missing", "NaN")]
    assert named(checked({"user": [1, 10], "item": [True, False]})) == [("1", "true"), ("10", "false")]


def test_a_column_of_lists_is_no_id() -> None:
    with pytest.raises(UsageError, match="the column for item in table holds List"):
        checked({"user": ["a"], "item": [["x"]]})


def test_weights_are_numbers_that_are_finite() -> None:
    weights = ["2", " 1.5 ", "-1", "1e3", "", None, "many", "inf", "NaN", "1e39", "1,5"]
    found = checked({"user": ["u"] * 11, "item": ["i"] * 11, "weight": weights})
    assert found.purchases["weight"].to_list() == [2.0, 1.5, -1.0, 1000.0]
    assert reasons(found) == [
        (5, "the weight is missing", ""),
        (6, "the weight is missing", None),
        (7, "the weight is not a number", "many"),
        (8, "the weight is not finite", "inf"),
        (9, "the weight is not finite", "NaN"),
        (10, "the weight is not finite", "1e39"),
        (11, "the weight is not a number", "1,5"),
    ]


def test_a_weight_of_zero_is_neither_a_purchase_nor_an_error() -> None:
    found = checked({"user": ["a", "b"], "item": ["x", "y"], "weight": [0, 1]}, max_rejects=0.0)
    assert named(found) == [("b", "y")]
    assert (found.rows, found.weightless, found.rejects.height) == (2, 1, 0)


def test_events_are_worth_what_the_flag_says() -> None:
    events = {"buy": 1.0, "view": 0.1, "hide": -1.0, "ping": 0.0}
    kinds = ["buy", " view ", "hide", "ping", "wish", "", None]
    columns = {"user": ["u"] * 7, "item": list("abcdefg"), "event": kinds, "weight": [2] * 7}
    found = checked(columns, events=events)
    assert found.purchases["weight"].to_list() == pytest.approx([2.0, 0.2, -2.0])
    assert found.items["id"].to_list() == ["a", "b", "c"]
    assert found.weightless == 1
    assert reasons(found) == [
        (5, "the event is not among --event-weights", "wish"),
        (6, "the event is missing", ""),
        (7, "the event is missing", None),
    ]


def test_kinds_of_event_are_told_apart_and_purchases_known_by_their_names() -> None:
    kinds = ["view", "Purchase", " view ", "add to cart", "purchase"]
    found = checked({"user": list("aabbb"), "item": list("xyxyz"), "event": kinds})
    assert found.kinds == Kinds(("Purchase", "add to cart", "purchase", "view"), ("Purchase", "purchase"))
    assert found.kinds.searched == ("add to cart", "view")
    assert found.purchases["event"].to_list() == [3, 0, 3, 1, 2]
    assert found.purchases["weight"].to_list() == [1.0] * 5
    assert found.purchases.schema["event"] == pl.Int8


def test_with_weights_what_counts_most_is_a_purchase() -> None:
    columns = {"user": list("aab"), "item": list("xyx"), "event": ["play", "like", "skip"]}
    found = checked(columns, events={"play": 0.5, "like": 2.0, "skip": -1.0, "absent": 9.0})
    assert found.kinds == Kinds(("like", "play", "skip"), ("like",), {"play": 0.5, "like": 2, "skip": -1, "absent": 9})
    assert found.kinds.searched == ()
    assert found.purchases["weight"].to_list() == [0.5, 2.0, -1.0]


def test_events_of_one_kind_are_purchases_and_no_more_is_said_of_them() -> None:
    found = checked({"user": ["a", "b"], "item": ["x", "y"], "event": ["buy", "buy"]})
    assert found.kinds is None
    assert "event" not in found.purchases.columns


def test_a_column_of_too_many_kinds_tells_something_else() -> None:
    kinds = [f"session {number}" for number in range(31)]
    with pytest.raises(BadDataError, match=r"31 kinds of event .*and 30 are allowed: name the column"):
        checked({"user": ["u"] * 31, "item": ["i"] * 31, "event": kinds})


def test_kinds_in_one_file_and_none_in_another_are_refused() -> None:
    told = Part("a.csv", pl.LazyFrame({"user": ["u"], "item": ["i"], "event": ["buy"]}))
    silent = Part("b.csv", pl.LazyFrame({"user": ["u"], "item": ["i"]}))
    with pytest.raises(UsageError, match=r"a\.csv has a column that names the kind of event, and b\.csv has none"):
        clean(Found("two files", (told, silent)), {}, 1.0)


def test_kinds_of_event_of_which_none_is_a_purchase_are_refused_rather_than_all_taken_for_purchases() -> None:
    with pytest.raises(
        UsageError, match=r"\(like, view\), of which none .* say what each is worth with --event-weights"
    ):
        checked({"user": ["u", "v"], "item": ["i", "i"], "event": ["view", "like"]})
    with pytest.raises(UsageError, match="no column that names the kind of event"):
        checked({"user": ["u"], "item": ["i"]}, events={"view": 1.0})


def test_times_that_cannot_be_read_are_rejected_with_their_text() -> None:
    times = ["2024-01-31", "", None, "yesterday", "0024-01-31", "2024-01-31T12:00:00Z", "03/04/2024"]
    found = checked({"user": ["u"] * 7, "item": ["i"] * 7, "time": times})
    day = int(datetime.fromisoformat("2024-01-31T00:00:00+00:00").timestamp()) * 1_000_000
    assert found.purchases["time"].to_list() == [day, day + 12 * 3600 * 1_000_000]
    assert reasons(found) == [
        (2, "the time is missing", ""),
        (3, "the time is missing", None),
        (4, "the time cannot be read", "yesterday"),
        (5, "the time is not between 1900 and 2200", "0024-01-31"),
        (7, "the time may be day/month or month/day", "03/04/2024"),
    ]


def test_times_of_another_format_after_many_regular_ones_are_read_too() -> None:
    size = 10_001
    days = ["2024-01-31"] * size
    times = [*days, "2024-01-31T12:00:00Z", "never", "31/12/2399", "05/01/2024"]
    count = len(times)
    found = checked({"user": ["u"] * count, "item": ["i"] * count, "time": times, "weight": ["1"] * count})
    assert len(found.purchases) == size + 2
    assert reasons(found) == [
        (size + 2, "the time cannot be read", "never"),
        (size + 3, "the time is not between 1900 and 2200", "31/12/2399"),
    ]


def test_a_second_look_at_a_time_does_not_forgive_another_fault() -> None:
    size = 10_001
    times, weights = [*["2024-01-31"] * size, "31.01.2024"], [*["1"] * size, "many"]
    found = checked({"user": ["u"] * (size + 1), "item": ["i"] * (size + 1), "time": times, "weight": weights})
    assert reasons(found) == [(size + 1, "the weight is not a number", "many")]


def test_days_and_months_are_told_apart_by_all_files_together() -> None:
    january = pl.DataFrame({"user": ["a"], "item": ["x"], "time": ["01/02/2024"]}).lazy()
    late = pl.DataFrame({"user": ["b"], "item": ["x"], "time": ["25/02/2024"]}).lazy()
    found = clean(Found("two files", (Part("1.csv", january), Part("2.csv", late))), {}, 0.0)
    assert [row["time"] // 86_400_000_000 for row in found.purchases.to_dicts()] == [19_754, 19_778]  # days since 1970


def test_the_same_row_twice_is_two_purchases() -> None:
    found = checked({"user": ["u", "u"], "item": ["i", "i"], "time": ["2024-01-31"] * 2})
    assert found.purchases.height == 2


def test_too_many_rejects_name_the_commonest_reasons_with_an_example_of_each() -> None:
    columns = {"user": ["u"] * 10, "item": ["i"] * 7 + [""] * 3, "weight": ["1"] * 5 + ["one"] + ["1"] * 4}
    with pytest.raises(BadDataError) as error:
        checked(columns, max_rejects=0.25)
    assert str(error.value) == (
        "4 of 10 rows (40 %) cannot be used, and --max-rejects allows 25 %: "
        "3 × the item is missing (as in row 8 of table: ''); "
        "1 × the weight is not a number (as in row 6 of table: 'one')"
    )
    assert checked(columns, max_rejects=0.4).rejects.height == 4


def test_unreadable_times_say_which_can_be_read() -> None:
    with pytest.raises(BadDataError, match=r"times that can be read are dates such as 2024-01-31"):
        checked({"user": ["u"], "item": ["i"], "time": ["soon"]}, max_rejects=0.0)


def test_nothing_at_all_is_one_sentence() -> None:
    with pytest.raises(BadDataError, match="a table has no purchases: it is empty"):
        checked({"user": [], "item": []})
    with pytest.raises(BadDataError, match="a table has no purchase of a weight above 0 among its 2 rows"):
        checked({"user": ["u", "v"], "item": ["i", ""], "weight": [0, 1]})


def test_rejects_say_which_file_and_which_row_of_it() -> None:
    parts = [
        Part(name, pl.DataFrame({"user": users, "item": ["i"] * len(users)}).lazy())
        for name, users in (("1.csv", ["a", ""]), ("2.csv", ["b", "c", "", ""]))
    ]
    found = clean(Found("two files", tuple(parts)), {}, 1.0)
    rows = [(row["file"], row["row"]) for row in found.rejects.to_dicts()]
    assert rows == [("1.csv", 2), ("2.csv", 3), ("2.csv", 4)]


def test_listed_users_and_items_without_purchases_are_kept_with_their_features() -> None:
    users = pl.DataFrame({"id": ["c", "a"], "age": [30, 20]})
    items = pl.DataFrame({"id": [2, 1], "name": ["two", "one"], "tags": [["x"], ["y"]]})
    found = checked({"user": ["b", "c"], "item": ["3", "1"]}, users=users, items=items)
    assert found.users.rows() == [("a", 20), ("b", None), ("c", 30)]
    assert found.items.rows() == [("1", "one"), ("2", "two"), ("3", None)]
    assert named(found) == [("b", "3"), ("c", "1")]


def test_listed_ids_that_are_unusable_or_repeated_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    items = pl.DataFrame({"id": ["x", "x", "", None, "a\0", "é" * 129], "name": ["first", "second", "", "", "", ""]})
    found = checked({"user": ["u"], "item": ["x"]}, items=items)
    assert found.items.rows() == [("x", "first")]
    assert "5 of 6 listed items have no usable id or repeat one" in caplog.text


def test_names_in_the_purchases_are_taken_the_same_way_in_any_order() -> None:
    columns = {"user": ["u"] * 4, "item": ["x", "x", "y", "z"], "name": ["Pan", "Frying pan", None, " "]}
    expected = [("x", "Frying pan"), ("y", None), ("z", None)]
    assert checked(columns).items.rows() == expected
    assert checked({name: values[::-1] for name, values in columns.items()}).items.rows() == expected


def test_names_in_the_purchases_complete_a_list_that_has_none() -> None:
    columns = {"user": ["u"], "item": ["x"], "name": ["Pan"]}
    assert checked(columns, items=pl.DataFrame({"id": ["x", "y"], "price": [1, 2]})).items.rows() == [
        ("x", 1, "Pan"), ("y", 2, None),
    ]  # fmt: skip
    assert checked(columns, items=pl.DataFrame({"id": ["x"], "name": ["Pot"]})).items.rows() == [("x", "Pot")]


def test_blank_lines_are_not_rows(csv_file: Csv, opened: Open) -> None:
    found = opened(csv_file("user,item", "a,x", "", "b,y", "", ""), max_rejects=0.0)
    assert found.pairs == [("a", "x"), ("b", "y")]


def test_a_part_that_cannot_be_read_and_not_be_repaired_is_bad_data(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('user,item\na,"b"c\n')
    with pytest.raises(BadDataError, match=r"x\.csv cannot be read: could not parse"):
        clean(Found("x", (Part("x.csv", pl.scan_csv(path, infer_schema=False)),)), {}, 1.0)
