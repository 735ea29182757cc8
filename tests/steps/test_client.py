"""The client against a server that answers as the model server does, and remembers what it was sent."""

from __future__ import annotations

import http.server
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from steps.clients import kafka
from steps.runtime.kafka_settings import KafkaSettings
from steps.serving.messages import Recommend, Recommendation, Scored
from steps.serving.shopper import Taste
from steps.serving.streams import Streams, topics

Run = Callable[..., tuple[int, dict[str, str]]]


class Shop(http.server.ThreadingHTTPServer):
    """A model server: everybody is shown the same items."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, items: Sequence[str]) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.items = items
        self.users: Counter[str] = Counter()
        self.events: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.status = 200
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Shop

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.tokens.add(self.headers.get("authorization"))
        if self.path == "/send-feedback":
            self.server.events += body["events"]
            said: dict[str, Any] = {}
        else:
            self.server.users[body["user"]] += 1
            items = [{"item": item, "score": 1.0} for item in self.server.items[: body["k"]]]
            said = {"version": 3, "model": "als", "known": True, "user": body["user"], "items": items}
        content = json.dumps(said).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@contextmanager
def open_shop(items: Sequence[str]) -> Iterator[Shop]:
    with Shop(items) as shop:
        thread = threading.Thread(target=shop.serve_forever, daemon=True)
        thread.start()
        try:
            yield shop
        finally:
            shop.shutdown()
            thread.join()


@pytest.fixture
def shop() -> Iterator[Shop]:
    with open_shop([f"p{number:04d}" for number in range(30)]) as found:
        yield found


@pytest.fixture
def users(tmp_path: Path) -> str:
    path = tmp_path / "users.txt"
    path.write_text("u1\nu2\n\nu3\n", encoding="utf-8")
    return str(path)


def test_users_of_a_file_are_asked_for_and_what_came_of_it_is_told(
    run_step: Run, shop: Shop, users: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    code, said = run_step("client", "--url", shop.url, "--users", users, "--rate", "0", "--count", "60")
    assert code == 0
    assert (said["asked"], said["answered"]) == ("60", "60")
    assert set(json.loads(said["ms"])) == {"p50", "p90", "p99", "p99.9", "max"}
    assert shop.users.keys() == {"u1", "u2", "u3"}
    assert shop.users.total() == 60
    assert not shop.events
    text = caplog.text
    assert "60 answered, 0 not; 0 for unknown users, 0 degraded; versions: 3 (60)" in text
    assert f"next: curl -s {shop.url}/state" in text


def test_so_many_seconds_at_a_rate_are_so_many_requests(run_step: Run, shop: Shop, users: str) -> None:
    code, said = run_step("client", "--url", shop.url, "--users", users, "--rate", "100", "--seconds", "0.3")
    assert (code, said["answered"]) == (0, "30")


def test_the_same_seed_asks_the_same_users(run_step: Run, users: str) -> None:
    asked = []
    for seed in ("1", "1", "2"):
        with open_shop(["a"]) as shop:
            flags = ("--url", shop.url, "--users", users, "--rate", "0", "--count", "40", "--seed", seed)
            assert run_step("client", *flags)[0] == 0
            asked.append(shop.users)
    assert asked[0] == asked[1] != asked[2]


def test_the_token_goes_to_the_server_and_into_no_log(
    run_step: Run, shop: Shop, users: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    flags = ("--url", shop.url, "--users", users, "--rate", "0", "--count", "3")
    assert run_step("client", *flags, API_TOKEN="do-not-print-this")[0] == 0
    assert shop.tokens == {"Bearer do-not-print-this"}
    assert "do-not-print" not in caplog.text


def test_refusals_are_told_and_a_server_that_answers_nothing_is_an_error(
    run_step: Run, shop: Shop, users: str, caplog: pytest.LogCaptureFixture
) -> None:
    shop.status = 503
    code, said = run_step("client", "--url", shop.url, "--users", users, "--rate", "0", "--count", "5")
    assert (code, said["answered"]) == (75, "0")
    assert "status 503 (5)" in caplog.text


def test_nobody_there_is_one_sentence(run_step: Run, users: str, caplog: pytest.LogCaptureFixture) -> None:
    code, _ = run_step("client", "--url", "http://127.0.0.1:9", "--users", users, "--rate", "0", "--count", "2")
    assert code == 75
    assert "http://127.0.0.1:9: ConnectionRefusedError (2)" in caplog.text


@pytest.mark.parametrize("taste", ["history", "new"])
def test_shoppers_of_a_snapshot_send_what_they_do(
    run_step: Run, shop: Shop, taste: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    _, published = run_step("data_publish", "--source", "demo:users=60,items=30")
    flags = ("--snapshot", published["snapshot"], "--shopper", "--taste", taste, "--rate", "0", "--count", "150")
    code, said = run_step("client", "--url", shop.url, *flags)
    assert code == 0
    kinds = Counter(event["kind"] for event in shop.events)
    assert kinds.total() == int(said["events"])
    assert kinds["shown"] == 150
    assert kinds["clicked"] > kinds["bought"] / 2 > 0
    assert json.loads(said["bought-from"]).keys() == {"3"}
    assert "version 3: 150 lists" in caplog.text
    assert "next: python workflows/submit.py" in caplog.text


def test_shoppers_like_what_their_history_says_unless_they_have_changed_their_minds(run_step: Run, shop: Shop) -> None:
    _, published = run_step("data_publish", "--source", "demo:users=60,items=30,groups=6")
    liked = {}
    for taste in ("history", "new"):
        shop.events.clear()
        flags = ("--snapshot", published["snapshot"], "--shopper", "--taste", taste, "--rate", "0", "--count", "200")
        assert run_step("client", "--url", shop.url, *flags, "--at-once", "1")[0] == 0
        liked[taste] = {(event["user"], *event["items"]) for event in shop.events if event["kind"] == "clicked"}
    assert len(liked["history"] & liked["new"]) < 0.7 * len(liked["history"])


def test_where_no_column_tells_kinds_apart_shoppers_still_buy_on_their_own(run_step: Run, shop: Shop) -> None:
    _, published = run_step("data_publish", "--source", "demo:users=60,items=30")
    flags = ("--snapshot", published["snapshot"], "--shopper", "--kinds", "none", "--rate", "0", "--count", "100")
    own = {}
    for share in ("0", "1"):
        shop.events.clear()
        assert run_step("client", "--url", shop.url, *flags, "--on-their-own", share)[0] == 0
        own[share] = {event["items"][0] for event in shop.events if (event["kind"], event["version"]) == ("bought", 0)}
    assert not own["0"]
    assert len(own["1"]) > 20
    assert own["1"] <= {f"p{number:04d}" for number in range(30)}


def test_the_same_shoppers_come_again_with_the_same_taste_unless_it_is_changed(run_step: Run, shop: Shop) -> None:
    _, published = run_step("data_publish", "--source", "demo:users=20,items=60")
    snapshot = ("--snapshot", published["snapshot"], "--rate", "0", "--count", "100")
    shoppers = ("--shopper", "--taste", "new", "--kinds", "none", "--on-their-own", "1")

    def liked(*flags: str) -> dict[str, set[str]]:
        """By user, what was bought by taste alone, in kinds that never change."""
        shop.events.clear()
        assert run_step("client", "--url", shop.url, *snapshot, *shoppers, *flags)[0] == 0
        found: dict[str, set[str]] = {}
        for event in shop.events:
            if (event["kind"], event["version"]) == ("bought", 0):
                found.setdefault(event["user"], set()).add(Taste(seed=7).kind(event["items"][0]))
        return found

    once, again, changed = liked("--seed", "1"), liked("--seed", "2"), liked("--seed", "1", "--taste-seed", "8")
    both = once.keys() & again.keys()
    assert both
    assert all(len(once[user] | again[user]) <= 2 for user in both)
    assert any(len(once[user] | changed[user]) > 2 for user in once.keys() & changed.keys())


def echo(asked: Sequence[Recommend]) -> list[Recommendation | Exception]:
    return [
        ValueError("not this one") if one.user == "u3" else
        Recommendation(version=4, model="als", known=False, items=[Scored("p1", 1.0)], user=one.user)
        for one in asked
    ]  # fmt: skip


def test_requests_through_kafka_find_their_answers(
    run_step: Run, kafka_settings: KafkaSettings, users: str, shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kafka.require_topics(kafka_settings, topics(kafka_settings))
    environment = {"KAFKA_BROKERS": kafka_settings.brokers, "KAFKA_TOPIC_PREFIX": kafka_settings.prefix}
    flags = ("--kafka", "--users", users, "--rate", "100", "--count", "90", "--patience", "60", "--seed", "1")
    with Streams(kafka_settings, echo):
        code, said = run_step("client", "--url", shop.url, *flags, "--shopper", **environment)
    assert code == 0
    refused = 90 - int(said["answered"])
    assert 0 < refused < 60
    assert f"not answered {refused} times: a dead letter: it could not be answered: ValueError" in caplog.text
    assert "versions: 4 (" in caplog.text
    assert Counter(event["kind"] for event in shop.events)["shown"] == int(said["answered"])
    assert not shop.users, "they were not asked for by HTTP"


def test_silence_in_kafka_ends_after_the_patience(
    run_step: Run, kafka_settings: KafkaSettings, users: str, caplog: pytest.LogCaptureFixture
) -> None:
    environment = {"KAFKA_BROKERS": kafka_settings.brokers, "KAFKA_TOPIC_PREFIX": kafka_settings.prefix}
    flags = ("--kafka", "--users", users, "--rate", "0", "--count", "3", "--patience", "1")
    assert run_step("client", *flags, **environment)[0] == 75
    assert "silence" in caplog.text


@pytest.mark.parametrize(
    "flags",
    [
        ("--rate", "fast"),
        ("--rate", "-1"),
        ("--count", "0"),
        ("--count", "1", "--seconds", "1"),
        ("--rate", "0", "--seconds", "1"),
        ("--k", "0"),
        ("--at-once", "0"),
        ("--taste", "good"),
        ("--on-their-own", "2"),
        ("--kafka",),
        ("--url", "localhost:8080"),
        ("--users", "/nowhere"),
        ("--users", "x", "--snapshot", "s-0000000000000000"),
        ("--snapshot", "latest"),
        (),
    ],
)
def test_wrong_flags_are_found_before_anything_is_asked(run_step: Run, flags: tuple[str, ...]) -> None:
    assert run_step("client", *flags)[0] == 2


def test_a_file_that_names_nobody_is_said(run_step: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "empty"
    path.write_text("\n \n")
    assert run_step("client", "--users", str(path))[0] == 2
    assert "names nobody" in caplog.text
    path.write_bytes(b"\xff")
    assert run_step("client", "--users", str(path))[0] == 2
    assert "not UTF-8" in caplog.text


def test_the_schema_of_the_messages_can_be_printed(run_step: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_step("client", "--schema")[0] == 0
    printed = json.loads(capsys.readouterr().out)
    assert {"Request", "Answer", "DeadLetter", "Announcement"} <= printed["$defs"].keys()
