"""What is announced makes servers look into the store, and a wrong message makes them do nothing at all."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import pytest

from steps.clients import kafka
from steps.runtime.kafka_settings import KafkaSettings
from steps.serving import streams
from steps.serving.announcements import Follower, announce

SECONDS = 60


def eventually(fulfilled: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not fulfilled():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_every_follower_looks_once_when_it_starts_and_at_each_announcement(kafka_settings: KafkaSettings) -> None:
    looks: list[str] = []
    one, other = (Follower(kafka_settings, lambda name=name: looks.append(name)) for name in ("one", "other"))
    announce(kafka_settings, "release", 1)
    with one, other:
        eventually(lambda: sorted(looks) == ["one", "other"])
        announce(kafka_settings, "release", 2)
        announce(kafka_settings, "canary", 3)
        eventually(lambda: sorted(looks) == ["one"] * 3 + ["other"] * 3)
        assert (one.heard, one.problem) == (2, "")


def test_wrong_messages_change_nothing(kafka_settings: KafkaSettings, caplog: pytest.LogCaptureFixture) -> None:
    looks: list[int] = []
    with Follower(kafka_settings, lambda: looks.append(1)) as following:
        eventually(lambda: len(looks) == 1)
        writer = kafka.producer(kafka_settings)
        wrong = (None, b"", b"\xff", b"[]", b'{"v":1,"about":"release","version":2,"url":"http://elsewhere"}')
        for value in wrong:
            writer.produce(kafka_settings.models, value, "release")
        assert writer.flush(SECONDS) == 0
        announce(kafka_settings, "release", 3)
        eventually(lambda: following.heard == 1)
        assert len(looks) == 2
    assert sum("not understood" in message for message in caplog.messages) == len(wrong)


def test_a_look_that_fails_does_not_end_the_following(kafka_settings: KafkaSettings) -> None:
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 1:
            raise ZeroDivisionError

    with Follower(kafka_settings, look) as following:
        eventually(lambda: len(looks) == 2)
        announce(kafka_settings, "release", 1)
        eventually(lambda: following.heard == 1)


def test_without_a_broker_a_release_is_a_release_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.3)
    announce(KafkaSettings(brokers="127.0.0.1:9"), "release", 7)
    assert "version 7 is not announced" in caplog.text
    caplog.clear()
    announce(KafkaSettings(), "release", 7)
    assert not caplog.messages


def test_without_a_broker_following_is_told_and_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.2)
    with Follower(KafkaSettings(brokers="127.0.0.1:9"), lambda: None) as following:
        eventually(lambda: "127.0.0.1:9" in following.problem)


def test_the_topic_keeps_the_newest_of_each_kind() -> None:
    compacted = {topic.name for topic in streams.topics(KafkaSettings(brokers="a:1")) if topic.compacted}
    assert compacted == {"recommender-models"}
