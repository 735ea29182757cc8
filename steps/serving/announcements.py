"""What is live may be told through Kafka: a reason for every server to look into the store at once, no more.

Nobody depends on it. The store alone says what is live, and servers look there every few seconds anyway.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from steps.clients import kafka
from steps.runtime.errors import StepError
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.program import one_line
from steps.serving.stream_messages import Announcement, BadMessageError, encode, read_announcement
from steps.serving.streams import PAUSES, STOP_SECONDS, WAIT_SECONDS, topics

if TYPE_CHECKING:
    from confluent_kafka import Consumer

log = logging.getLogger(__name__)


def announce(settings: KafkaSettings, about: Literal["release", "canary"], version: int) -> None:
    """Tells the servers. What is in the store is done already: where Kafka is away, they find it there."""
    if not settings:
        return
    try:
        kafka.require_topics(settings, topics(settings))
        with kafka.errors(settings):
            writer = kafka.producer(settings)
            writer.produce(settings.models, encode(Announcement(1, about, version)), about.encode())
            left = writer.flush(kafka.ANSWER_SECONDS)
    except StepError as error:
        log.warning("version %d is not announced, and found at the servers' next look: %s", version, error)
        return
    if left:
        log.warning("version %d may not be announced: Kafka at %s does not answer", version, settings.brokers)


class Follower:
    """Calls `look` for every announcement, in a thread of its own while the block runs."""

    def __init__(self, settings: KafkaSettings, look: Callable[[], None]) -> None:
        self.settings = settings
        self.look = look
        self.problem = "not connected yet"
        self.heard = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="announcements", daemon=True)

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stopped.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        failed = 0
        while not self._stopped.is_set():
            try:
                with kafka.errors(self.settings):
                    self._follow()
            except StepError as error:
                self.problem = str(error)
                log.warning("announcements: %s", error)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("announcements: this should not have happened")
            failed = min(failed + 1, len(PAUSES) - 1)
            self._stopped.wait(PAUSES[failed])

    def _follow(self) -> None:
        from confluent_kafka import KafkaException

        kafka.require_topics(self.settings, topics(self.settings))
        # Everybody is to hear it, so each is alone in its group, and commits nothing.
        consumer: Consumer = kafka.consumer(self.settings, f"{self.settings.prefix}-{uuid.uuid4().hex[:12]}")
        try:
            consumer.assign(kafka.ends(consumer, self.settings.models))
            # What was announced before those ends is in the store.
            self.look()
            self.problem = ""
            while not self._stopped.is_set():
                message = consumer.poll(WAIT_SECONDS)
                if message is None:
                    continue
                if message.error():
                    raise KafkaException(message.error())
                self._heard(message.value())
        finally:
            consumer.close()

    def _heard(self, value: bytes | None) -> None:
        """A message is a hint: whatever it says, what counts is what the store says then."""
        try:
            told = read_announcement(value)
        except BadMessageError as error:
            log.warning("announcements: not understood and ignored: %s", one_line(str(error)))
            return
        log.info("announcements: %s %d", told.about, told.version)
        self.heard += 1
        self.look()
