"""Asking at a rate: each question at its time, and the time of an answer counted from there."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from steps.runtime.errors import UsageError
from steps.runtime.secret import Secret
from steps.serving.load import Question, Schedule, Server, Tally, ask_all, percentiles


def whoever(number: int) -> str:
    return f"u{number}"


class Slow:
    """Answers after a while: all of them, or only some."""

    def __init__(self, tally: Tally, seconds: Callable[[int], float]) -> None:
        self.tally = tally
        self.seconds = seconds
        self.asked: list[Question] = []

    def ask(self, question: Question) -> None:
        sent = time.perf_counter()
        self.tally.sent()
        self.asked.append(question)
        time.sleep(self.seconds(question.number))
        self.tally.answer(question, sent, 1, known=True, degraded=False)


def everything(schedule: Schedule, asker: Slow, threads: int) -> None:
    for thread in ask_all(schedule, asker, threads):
        thread.join(60)
        assert not thread.is_alive()


def test_each_question_is_asked_once_and_not_before_its_time() -> None:
    tally = Tally()
    asker = Slow(tally, lambda number: 0)
    began = time.perf_counter()
    everything(Schedule(200, 50, whoever), asker, threads=3)
    assert sorted(question.number for question in asker.asked) == list(range(50))
    assert time.perf_counter() - began >= 49 / 200
    assert (tally.asked, tally.answered, tally.done) == (50, 50, 50)


def test_who_had_to_wait_because_the_server_stood_still_is_counted_as_waiting() -> None:
    """One answer in a hundred takes 0.5 s; a hundred questions are due in that time, and one can be sent."""
    tally = Tally()
    everything(Schedule(200, 100, whoever), Slow(tally, lambda number: 0.5 if number == 0 else 0), threads=1)
    ordered = sorted(tally.seconds)
    assert ordered[-1] >= 0.5
    assert ordered[50] >= 0.2, "half of them were due in the first half of the standstill"
    assert sorted(tally.sent_seconds)[50] < ordered[50]


def test_without_a_rate_the_next_question_comes_after_the_answer() -> None:
    tally = Tally()
    everything(Schedule(0, 20, whoever), Slow(tally, lambda number: 0.01), threads=1)
    assert all(seconds >= 0.01 for seconds in tally.seconds)
    assert tally.answered == 20


def test_stopping_ends_the_waiting_for_what_is_not_due_yet() -> None:
    schedule = Schedule(0.001, 10, whoever)
    threads = ask_all(schedule, Slow(Tally(), lambda number: 0), threads=2)
    schedule.stopped.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_percentiles_are_times_that_were_measured() -> None:
    found = percentiles([number / 1000 for number in range(1, 1001)])
    assert found == {"p50": 500.0, "p90": 900.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0}
    assert percentiles([]) == {}
    assert percentiles([0.002]) == {"p50": 2.0, "p90": 2.0, "p99": 2.0, "p99.9": 2.0, "max": 2.0}


class Echo(http.server.BaseHTTPRequestHandler):
    """Says what it was sent, and ends the connection after every third answer."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    answers = 0

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        said = json.dumps(
            {"path": self.path, "body": body.decode(), "authorization": self.headers.get("authorization")}
        ).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)
        Echo.answers += 1
        self.close_connection = Echo.answers % 3 == 0

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_a_server_that_closes_what_is_idle_is_asked_again(url: str) -> None:
    server = Server(f"{url}/shop/", Secret(""), 30)
    for number in range(10):
        status, body = server.post("/recommend", b"%d" % number)
        assert status == 200
        assert json.loads(body) == {"path": "/shop/recommend", "body": str(number), "authorization": None}


def test_the_token_is_sent_and_not_printed(url: str) -> None:
    server = Server(url, Secret("do-not-print"), 30)
    assert json.loads(server.post("/state", b"")[1])["authorization"] == "Bearer do-not-print"


def test_nobody_there_is_an_error_each_time() -> None:
    server = Server("http://127.0.0.1:9", Secret(""), 30)
    for _ in range(2):
        with pytest.raises(ConnectionRefusedError):
            server.post("/recommend", b"")


@pytest.mark.parametrize(
    "wrong", ["localhost:8080", "ftp://a", "http://", "http://a:x", "http://a/?b=c", "http://u:p@a"]
)
def test_a_wrong_address_is_said_in_a_sentence(wrong: str) -> None:
    with pytest.raises(UsageError, match="--url is"):
        Server(wrong, Secret(""), 30)
