from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steps.artifacts import dated, feedback
from steps.artifacts.dated import Mark
from steps.artifacts.feedback import BOUGHT, CLICKED, RATED, SHOWN, Event
from steps.clients.object_store import Bucket, Store
from steps.runtime.errors import BadDataError

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)


def sent(**changed: object) -> dict[str, Any]:
    """What a shop sends, some of it changed; None takes a field away."""
    whole = {
        "id": "e1",
        "kind": CLICKED,
        "user": "u1",
        "items": ["p1"],
        "version": 3,
        "time": "2026-03-29T12:00:00.000Z",
        **changed,
    }
    return {name: value for name, value in whole.items() if value is not None}


def event(name: str, kind: str = CLICKED, **changed: object) -> Event:
    return Event.from_json(sent(id=name, kind=kind, **changed), NOON)


def ids(events: Any) -> list[str]:
    return [one.id for one in events]


def followed(data: Bucket, mark: Mark, now: datetime) -> tuple[list[Event], Mark]:
    """All that a look finds, and the mark for the next."""
    events: list[Event] = []
    for some, then in feedback.after(data, mark, now):
        events, mark = [*events, *some], then
    return events, mark


def test_an_event_is_read_as_it_was_sent() -> None:
    assert Event.from_json(sent(kind=SHOWN, items=["p1", "p2"]), NOON) == Event(
        "e1", SHOWN, "u1", ("p1", "p2"), 3, None, "2026-03-29T12:00:00.000Z"
    )
    assert Event.from_json(sent(kind=RATED, value=4), NOON).value == 4.0
    assert Event.from_json(sent(version=None), NOON).version == 0


@pytest.mark.parametrize(
    ("time", "meant"),
    [
        ("2026-03-29T12:00:00Z", "2026-03-29T12:00:00.000Z"),
        ("2026-03-29t14:00:00.1234567+02:00", "2026-03-29T12:00:00.123Z"),
        ("2026-03-29 11:59:59.999-00:00", "2026-03-29T11:59:59.999Z"),
    ],
)
def test_a_time_with_any_zone_is_kept_in_one_form(time: str, meant: str) -> None:
    one = Event.from_json(sent(time=time), NOON)
    assert one.time == meant
    assert feedback.stamp(one.moment) == meant


def test_an_event_without_a_time_is_of_when_it_was_received() -> None:
    assert Event.from_json(sent(time=None), NOON).time == "2026-03-29T12:00:00.000Z"
    before = feedback.stamp(datetime.now(UTC))
    assert before <= Event.from_json(sent(time=None)).time <= feedback.stamp(datetime.now(UTC))


WRONG = [
    ([1], "an event is a JSON object, and this one is [1]"),
    (sent(itmes=["p1"]), "an event has no field 'itmes'; it may have id, kind, user"),
    (sent(id=None), "the event has no id; it needs id, kind, user, items"),
    (sent(user=None), "the event has no user"),
    (sent(id=""), "the event's id has 0 characters; 1 to 128 are allowed"),
    (sent(id="x" * 129), "the event's id has 129 characters"),
    (sent(id=7), "the event's id is 7: a text is required"),
    (sent(kind="seen"), "the event's kind is 'seen'; it may be shown, clicked, bought, rated"),
    (sent(kind=["shown"]), "the event's kind is ['shown']"),
    (sent(user=" "), "the event's user is empty"),
    (sent(user="ü" * 129), "the event's user is 258 bytes long; 256 are allowed"),
    (sent(user="a\nb"), r"the event's user is 'a\nb': control characters are not allowed"),
    (sent(user="\ud800"), r"the event's user is '\ud800': that is no Unicode text"),
    (sent(items="p1"), "the event's items are 'p1': a list of texts is required"),
    (sent(items=[]), "the event has 0 items; of what was clicked, exactly 1 is allowed"),
    (sent(items=["p1", "p2"]), "the event has 2 items; of what was clicked, exactly 1 is allowed"),
    (sent(kind=SHOWN, items=["p"] * 1001), "the event has 1001 items; of what was shown, 1 to 1000 are allowed"),
    (sent(items=[None]), "the event's item is None: a text is required"),
    (sent(version=-1), "the event's version is -1: a whole number from 0 on is required"),
    (sent(version=True), "the event's version is True"),
    (sent(version="3"), "the event's version is '3'"),
    (sent(value=1), "the event has a value, and only what was rated has one; this was clicked"),
    (sent(kind=RATED), "the event's value is None: what was rated needs a finite number"),
    (sent(kind=RATED, value=float("nan")), "the event's value is nan"),
    (sent(kind=RATED, value=10**400), "the event's value is 1000"),
    (sent(kind=RATED, value=True), "the event's value is True"),
    (sent(time=1774785600), "the event's time is 1774785600: write it as 2026-01-31T23:59:59.123Z"),
    (sent(time="2026-03-29"), "the event's time is '2026-03-29'"),
    (sent(time="2026-03-29T12:00:00"), "the event's time is '2026-03-29T12:00:00'"),
    (sent(time="2026-02-30T12:00:00Z"), "the event's time is '2026-02-30T12:00:00Z': there is no such time"),
    (sent(time="0001-01-01T00:00:00+14:00"), "it must be between 1970 and 2200"),
    (sent(time="9999-12-31T23:59:59-14:00"), "it must be between 1970 and 2200"),
    (sent(time="2026-03-30T12:00:00.001Z"), "that is more than a day from now"),
]


@pytest.mark.parametrize(("value", "said"), WRONG, ids=[said for _, said in WRONG])
def test_what_is_wrong_with_an_event_is_one_sentence(value: object, said: str) -> None:
    with pytest.raises(BadDataError) as caught:
        Event.from_json(value, NOON)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    str(caught.value).encode()


def test_a_batch_gives_back_its_events() -> None:
    events = [event("e1", user="a\u2028b"), event("e2", RATED, value=2.5), event("é", SHOWN, items=["p1", "p2"])]
    content = feedback.encode(events)
    assert content.count(b"\n") == len(events)
    assert feedback.decode(content) == events


def test_a_batch_of_a_later_version_may_say_more() -> None:
    [one] = feedback.decode(json.dumps({**sent(), "session": "s"}).encode())
    assert one == event("e1")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}\n", "line 1: the event has no id"),
        (b"\n[]", "line 2 is no JSON object"),
        (b"{", "line 1 is not JSON"),
        (b'"\xff"', "line 1 is not JSON"),
    ],
)
def test_a_damaged_batch_says_where(content: bytes, said: str) -> None:
    with pytest.raises(BadDataError, match=said):
        feedback.decode(content)


def test_what_was_written_is_read_in_that_order_and_each_id_once(store: Store) -> None:
    feedback.write(store.data, [event("b"), event("a")], NOON + timedelta(seconds=2))
    feedback.write(store.data, [event("c", BOUGHT), event("b", BOUGHT)], NOON + timedelta(hours=30))
    feedback.write(store.data, [event("first")], NOON)
    found = list(feedback.read(store.data))
    assert ids(found) == ["first", "b", "a", "c"]
    assert [one.kind for one in found if one.id == "b"] == [CLICKED]


def test_of_some_kinds_only_these_are_read_and_only_their_ids_count(folder_store: Store) -> None:
    feedback.write(folder_store.data, [event("a"), event("b", BOUGHT)], NOON)
    feedback.write(folder_store.data, [event("a", BOUGHT), event("b", BOUGHT), event("c")], NOON + timedelta(hours=1))
    assert ids(feedback.read(folder_store.data, kinds=[BOUGHT])) == ["b", "a"]


@pytest.mark.parametrize("length", [timedelta(minutes=3), timedelta(hours=5), timedelta(days=3), timedelta(days=300)])
def test_of_a_time_is_read_what_was_written_within_it(folder_store: Store, length: timedelta) -> None:
    edge = timedelta(milliseconds=1)
    since = datetime(2026, 2, 28, 23, 58, 59, 999000, UTC)
    for name, at in (("before", since - edge), ("first", since), ("last", since + length - edge)):
        feedback.write(folder_store.data, [event(name)], at)
    feedback.write(folder_store.data, [event("after")], since + length)
    assert ids(feedback.read(folder_store.data, since, since + length)) == ["first", "last"]
    assert ids(feedback.read(folder_store.data, since.astimezone(), since + length)) == ["first", "last"]


def test_a_key_says_when_and_what_is_no_batch_is_passed_over(folder_store: Store) -> None:
    place = feedback.write(folder_store.data, [event("e1")], datetime(2026, 1, 2, 3, 4, 5, 67890, UTC))
    assert place.startswith("feedback/2026-01-02/03/0405067-")
    assert dated.written(place) == datetime(2026, 1, 2, 3, 4, 5, 67000, UTC)
    for stray in ("feedback/notes.txt", "feedback/2026-01-02/03/9999999-000000000000.jsonl"):
        folder_store.data.put(stray, b"nothing of ours")
    assert ids(feedback.read(folder_store.data)) == ["e1"]


def test_many_batches_are_read_in_order(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dated, "AHEAD", 4)
    names = [f"e{number:02d}" for number in range(21)]
    for number, name in enumerate(names):
        feedback.write(folder_store.data, [event(name)], NOON + timedelta(milliseconds=number))
    assert ids(feedback.read(folder_store.data)) == names


def test_a_damaged_object_keeps_nobody_from_the_others(folder_store: Store, caplog: pytest.LogCaptureFixture) -> None:
    feedback.write(folder_store.data, [event("e1")], NOON)
    place = feedback.write(folder_store.data, [event("e2")], NOON)
    folder_store.data.put(place, b"{")
    assert ids(feedback.read(folder_store.data)) == ["e1"]
    assert f"{folder_store.data.address(place)} is no feedback and is left out: line 1 is not JSON" in caplog.text


def test_a_batch_without_events_is_a_mistake_of_the_caller(folder_store: Store) -> None:
    with pytest.raises(ValueError, match="at least one event"):
        feedback.write(folder_store.data, [])


def test_a_follower_gets_everything_once(store: Store) -> None:
    mark, found = feedback.mark(NOON), []
    for second in range(5):
        now = NOON + timedelta(seconds=second)
        feedback.write(store.data, [event(f"e{second}")], now)
        events, mark = followed(store.data, mark, now)
        found.append(ids(events))
    assert found == [["e0"], ["e1"], ["e2"], ["e3"], ["e4"]]


def test_a_follower_misses_nothing_of_writers_whose_clocks_differ(folder_store: Store) -> None:
    data, mark = folder_store.data, feedback.mark(NOON)
    feedback.write(data, [event("ahead")], NOON + timedelta(seconds=9))
    events, mark = followed(data, mark, NOON + timedelta(seconds=1))
    assert ids(events) == ["ahead"]
    feedback.write(data, [event("behind")], NOON - timedelta(seconds=9))
    feedback.write(data, [event("far ahead")], NOON + timedelta(minutes=2))
    events, mark = followed(data, mark, NOON + timedelta(seconds=2))
    assert ids(events) == ["behind"]
    events, mark = followed(data, mark, NOON + timedelta(minutes=3))
    assert ids(events) == ["far ahead"]
    assert followed(data, mark, NOON + timedelta(minutes=3, seconds=1))[0] == []


def test_a_followers_clock_that_is_set_back_brings_nothing_twice(folder_store: Store) -> None:
    data = folder_store.data
    feedback.write(data, [event("e1")], NOON)
    events, mark = followed(data, feedback.mark(NOON), NOON + timedelta(seconds=40))
    assert ids(events) == ["e1"]
    events, mark = followed(data, mark, NOON - timedelta(seconds=5))
    assert events == []
    feedback.write(data, [event("e2")], NOON + timedelta(seconds=41))
    events, mark = followed(data, mark, NOON + timedelta(seconds=41))
    assert ids(events) == ["e2"]


def test_what_a_follower_remembers_does_not_grow(folder_store: Store) -> None:
    mark = feedback.mark(NOON)
    for minute in range(10):
        now = NOON + timedelta(minutes=minute)
        feedback.write(folder_store.data, [event(f"e{minute}")], now)
        _, mark = followed(folder_store.data, mark, now)
    assert len(mark.read) == 1


def test_a_follower_who_has_much_to_read_goes_on_from_portion_to_portion(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dated, "PORTION", 2)
    data, start = folder_store.data, feedback.mark(NOON - timedelta(days=2))
    names = [f"e{number}" for number in range(7)]
    for number, name in enumerate(names):
        feedback.write(data, [event(name)], NOON - timedelta(minutes=25 * (len(names) - number)))
    portions = list(feedback.after(data, start, NOON))
    assert [name for events, _ in portions for name in ids(events)] == names
    assert max(len(events) for events, _ in portions) == 2
    come = 0
    for events, mark in portions:
        come += len(events)
        assert ids(followed(data, mark, NOON)[0]) == names[come:]


def test_a_server_that_imports_it_loads_no_library_of_numbers() -> None:
    code = "import sys, steps.artifacts.feedback, steps.artifacts.served; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"numpy", "scipy", "pandas", "polars"} & set(done.stdout.split())
