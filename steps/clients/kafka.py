"""Kafka, thin: how its clients connect, topics made where they are missing, errors in a sentence, a quiet log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steps.runtime.errors import StepError, TryAgainError, UsageError
from steps.runtime.kafka_settings import KafkaSettings

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient

ANSWER_SECONDS = 10.0
"""Within which brokers that are there have answered."""
SESSION_MS = 10_000
"""How long a member of a group may be silent before others take over its partitions."""
TRANSACTION_MS = 10_000
"""After which the brokers give up the transaction of a process that is gone; what was written in it is never seen."""
IDLE_MS = 10_000
"""After which a writer of transactions closes a connection that it does not use."""
REFUSED = (
    "_AUTHENTICATION",
    "_INVALID_ARG",
    "_SSL",
    "CLUSTER_AUTHORIZATION_FAILED",
    "GROUP_AUTHORIZATION_FAILED",
    "SASL_AUTHENTICATION_FAILED",
    "TOPIC_AUTHORIZATION_FAILED",
    "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
)
"""What no second try makes better."""


class Seldom(logging.Filter):
    """Lets a line of each kind pass once in a while: of a broker that is away there would be ten every second."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self._passed: dict[object, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.args[0] if isinstance(record.args, tuple) and record.args else record.msg
        now = time.monotonic()
        if now - self._passed.get(kind, -self.seconds) < self.seconds:
            return False
        self._passed[kind] = now
        return True


library_log = logging.getLogger(f"{__name__}.library")
library_log.setLevel(logging.WARNING)
library_log.addFilter(Seldom(60))


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """What every client has to know to reach the brokers."""
    found: dict[str, Any] = {
        "bootstrap.servers": settings.brokers,
        "security.protocol": settings.security,
        "client.id": settings.prefix,
        "log.connection.close": False,  # a broker closes what is idle, which is no news
        "reconnect.backoff.max.ms": 2000,
        "socket.keepalive.enable": True,
    }
    if settings.username:
        found |= {
            "sasl.mechanism": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": settings.password.reveal(),
        }
    if settings.ca_file:
        found["ssl.ca.location"] = settings.ca_file
    return found


def producer(settings: KafkaSettings, **more: Any) -> Producer:
    """Writes each message once and in order, also where it has to send it again."""
    from confluent_kafka import Producer

    options = {"enable.idempotence": True, "linger.ms": 2, **_dotted(more)}
    return Producer({**connection(settings), **options}, logger=library_log)


def transactional_producer(settings: KafkaSettings, name: str) -> Producer:
    """Whose messages are seen together or not at all; of two with the same name the older one is shut out."""
    # After a broker was away the library may wait for any connection to change, whatever time it is given (librdkafka's
    # issues 5456 and 5511): one that is closed for want of use is such a change.
    return producer(
        settings,
        transactional_id=name,
        transaction_timeout_ms=TRANSACTION_MS,
        connections_max_idle_ms=IDLE_MS,
        linger_ms=0,
    )


def consumer(settings: KafkaSettings, group: str, **more: Any) -> Consumer:
    """Reads what is committed; commits nothing by itself."""
    from confluent_kafka import Consumer

    options = {
        "group.id": group,
        "enable.auto.commit": False,
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": SESSION_MS,
        **_dotted(more),
    }
    return Consumer({**connection(settings), **options}, logger=library_log)


def admin(settings: KafkaSettings) -> AdminClient:
    from confluent_kafka.admin import AdminClient

    return AdminClient(connection(settings), logger=library_log)


def _dotted(options: dict[str, Any]) -> dict[str, Any]:
    return {name.replace("_", "."): value for name, value in options.items()}


@dataclass(frozen=True)
class Topic:
    """A topic that somebody relies on."""

    name: str
    partitions: int
    compacted: bool = False
    """Whether only the newest message of a key is kept."""


def require_topics(settings: KafkaSettings, wanted: Iterable[Topic]) -> None:
    """Makes those that are missing, as many copies of each as the brokers make by default; leaves the others alone."""
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.cimpl import NewTopic

    with errors(settings):
        client = admin(settings)
        there = client.list_topics(timeout=ANSWER_SECONDS).topics
        missing = [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=-1,
                config={"cleanup.policy": "compact"} if topic.compacted else {},
            )
            for topic in wanted
            if topic.name not in there
        ]
        made = client.create_topics(missing, operation_timeout=ANSWER_SECONDS) if missing else {}
        for future in made.values():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another process was first
                    raise
        _wait_for(client, set(made))


def _wait_for(client: AdminClient, made: set[str]) -> None:
    """Until a broker tells others of what it has made, and somebody is in charge of it."""
    until = time.monotonic() + ANSWER_SECONDS
    while made and time.monotonic() < until:
        found = client.list_topics(timeout=ANSWER_SECONDS).topics
        made = {
            name for name in made if name not in found or any(one.leader < 0 for one in found[name].partitions.values())
        }
        time.sleep(0.05)


def ends(reader: Consumer, topic: str) -> list[TopicPartition]:
    """Where each partition of a topic ends now; one that was just made needs a moment to have a leader."""
    from confluent_kafka import KafkaException

    until = time.monotonic() + ANSWER_SECONDS
    while True:
        try:
            return _ends(reader, topic)
        except KafkaException:
            if time.monotonic() > until:
                raise
        time.sleep(0.1)


def _ends(reader: Consumer, topic: str) -> list[TopicPartition]:
    from confluent_kafka import KafkaException, TopicPartition

    told = reader.list_topics(topic, ANSWER_SECONDS).topics[topic]
    if told.error:
        raise KafkaException(told.error)
    places = [TopicPartition(topic, one) for one in told.partitions]
    for one in places:
        one.offset = reader.get_watermark_offsets(one, ANSWER_SECONDS)[1]
    return places


@contextmanager
def errors(settings: KafkaSettings) -> Iterator[None]:
    """Says in a sentence what Kafka refuses, or that it does not answer."""
    from confluent_kafka import KafkaException

    try:
        yield
    except KafkaException as error:
        raise in_words(settings, error) from error


def in_words(settings: KafkaSettings, error: KafkaException) -> StepError:
    """What went wrong, and whether trying again may help."""
    reason = error.args[0]
    sentence = f"Kafka at {settings.brokers} does not do as it is asked: {reason.str()} ({reason.name()})"
    return UsageError(sentence) if reason.name() in REFUSED else TryAgainError(sentence)
