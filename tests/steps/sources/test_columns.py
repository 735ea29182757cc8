"""Columns are found by their usual names or by the flag, and a message lists those that there are."""

from __future__ import annotations

import pytest

from steps.runtime.errors import UsageError
from steps.sources.columns import Columns, event_weights, listed


def test_usual_names_are_found_however_they_are_spelt() -> None:
    assert Columns().find(["Customer ID", "StockCode", "InvoiceDate", "Quantity", "Country"], "t") == {
        "user": 0, "item": 1, "time": 2, "weight": 3,
    }  # fmt: skip
    assert Columns().find(["movieId", "user_id", "title"], "t") == {"item": 0, "user": 1, "name": 2}


def test_the_most_usual_of_several_candidates_is_taken() -> None:
    assert Columns().find(["date", "timestamp", "item", "user", "customer"], "t") == {"time": 1, "item": 2, "user": 3}


def test_a_name_that_two_columns_share_is_not_guessed() -> None:
    with pytest.raises(UsageError, match="which column of t is the user"):
        Columns().find(["user_id", "userId", "item"], "t")


def test_named_columns_come_before_usual_ones() -> None:
    columns = Columns.parse("user=who, item=what,time=when it was, exactly")
    assert columns.find(["user", "who", "what", "when it was, exactly"], "t") == {"user": 1, "item": 2, "time": 3}
    assert str(columns) == "user=who,item=what,time=when it was, exactly"


def test_a_column_named_by_nothing_is_left_out() -> None:
    assert Columns.parse("weight=,time=").find(["user", "item", "rating", "time"], "t") == {"user": 0, "item": 1}


def test_what_cannot_be_told_is_asked_for_with_the_columns_that_there_are() -> None:
    with pytest.raises(UsageError) as error:
        Columns().find(["a", "b\nc"], "sales.csv")
    assert str(error.value) == (
        "cannot tell which column of sales.csv is the user and which the item: it has 'a', 'b\\nc'; "
        "say so with --columns user=COLUMN,item=COLUMN"
    )


def test_a_named_column_must_be_there_once() -> None:
    with pytest.raises(UsageError, match="t has no such column; it has 'user', 'item'"):
        Columns.parse("time=when").find(["user", "item"], "t")
    with pytest.raises(UsageError, match="more than one column of that name"):
        Columns.parse("user=x").find(["x", "x", "item"], "t")


@pytest.mark.parametrize("text", ["user", "who=x", "user=a,user=b", "user=", "item=,user=a"])
def test_a_flag_that_says_nothing_clear_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--columns"):
        Columns.parse(text)


def test_long_headers_are_shortened_in_messages() -> None:
    assert listed([str(number) for number in range(50)]).endswith("'39' and 10 more")
    assert listed([]) == "no columns"


def test_event_weights_are_read() -> None:
    assert event_weights("purchase=1, view=0.1,dislike=-1,a=b=2") == {
        "purchase": 1.0, "view": 0.1, "dislike": -1.0, "a=b": 2.0,
    }  # fmt: skip
    assert event_weights("") == {}


@pytest.mark.parametrize("text", ["view", "view=", "view=much", "=1", "view=nan", "view=inf", "a=1,a=2", "a=0,b=-1"])
def test_event_weights_that_are_no_weights_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--event-weights"):
        event_weights(text)
