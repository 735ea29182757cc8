"""Requests in and answers out through Kafka: each request is answered once, whatever is killed or moves meanwhile.

What a turn has read, and what it answers, is one transaction: either the answers are seen and the requests count as
read, or neither, and whoever gets the requests next answers them. What cannot be answered goes to the dead letters in
the same transaction. Readers of the answers have to read what is committed only, as most do by default.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from steps.clients import kafka
from steps.clients.kafka import Topic
from steps.runtime.errors import StepError
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.program import one_line
from steps.serving import stream_messages
from steps.serving.messages import Recommend, Recommendation
from steps.serving.stream_messages import (
    MOST_ANSWER_BYTES,
    MOST_BYTES,
    VERSION,
    BadMessageError,
    DeadLetter,
    Request,
    read_request,
)

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, Producer, TopicPartition

log = logging.getLogger(__name__)

Answering = Callable[[Sequence[Recommend]], Sequence[Recommendation | Exception]]
"""One answer for each that was asked for, in the same order; an exception's `status` is that of HTTP."""
Result = TypeVar("Result")

PARTITIONS = 6
"""Of topics that we have to make ourselves: as many servers can share the work."""
MOST_AT_ONCE = 256
WAIT_SECONDS = 0.2
"""For requests; a stop takes as long."""
LAG_SECONDS = 1.0
STOP_SECONDS = 15.0
"""For the turn that is being worked on. The library may wait far longer for a broker that died in a transaction."""
LONG_SECONDS = 30.0
"""After which a turn that is not over is told as a problem."""
INSIST_SECONDS = 60.0
"""Of trying again what brokers said might work the next time."""
PAUSES = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before connecting again, more after each time that it did not help."""
LATER = (429, 503)
"""Statuses of answers that are to be had at another time."""
MOST_KEY_BYTES = 1024
MOST_REASON = 500


def topics(settings: KafkaSettings) -> list[Topic]:
    """All that the product uses."""
    return [
        Topic(settings.requests, PARTITIONS),
        Topic(settings.recommendations, PARTITIONS),
        Topic(settings.dead_letters, 1),
        Topic(settings.models, 1, compacted=True),
    ]


class LaterError(Exception):
    """Nothing can be answered at the moment: the requests stay where they are."""


@dataclass
class Counts:
    """What was done since the start; only committed work counts."""

    answered: int = 0
    dead_letters: int = 0
    turns: int = 0
    again: int = 0
    """Turns whose transaction failed, and whose requests were read again."""
    lag: int = 0
    """Requests that wait in the partitions that are ours."""
    partitions: list[int] = field(default_factory=list)
    waited_ms: float = 0.0
    """From the sending of the last turn's oldest request to its answer."""


@dataclass(frozen=True)
class Outgoing:
    """A message to be written."""

    topic: str
    value: bytes
    key: bytes | None
    headers: list[tuple[str, str | bytes | None]] = field(default_factory=list)


class Streams:
    """Answers requests in a thread of its own while the block runs; several processes share the partitions.

    To be made after a fork, never before: the library's threads would be missing in the child.
    """

    def __init__(self, settings: KafkaSettings, answer: Answering, most: int = MOST_AT_ONCE) -> None:
        self.settings = settings
        self.answer = answer
        self.most = most
        self.counts = Counts()
        self.problem = "not connected yet"
        self._name = f"{settings.group}-{uuid.uuid4().hex[:12]}"
        self._batch: list[Message] = []
        self._in_vain = 0
        """Turns that have failed one after the other."""
        self._measured = 0.0
        self._since = 0.0
        """When the turn began that is being worked on; 0 while there is none."""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)

    def __enter__(self) -> Streams:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stopped.set()
        # What it leaves behind is a transaction that nobody sees, and its requests are others' to answer.
        self._thread.join(STOP_SECONDS)

    def state(self) -> dict[str, Any]:
        """For `/state`."""
        counts, since = self.counts, self._since
        waits = time.monotonic() - since if since else 0.0
        return {
            "problem": self.problem if waits < LONG_SECONDS else f"a turn is not over after {waits:.0f} s",
            "answered": counts.answered,
            "dead_letters": counts.dead_letters,
            "turns": counts.turns,
            "again": counts.again,
            "lag": counts.lag,
            "partitions": counts.partitions,
            "waited_ms": counts.waited_ms,
        }

    def _run(self) -> None:
        """Nothing ends this but a stop: the server answers HTTP all the same, and Kafka may come back."""
        from confluent_kafka import KafkaException

        failed = 0
        while not self._stopped.is_set():
            before = self.counts.turns
            try:
                with self._connected() as (consumer, producer):
                    self.problem = ""
                    while not self._stopped.is_set():
                        self._turn(consumer, producer)
            except (KafkaException, StepError) as error:
                sentence = error if isinstance(error, StepError) else kafka.in_words(self.settings, error)
                self.problem = str(sentence)
                log.warning("streams: %s", sentence)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("streams: this should not have happened")
            if self._stopped.is_set():
                return
            failed = 0 if self.counts.turns > before else failed + 1
            self._stopped.wait(PAUSES[min(failed, len(PAUSES) - 1)])

    @contextlib.contextmanager
    def _connected(self) -> Iterator[tuple[Consumer, Producer]]:
        kafka.require_topics(self.settings, topics(self.settings))
        # The name is the process's: a transaction of its own that was left open ends here.
        producer = kafka.transactional_producer(self.settings, self._name)
        self._insist(lambda: producer.init_transactions(kafka.ANSWER_SECONDS))
        consumer = kafka.consumer(self.settings, self.settings.group)
        try:
            consumer.subscribe(
                [self.settings.requests], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
            )
            log.info("streams: requests are read from %s", self.settings.requests)
            yield consumer, producer
        finally:
            self.counts.partitions = []
            self.counts.lag = 0
            consumer.close()

    def _assigned(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.counts.partitions = sorted({*self.counts.partitions, *(one.partition for one in partitions)})

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """What was read of them but not answered is now another's to answer."""
        gone = {one.partition for one in partitions}
        self._batch = [message for message in self._batch if message.partition() not in gone]
        self.counts.partitions = [one for one in self.counts.partitions if one not in gone]

    def _turn(self, consumer: Consumer, producer: Producer) -> None:
        batch = self._read(consumer)
        self._measure(consumer)
        if not batch:
            return
        self._since = time.monotonic()
        try:
            self._work(consumer, producer, batch)
        finally:
            self._since = 0.0

    def _work(self, consumer: Consumer, producer: Producer, batch: list[Message]) -> None:
        from confluent_kafka import KafkaException

        try:
            outgoing = self._answered(batch)
        except LaterError as error:
            if self.problem != str(error):
                log.warning("streams: requests wait: %s", one_line(str(error)))
            self.problem = str(error)
            self._rewind(consumer, batch)
            self._stopped.wait(PAUSES[1])
            return
        try:
            self._commit(consumer, producer, batch, outgoing)
        except KafkaException as error:
            self.counts.again += 1
            if error.args[0].fatal():
                raise
            self.problem = str(kafka.in_words(self.settings, error))
            log.warning("streams: read again: %s", self.problem)
            self._insist(lambda: producer.abort_transaction(kafka.ANSWER_SECONDS))
            self._rewind(consumer, batch)
            # What moves partitions fails once; what always fails, such as a missing right, must not keep a core busy.
            self._stopped.wait(PAUSES[min(self._in_vain, len(PAUSES) - 1)])
            self._in_vain += 1
            return
        self.problem, self._in_vain = "", 0
        dead = sum(one.topic == self.settings.dead_letters for one in outgoing)
        self.counts.turns += 1
        self.counts.dead_letters += dead
        self.counts.answered += len(outgoing) - dead
        self.counts.waited_ms = round(1000 * time.time() - min(message.timestamp()[1] for message in batch), 1)

    def _read(self, consumer: Consumer) -> list[Message]:
        """What waits, up to a turn's fill. One by one: a partition may go at each, with what was read of it."""
        from confluent_kafka import KafkaException

        self._batch = []
        message = consumer.poll(WAIT_SECONDS)
        while message is not None:
            if message.error():
                raise KafkaException(message.error())
            self._batch.append(message)
            message = consumer.poll(0) if len(self._batch) < self.most else None
        return self._batch

    def _answered(self, batch: list[Message]) -> list[Outgoing]:
        """What each message leads to, in the same order."""
        requests: list[Request | str] = []
        for message in batch:
            try:
                requests.append(read_request(message.value()))
            except BadMessageError as error:
                requests.append(str(error))
        good = [one for one in requests if isinstance(one, Request)]
        answers = iter(self._answers([one.recommend for one in good]))
        return [
            self._outgoing(message, request, next(answers))
            if isinstance(request, Request)
            else self._dead_letter(message, request)
            for message, request in zip(batch, requests, strict=True)
        ]

    def _answers(self, asked: list[Recommend]) -> list[Recommendation | Exception]:
        if not asked:
            return []
        try:
            found = list(self.answer(asked))
        except Exception as error:
            if getattr(error, "status", 0) in LATER:
                raise LaterError(str(error)) from error
            if len(asked) == 1:
                log.exception("streams: a request could not be answered")
                return [error]
            # One of them is to blame; the others shall not suffer for it.
            return [answer for one in asked for answer in self._answers([one])]
        for one in found:
            if isinstance(one, Exception) and getattr(one, "status", 0) in LATER:
                raise LaterError(str(one)) from one
        return found

    def _outgoing(self, message: Message, request: Request, answer: Recommendation | Exception) -> Outgoing:
        if isinstance(answer, Exception):
            status = getattr(answer, "status", 500)
            name = type(answer).__name__
            return self._dead_letter(message, str(answer) if status < 500 else f"it could not be answered: {name}")
        value = stream_messages.encode(stream_messages.Answer(VERSION, request.id, answer))
        if len(value) > MOST_ANSWER_BYTES:
            return self._dead_letter(message, f"the answer has {len(value)} bytes; {MOST_ANSWER_BYTES} are allowed")
        return Outgoing(self.settings.recommendations, value, (request.recommend.user or request.id).encode())

    def _dead_letter(self, message: Message, reason: str) -> Outgoing:
        value, key = message.value() or b"", message.key()
        headers = DeadLetter(
            v=str(VERSION),
            reason=one_line(reason)[:MOST_REASON],
            topic=str(message.topic()),
            partition=str(message.partition()),
            offset=str(message.offset()),
            size=str(len(value)),
        )
        named: list[tuple[str, str | bytes | None]] = [
            (name, getattr(headers, name).encode("utf-8", "replace")) for name in DeadLetter.__struct_fields__
        ]
        return Outgoing(self.settings.dead_letters, value[:MOST_BYTES], key[:MOST_KEY_BYTES] if key else None, named)

    def _commit(self, consumer: Consumer, producer: Producer, batch: list[Message], outgoing: list[Outgoing]) -> None:
        """All of it at once, or nothing."""
        from confluent_kafka import TopicPartition

        read = {place(message): message.offset() or 0 for message in batch}
        offsets = [TopicPartition(topic, partition, offset + 1) for (topic, partition), offset in read.items()]
        producer.begin_transaction()
        for one in outgoing:
            producer.produce(one.topic, one.value, one.key, headers=one.headers)
        group = consumer.consumer_group_metadata()
        self._insist(lambda: producer.send_offsets_to_transaction(offsets, group, kafka.ANSWER_SECONDS))
        self._insist(lambda: producer.commit_transaction(kafka.ANSWER_SECONDS))

    def _insist(self, call: Callable[[], Result]) -> Result:
        """Once more as long as that may help: a broker that was away for a moment knows what it has begun."""
        from confluent_kafka import KafkaException

        until = time.monotonic() + INSIST_SECONDS
        while True:
            try:
                return call()
            except KafkaException as error:
                if not error.args[0].retriable() or self._stopped.is_set() or time.monotonic() > until:
                    raise
                self._stopped.wait(PAUSES[0])

    def _rewind(self, consumer: Consumer, batch: list[Message]) -> None:
        """Back to what counts as read, in the partitions of the batch that are still ours."""
        from confluent_kafka import OFFSET_BEGINNING, TopicPartition

        mine = {(one.topic, one.partition) for one in consumer.assignment()}
        touched = {place(message) for message in batch} & mine
        for one in consumer.committed([TopicPartition(*place) for place in sorted(touched)], kafka.ANSWER_SECONDS):
            consumer.seek(TopicPartition(one.topic, one.partition, one.offset if one.offset >= 0 else OFFSET_BEGINNING))

    def _measure(self, consumer: Consumer) -> None:
        """How much waits, by what came along with the messages: nobody is asked for it."""
        if time.monotonic() - self._measured < LAG_SECONDS:
            return
        self._measured = time.monotonic()
        lag = 0
        for one in consumer.position(consumer.assignment()):
            _, end = consumer.get_watermark_offsets(one, cached=True)
            # Both are negative as long as nothing has been read of a partition.
            lag += max(end - one.offset, 0) if one.offset >= 0 else 0
        self.counts.lag = lag


def place(message: Message) -> tuple[str, int]:
    """Where a message lies: topic and partition."""
    return str(message.topic()), message.partition() or 0
