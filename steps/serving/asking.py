"""The two ways to ask the model server, HTTP and Kafka, and what shoppers send back."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from steps.clients import kafka
from steps.runtime.kafka_settings import KafkaSettings
from steps.serving.load import Question, Server, Tally
from steps.serving.messages import Recommend, Recommendation
from steps.serving.shopper import Shoppers
from steps.serving.stream_messages import BadMessageError, Request, encode, read_answer
from steps.serving.streams import WAIT_SECONDS, topics

if TYPE_CHECKING:
    from confluent_kafka import Message

NOT_UNDERSTOOD = "an answer that is no recommendation"
Shown = Callable[[Question, Recommendation], None]
"""Is told of every list that came."""


class Feedback:
    """Sends what the shoppers do, by HTTP: the answer to that says that it would survive a crash."""

    def __init__(self, shoppers: Shoppers, server: Server) -> None:
        self.shoppers = shoppers
        self.server = server
        self.events: Counter[str] = Counter()
        """Those that were accepted, by kind."""
        self.faults: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, question: Question, found: Recommendation) -> None:
        items = [one.item for one in found.items]
        events = self.shoppers.visit(question.number, question.user, found.version, items)
        if not events:
            return
        try:
            status, _ = self.server.post("/send-feedback", encode({"events": events}))
            fault = "" if status < 300 else f"status {status}"
        except (OSError, http.client.HTTPException) as error:
            fault = type(error).__name__
        with self._lock:
            if fault:
                self.faults[fault] += 1
            else:
                self.events.update(str(event["kind"]) for event in events)


class ByHttp:
    """Waits for each answer."""

    def __init__(self, server: Server, tally: Tally, k: int, shown: Shown | None) -> None:
        self.server = server
        self.tally = tally
        self.k = k
        self.shown = shown
        self._read = msgspec.json.Decoder(Recommendation).decode

    def ask(self, question: Question) -> None:
        body = encode(Recommend(user=question.user, k=self.k))
        sent = time.perf_counter()
        self.tally.sent()
        try:
            status, content = self.server.post("/recommend", body)
            found = self._read(content) if status == 200 else None
        except (OSError, http.client.HTTPException) as error:
            self.tally.fault(type(error).__name__)
            return
        except msgspec.DecodeError:
            self.tally.fault(NOT_UNDERSTOOD)
            return
        if found is None:
            self.tally.fault(f"status {status}")
            return
        self.tally.answer(question, sent, found.version, known=found.known, degraded=found.degraded)
        if self.shown:
            self.shown(question, found)


class ByKafka:
    """Sends requests to their topic and finds the answers in theirs while the block runs."""

    def __init__(self, settings: KafkaSettings, name: str, tally: Tally, k: int, shown: Shown | None) -> None:
        self.settings = settings
        self.name = name
        """Of this run: what others ask is not ours to read."""
        self.tally = tally
        self.k = k
        self.shown = shown
        self.problem = ""
        self._waiting: dict[str, tuple[Question, float]] = {}
        self._stopped = threading.Event()
        self._beside = ThreadPoolExecutor(8, "shopper")
        self._reader = threading.Thread(target=self._read, name="answers", daemon=True)

    def __enter__(self) -> ByKafka:
        kafka.require_topics(self.settings, topics(self.settings))
        with kafka.errors(self.settings):
            self._producer = kafka.producer(self.settings)
            # Alone in its group, from here on: what was answered before is nobody's question any more.
            self._consumer = kafka.consumer(self.settings, f"{self.settings.prefix}-{self.name}")
            found = (self.settings.recommendations, self.settings.dead_letters)
            self._consumer.assign([end for topic in found for end in kafka.ends(self._consumer, topic)])
        self._reader.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stopped.set()
        self._reader.join()
        self._beside.shutdown()
        self._consumer.close()

    def ask(self, question: Question) -> None:
        request = Request(1, f"{self.name}-{question.number}", Recommend(user=question.user, k=self.k))
        sent = time.perf_counter()
        self._waiting[request.id] = question, sent
        self.tally.sent()
        while True:
            try:
                self._producer.produce(self.settings.requests, encode(request), question.user.encode())
            except BufferError:  # more waits than the library keeps: until some of it is gone
                self._producer.poll(WAIT_SECONDS)
            else:
                self._producer.poll(0)
                return

    def _read(self) -> None:
        while not self._stopped.is_set():
            message = self._consumer.poll(WAIT_SECONDS)
            if message is None:
                continue
            if error := message.error():
                self.problem = str(error.str())
            elif message.topic() == self.settings.recommendations:
                self._answered(message)
            else:
                self._died(message)

    def _answered(self, message: Message) -> None:
        try:
            answer = read_answer(message.value())
        except BadMessageError:
            self.problem = NOT_UNDERSTOOD
            return
        asked = self._waiting.pop(answer.id, None)
        if asked is None:  # another client's
            return
        question, sent = asked
        found = answer.recommendation
        self.tally.answer(question, sent, found.version, known=found.known, degraded=found.degraded)
        if self.shown:
            self._beside.submit(self.shown, question, found)

    def _died(self, message: Message) -> None:
        try:
            request = msgspec.json.decode(message.value() or b"", type=dict)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if self._waiting.pop(str(request.get("id")), None):
            reason = dict(message.headers() or []).get("reason")
            text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else "no reason"
            self.tally.fault(f"a dead letter: {text}")
