"""The streams on a real Kafka: every request answered once, in order, whatever is bad, killed or moved."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException

from steps.clients import kafka
from steps.runtime.kafka_settings import KafkaSettings
from steps.serving import streams
from steps.serving.messages import Recommend, Recommendation, Scored
from steps.serving.stream_messages import MOST_BYTES
from steps.serving.streams import Streams, topics

SERVER = Path(__file__).with_name("stream_server.py")
SECONDS = 120
"""For anything that needs a broker and processes, also on a busy machine."""


def echo(asked: Sequence[Recommend]) -> list[Recommendation | Exception]:
    return [
        Recommendation(version=1, model="echo", known=True, items=[Scored(f"for {one.user}", 1.0)], user=one.user)
        for one in asked
    ]


class SaidError(Exception):
    """A refusal with a status, as the model server raises it."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status} was meant")
        self.status = status


def request(number: int, user: str = "", **more: Any) -> bytes:
    return json.dumps({"v": 1, "id": f"r-{number}", "recommend": {"user": user or f"u{number % 50}", **more}}).encode()


@pytest.fixture
def send(kafka_settings: KafkaSettings) -> Callable[[list[bytes | None]], None]:
    """Sends messages, each with the key of its user where it has one."""
    kafka.require_topics(kafka_settings, topics(kafka_settings))
    writer = kafka.producer(kafka_settings)

    def all_of(values: list[bytes | None]) -> None:
        for value in values:
            try:
                key = json.loads(value or b"")["recommend"]["user"].encode()
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                key = None
            writer.produce(kafka_settings.requests, value, key)
        assert writer.flush(SECONDS) == 0

    return all_of


class Reader:
    """Reads a topic from its beginning, as those do who want the answers."""

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        self.consumer = kafka.consumer(settings, f"{topic}-reader")
        self.consumer.subscribe([topic])
        self.found: list[Any] = []

    def until(self, enough: Callable[[], bool], seconds: float = SECONDS) -> bool:
        until = time.monotonic() + seconds
        while not enough() and time.monotonic() < until:
            message = self.consumer.poll(0.1)
            if message is None:
                continue
            if message.error():  # a topic that was just made
                assert message.error().code() == KafkaError.UNKNOWN_TOPIC_OR_PART
            else:
                self.found.append(message)
        return enough()

    def count(self, wanted: int) -> list[Any]:
        """So many messages, and not one more."""
        assert self.until(lambda: len(self.found) >= wanted), f"{len(self.found)} of {wanted} came"
        self.until(lambda: len(self.found) > wanted, seconds=1)
        assert len(self.found) == wanted
        return self.found

    def ids(self) -> list[str]:
        return [json.loads(message.value())["id"] for message in self.found]


@contextmanager
def reading(settings: KafkaSettings, topic: str) -> Iterator[Reader]:
    reader = Reader(settings, topic)
    try:
        yield reader
    finally:
        reader.consumer.close()


@pytest.fixture
def answers(kafka_settings: KafkaSettings, send: object) -> Iterator[Reader]:
    with reading(kafka_settings, kafka_settings.recommendations) as found:
        yield found


@pytest.fixture
def dead_letters(kafka_settings: KafkaSettings, send: object) -> Iterator[Reader]:
    with reading(kafka_settings, kafka_settings.dead_letters) as found:
        yield found


Send = Callable[[list[bytes | None]], None]


def test_each_request_is_answered_to_its_user_in_the_order_of_asking(
    kafka_settings: KafkaSettings, send: Send, answers: Reader
) -> None:
    send([request(number) for number in range(1000)])
    with Streams(kafka_settings, echo, most=64) as running:
        found = answers.count(1000)
        state = running.state()
    assert (state["answered"], state["dead_letters"], state["problem"]) == (1000, 0, "")
    assert sorted(state["partitions"]) == list(range(streams.PARTITIONS))
    by_user = defaultdict(list)
    for message in found:
        answer = json.loads(message.value())
        assert answer["v"] == 1
        assert answer["recommendation"]["items"] == [{"item": f"for {message.key().decode()}", "score": 1.0}]
        by_user[message.key()].append(int(answer["id"].removeprefix("r-")))
    assert len(by_user) == 50
    assert all(numbers == sorted(numbers) for numbers in by_user.values())


def bad_messages(count: int) -> list[bytes | None]:
    """Messages of many kinds, none of which can be answered."""
    rng = np.random.default_rng(3)
    good = request(1)
    wrong = [
        {"v": 2}, {"v": None}, {"id": ""}, {"id": 7}, {"id": "x" * 200}, {"more": 1}, {"recommend": {}},
        {"recommend": [1]}, {"recommend": {"users": ["a"]}}, {"recommend": {"user": "a", "k": -1}},
        {"recommend": {"user": "a", "items": ["b"]}}, {"recommend": {"user": ""}}, {"recommend": {"user": None}},
    ]  # fmt: skip
    kinds: list[Callable[[], bytes | None]] = [
        lambda: None,
        lambda: b"",
        lambda: rng.bytes(int(rng.integers(1, 300))),
        lambda: good[: int(rng.integers(0, len(good)))],
        lambda: good + b"}",
        lambda: b"[" * int(rng.integers(1, 5000)),
        lambda: b'{"v":1,"id":"\\ud800","recommend":{"user":"u"}}',
        lambda: b'{"v":1,"id":"a","recommend":{"user":"u","k":NaN}}',
        lambda: json.dumps({**json.loads(good), **wrong[int(rng.integers(len(wrong)))]}).encode(),
    ]
    return [kinds[number % len(kinds)]() for number in range(count)]


def test_what_cannot_be_read_goes_to_the_dead_letters_with_reason_and_origin_and_stops_nothing(
    kafka_settings: KafkaSettings, send: Send, answers: Reader, dead_letters: Reader
) -> None:
    bad = [*bad_messages(3000), b'{"v":1,"id":"' + b"x" * 3 * MOST_BYTES + b'"}']
    mixed = [
        one for number, value in enumerate(bad) for one in ([value, request(number)] if number % 30 == 0 else [value])
    ]
    send(mixed)
    good = len(mixed) - len(bad)
    with Streams(kafka_settings, echo) as running:
        found = dead_letters.count(len(bad))
        answers.count(good)
        assert (running.counts.dead_letters, running.counts.answered) == (len(bad), good)
    origins = set()
    for message in found:
        headers = {name: value.decode() for name, value in message.headers()}
        assert headers["v"] == "1"
        assert headers["reason"]
        assert headers["topic"] == kafka_settings.requests
        origins.add((headers["partition"], headers["offset"]))
        assert len(message.value() or b"") == min(int(headers["size"]), MOST_BYTES)
    assert len(origins) == len(bad)
    kept = Counter(message.value() or b"" for message in found)
    assert kept == Counter((value or b"")[:MOST_BYTES] for value in bad)


def test_what_is_refused_is_a_dead_letter_and_the_others_are_answered(
    kafka_settings: KafkaSettings, send: Send, answers: Reader, dead_letters: Reader
) -> None:
    def some(asked: Sequence[Recommend]) -> list[Recommendation | Exception]:
        if any(one.user == "breaks everything" for one in asked):
            raise ZeroDivisionError
        found = echo(asked)
        return [SaidError(404) if one.user == "nobody" else answer for one, answer in zip(asked, found, strict=True)]

    send([request(1), request(2, "nobody"), request(3, "breaks everything"), request(4)])
    with Streams(kafka_settings, some):
        answers.count(2)
        found = dead_letters.count(2)
    assert sorted(answers.ids()) == ["r-1", "r-4"]
    reasons = {dict(message.headers())["reason"].decode() for message in found}
    assert reasons == {"status 404 was meant", "it could not be answered: ZeroDivisionError"}


def test_an_answer_that_no_broker_takes_is_a_dead_letter(
    kafka_settings: KafkaSettings, send: Send, answers: Reader, dead_letters: Reader
) -> None:
    def long(asked: Sequence[Recommend]) -> list[Recommendation | Exception]:
        items = [Scored("x" * 1000, 1.0)] * 1000
        return [Recommendation(version=1, model="echo", known=True, items=items[: one.k]) for one in asked]

    send([request(1, k=1000), request(2, k=1)])
    with Streams(kafka_settings, long):
        answers.count(1)
        (found,) = dead_letters.count(1)
    assert "900000 are allowed" in dict(found.headers())["reason"].decode()


def test_requests_wait_while_nothing_can_be_answered(
    kafka_settings: KafkaSettings, send: Send, answers: Reader
) -> None:
    ready: list[bool] = []

    def later(asked: Sequence[Recommend]) -> list[Recommendation | Exception]:
        if not ready:
            raise SaidError(503)
        return echo(asked)

    send([request(number) for number in range(20)])
    with Streams(kafka_settings, later) as running:
        assert answers.until(lambda: running.problem == "status 503 was meant")
        assert not answers.found
        ready.append(True)
        answers.count(20)
        assert running.problem == ""
    assert len(set(answers.ids())) == 20


def test_no_broker_is_told_in_the_state_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.2)
    with Streams(KafkaSettings(brokers="127.0.0.1:9"), echo) as running:
        until = time.monotonic() + SECONDS
        while "127.0.0.1:9" not in running.problem:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert running.state()["answered"] == 0


def test_a_turn_that_does_not_end_is_told_and_holds_nobody_up(
    kafka_settings: KafkaSettings, send: Send, answers: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "STOP_SECONDS", 0.2)
    monkeypatch.setattr(streams, "LONG_SECONDS", 0.1)
    begun, over = threading.Event(), threading.Event()

    def stuck(asked: Sequence[Recommend]) -> list[Recommendation | Exception]:
        begun.set()
        assert over.wait(SECONDS)
        return echo(asked)

    send([request(1)])
    with Streams(kafka_settings, stuck) as running:
        assert begun.wait(SECONDS)
        time.sleep(0.2)
        assert "a turn is not over after" in running.state()["problem"]
    assert not over.is_set(), "it did not wait for the turn"
    over.set()
    answers.count(1)


@contextmanager
def server(settings: KafkaSettings, most: int = 20) -> Iterator[subprocess.Popen[bytes]]:
    variables = {"KAFKA_BROKERS": settings.brokers, "KAFKA_TOPIC_PREFIX": settings.prefix}
    with subprocess.Popen([sys.executable, str(SERVER), str(most)], env={**os.environ, **variables}) as process:
        try:
            yield process
        finally:
            process.kill()


def test_servers_that_come_go_and_are_killed_answer_each_request_once(
    kafka_settings: KafkaSettings, send: Send, answers: Reader
) -> None:
    send([request(number) for number in range(3000)])
    with server(kafka_settings) as first:
        assert answers.until(lambda: len(answers.found) >= 300)
        with server(kafka_settings) as second:
            assert answers.until(lambda: len(answers.found) >= 900)
            first.kill()
            with server(kafka_settings) as third:
                assert answers.until(lambda: len(answers.found) >= 1500)
                second.send_signal(signal.SIGTERM)
                assert second.wait(SECONDS) == 0
                assert answers.until(lambda: len(answers.found) >= 2000)
                third.kill()
    send([request(number) for number in range(3000, 3100)])
    with server(kafka_settings, most=256):
        answers.count(3100)
    assert Counter(answers.ids()) == Counter(f"r-{number}" for number in range(3100))


def test_what_fails_again_and_again_waits_longer_each_time(monkeypatch: pytest.MonkeyPatch) -> None:

    running = Streams(KafkaSettings("localhost:1"), list)
    waits: list[float] = []
    monkeypatch.setattr(running._stopped, "wait", lambda seconds: waits.append(seconds) or False)
    monkeypatch.setattr(running, "_answered", lambda batch: [])
    monkeypatch.setattr(running, "_rewind", lambda consumer, batch: None)
    monkeypatch.setattr(running, "_insist", lambda call: None)

    def refuse(*details: object) -> None:
        raise KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))

    monkeypatch.setattr(running, "_commit", refuse)
    for _ in range(7):
        running._work(None, None, [])  # type: ignore[arg-type]
    assert waits == [0.1, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0]
    assert running.problem
