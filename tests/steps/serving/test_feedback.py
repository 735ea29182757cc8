"""What users did: safe once it is acknowledged, in effect at once, and each event once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests

from steps.artifacts import dated, feedback, served
from steps.artifacts.candidate import Candidate
from steps.artifacts.feedback import BOUGHT, SHOWN, Event
from steps.clients.object_store import Bucket, Store
from steps.runtime.errors import TryAgainError
from steps.serving import inbox as inboxes
from steps.serving.api import Api, application
from steps.serving.asgi import RefusedError
from steps.serving.inbox import Inbox
from steps.serving.live import Live
from steps.serving.minutes import Minutes
from steps.serving.recent import MOST_ITEMS, Following, Recent, pause
from steps.serving.server import in_background
from steps.serving.statistics import AGREED, ANSWERED, FAILED, SHADOWED, Statistics

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def bought(number: int, user: str = "u003", item: str = "i003") -> Event:
    return Event(f"e{number}", BOUGHT, user, (item,), 1, None, "2026-01-01T00:00:00.000Z")


def stored(data: Bucket) -> list[str]:
    return [event.id for event in feedback.read(data)]


def batches(data: Bucket) -> int:
    return len(data.list("feedback/"))


def test_what_is_acknowledged_is_in_the_store(folder_store: Store) -> None:
    async def take() -> int:
        return await Inbox(folder_store.data, Recent()).take([bought(1), bought(2)])

    assert asyncio.run(take()) == 2
    assert stored(folder_store.data) == ["e1", "e2"]


def test_what_comes_at_the_same_time_is_written_together(folder_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inboxes, "PAUSE", 0.01)

    async def take() -> list[int]:
        inbox = Inbox(folder_store.data, Recent())
        return await asyncio.gather(*(inbox.take([bought(number)]) for number in range(50)))

    assert asyncio.run(take()) == [1] * 50
    assert sorted(stored(folder_store.data)) == sorted(f"e{number}" for number in range(50))
    assert batches(folder_store.data) <= 2


def test_the_first_after_a_quiet_time_is_written_at_once_and_what_follows_waits(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "PAUSE", 3600.0)

    async def take() -> None:
        inbox = Inbox(folder_store.data, Recent())
        await asyncio.wait_for(inbox.take([bought(1)]), 60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inbox.take([bought(2)]), 0.1)

    asyncio.run(take())
    assert stored(folder_store.data) == ["e1"]


def test_an_event_that_comes_again_is_acknowledged_and_not_written_again(folder_store: Store) -> None:
    async def take() -> list[int]:
        inbox = Inbox(folder_store.data, Recent())
        together = await asyncio.gather(inbox.take([bought(1)]), inbox.take([bought(1)]))
        return [*together, await inbox.take([bought(1), bought(2)])]

    assert asyncio.run(take()) == [1, 0, 1]
    assert stored(folder_store.data) == ["e1", "e2"]
    assert sum(content.count(b'"e1"') for content in map(folder_store.data.get, keys(folder_store.data))) == 1


def keys(data: Bucket) -> list[str]:
    return [entry.key for entry in data.list("feedback/")]


def test_what_cannot_be_written_is_refused_and_may_be_sent_again(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inboxes, "PAUSE", 0.01)
    recent = Recent()

    def away(data: Bucket, events: Sequence[Event]) -> str:
        raise TryAgainError("the store does not answer")

    async def take() -> int:
        inbox = Inbox(folder_store.data, recent)
        with monkeypatch.context() as patched:
            patched.setattr(feedback, "write", away)
            with pytest.raises(RefusedError) as refused:
                await inbox.take([bought(1)])
            assert refused.value.status == 503
        assert not recent.of("u003")
        return await inbox.take([bought(1)])

    assert asyncio.run(take()) == 1
    assert recent.of("u003") == ("i003",)


def test_of_a_user_the_last_purchases_are_remembered(folder_store: Store) -> None:
    recent = Recent()
    recent.take(bought(number, item=f"i{number}") for number in range(MOST_ITEMS + 10))
    recent.take([bought(9999, item="i20")])
    found = recent.of("u003")
    assert len(found) == MOST_ITEMS
    assert found[-1] == "i20"
    assert "i9" not in found


def test_what_another_server_was_told_is_known_here_too(folder_store: Store) -> None:
    recent = Recent()
    following = Following(folder_store.data, recent, timedelta(days=1))
    feedback.write(folder_store.data, [bought(1)])
    following.look()
    feedback.write(folder_store.data, [bought(2, item="i004"), bought(1)])
    following.look()
    assert recent.of("u003") == ("i003", "i004")


def test_looking_leaves_nine_tenths_of_a_core_to_answering_but_for_the_first_look() -> None:
    assert [pause(took) for took in (0.0, 0.03, 0.25, 60.0)] == pytest.approx([0.5, 0.5, 2.5, 10.0])


def test_what_was_read_before_the_store_went_away_is_not_read_again(
    folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dated, "PORTION", 2)
    data, recent, now = folder_store.data, Recent(), datetime.now(UTC)
    for number in range(6):
        feedback.write(data, [bought(number, item=f"i{number}")], now - timedelta(hours=30 - 4 * number))
    following, read, get = Following(data, recent, timedelta(days=2)), [], data.get

    def goes_away(key: str) -> bytes:
        if len(read) >= 4:
            raise TryAgainError("the store does not answer")
        read.append(key)
        return get(key)

    with monkeypatch.context() as patched:
        patched.setattr(data, "get", goes_away)
        with pytest.raises(TryAgainError):
            following.look()
    assert recent.of("u003") == ("i0", "i1", "i2", "i3")
    monkeypatch.setattr(data, "get", lambda key: (read.append(key), get(key))[1])
    following.look()
    assert recent.of("u003") == ("i0", "i1", "i2", "i3", "i4", "i5")
    assert len(read) == len(set(read)) == 6


@pytest.fixture
def url(
    folder_store: Store, make_candidate: Callable[..., Candidate], make_release: Callable[..., Any]
) -> Iterator[str]:
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    recent = Recent()
    with Live(folder_store.models, 0.05) as live:
        served = application(Api(live, recent=recent, inbox=Inbox(folder_store.data, recent)))
        with in_background(served) as address:
            for _ in range(600):
                if requests.get(f"{address}/readyz", timeout=60).ok:
                    break
                threading.Event().wait(0.1)
            yield address


def send(url: str, *events: dict[str, Any]) -> requests.Response:
    return requests.post(f"{url}/send-feedback", json={"events": events}, timeout=30)


def test_a_purchase_that_was_told_is_not_recommended_any_more(url: str) -> None:
    def best() -> str:
        found = requests.post(f"{url}/recommend", json={"user": "u003", "k": 3}, timeout=60).json()
        return str(found["items"][0]["item"])

    first = best()
    answer = send(url, {"id": "e1", "kind": "bought", "user": "u003", "items": [first]})
    assert (answer.status_code, answer.json()) == (200, {"taken": 1, "repeated": 0})
    assert best() != first
    assert send(url, {"id": "e1", "kind": "bought", "user": "u003", "items": [first]}).json()["repeated"] == 1


def test_a_list_that_was_shown_is_kept_with_its_version(url: str, folder_store: Store) -> None:
    shown = {"id": "e1", "kind": "shown", "user": "u003", "items": ["i001", "i003"], "version": 1}
    rated = {"id": "e2", "kind": "rated", "user": "u003", "items": ["i001"], "value": 4.5}
    assert send(url, shown, rated).status_code == 200
    [first, second] = feedback.read(folder_store.data)
    assert (first.kind, first.items, first.version) == (SHOWN, ("i001", "i003"), 1)
    assert (second.value, second.version) == (4.5, 0)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"id": "e1", "kind": "bought", "user": "u003", "items": ["a", "b"]}, "event 2: the event has 2 items"),
        ({"id": "e1", "kind": "sold", "user": "u003", "items": ["a"]}, "Invalid enum value"),
        ({"id": "e1", "kind": "bought", "user": "u003"}, "missing required field `items`"),
        ({"id": "e1", "kind": "bought", "user": "u\n", "items": ["a"]}, "event 2: the event's user"),
        ({"id": "e1", "kind": "rated", "user": "u", "items": ["a"]}, "event 2: the event's value"),
        ({"id": "e1", "kind": "bought", "user": "u", "items": ["a"], "time": "now"}, "event 2: the event's time"),
        ({"id": "e1", "kind": "bought", "user": "u", "items": ["a"], "extra": 1}, "unknown field `extra`"),
    ],
)
def test_of_a_wrong_event_nothing_is_taken(url: str, folder_store: Store, event: dict[str, Any], said: str) -> None:
    good = {"id": "e0", "kind": "bought", "user": "u003", "items": ["i001"]}
    answer = send(url, good, event)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert stored(folder_store.data) == []


def test_what_was_answered_is_told_by_the_minute_and_by_version(folder_store: Store) -> None:
    statistics = Statistics(["/recommend"])
    statistics.answered(6, ANSWERED, 5)
    minutes = Minutes(folder_store.data, statistics)
    for _ in range(10):
        statistics.count("/recommend", 200, 0.002)
    statistics.answered(7, ANSWERED, 9)
    statistics.answered(7, FAILED)
    statistics.answered(8, SHADOWED, 4)
    statistics.answered(8, AGREED, 3_000_000)
    minutes.write()
    minutes.write()
    [found] = served.read(folder_store.data, LONG_AGO, datetime.now(UTC) + timedelta(minutes=1))
    assert sorted(found.versions) == [7, 8]
    assert (found.versions[7].requests, found.versions[7].errors) == (10, 1)
    assert found.versions[7].ms == pytest.approx((2, 2), rel=0.1)
    assert found.versions[8].shadow is not None
    assert found.versions[8].requests == 4
    assert (found.versions[8].shadow.asked, found.versions[8].shadow.overlap) == (4, 0.75)
