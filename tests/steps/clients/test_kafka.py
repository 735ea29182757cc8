"""The thin client of Kafka: topics on a real broker, and what is said where none answers."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

import pytest

from steps.clients import kafka
from steps.clients.kafka import Seldom, Topic
from steps.runtime.errors import TryAgainError, UsageError
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.secret import Secret


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> Iterator[KafkaSettings]:
    """An address where nothing listens."""
    monkeypatch.setattr(kafka, "ANSWER_SECONDS", 0.5)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield KafkaSettings(brokers=f"127.0.0.1:{bound.getsockname()[1]}")


def test_missing_topics_are_made_and_others_left_alone(kafka_settings: KafkaSettings) -> None:
    plain, compacted = Topic(f"{kafka_settings.prefix}-a", 3), Topic(f"{kafka_settings.prefix}-b", 1, compacted=True)
    kafka.require_topics(kafka_settings, [plain])
    kafka.require_topics(kafka_settings, [Topic(plain.name, 5), compacted])
    assert partitions(kafka_settings) == {plain.name: 3, compacted.name: 1}
    assert policy(kafka_settings, compacted.name) == "compact"
    assert policy(kafka_settings, plain.name) == "delete"


def partitions(settings: KafkaSettings) -> dict[str, int]:
    """How many each topic of the test has, once the broker tells of them."""
    until = time.monotonic() + 30
    while True:
        found = kafka.admin(settings).list_topics(timeout=30).topics
        mine = {name: len(topic.partitions) for name, topic in found.items() if name.startswith(settings.prefix)}
        if len(mine) == 2 or time.monotonic() > until:
            return mine


def policy(settings: KafkaSettings, topic: str) -> str:
    from confluent_kafka.admin import ConfigResource

    asked = ConfigResource(ConfigResource.Type.TOPIC, topic)
    client = kafka.admin(settings)
    (future,) = client.describe_configs([asked]).values()
    return str(future.result()["cleanup.policy"].value)


def test_what_was_written_in_one_transaction_is_seen_together_or_not_at_all(kafka_settings: KafkaSettings) -> None:
    topic = f"{kafka_settings.prefix}-t"
    kafka.require_topics(kafka_settings, [Topic(topic, 1)])
    writer = kafka.transactional_producer(kafka_settings, kafka_settings.prefix)
    writer.init_transactions(30)
    for text, end in (("lost", writer.abort_transaction), ("kept", writer.commit_transaction)):
        writer.begin_transaction()
        writer.produce(topic, text)
        writer.flush(30)
        end(30)
    reader = kafka.consumer(kafka_settings, kafka_settings.prefix)
    reader.subscribe([topic])
    until = time.monotonic() + 60
    while (message := reader.poll(0.2)) is None:
        assert time.monotonic() < until
    assert message.value() == b"kept"
    reader.close()


def test_nobody_there_is_one_sentence_that_says_where(nobody: KafkaSettings) -> None:
    with pytest.raises(TryAgainError, match=nobody.brokers):
        kafka.require_topics(nobody, [Topic("a", 1)])


def test_a_setting_that_the_library_refuses_is_no_reason_to_try_again() -> None:
    settings = KafkaSettings(brokers="127.0.0.1:1", security="SSL", ca_file=__file__)
    with pytest.raises(UsageError), kafka.errors(settings):
        kafka.producer(settings)


def test_the_password_reaches_the_library_and_no_text(nobody: KafkaSettings) -> None:
    settings = KafkaSettings(
        brokers=nobody.brokers, security="SASL_PLAINTEXT", username="shop", password=Secret("do-not-print")
    )
    assert kafka.connection(settings)["sasl.password"] == "do-not-print"
    with pytest.raises(TryAgainError) as raised:
        kafka.require_topics(settings, [Topic("a", 1)])
    assert "do-not-print" not in str(raised.value)


def test_the_library_says_the_same_only_once_in_a_while() -> None:
    seldom = Seldom(seconds=3600)
    lines = [logging.makeLogRecord({"msg": "%s %s", "args": (kind, "x")}) for kind in ("FAIL", "FAIL", "ERROR", "FAIL")]
    assert [seldom.filter(line) for line in lines] == [True, False, True, False]
    assert Seldom(seconds=0).filter(lines[0])
