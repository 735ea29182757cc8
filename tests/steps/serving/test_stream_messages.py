"""The messages of the streams: what is taken, what is refused and why, and that they are described as they are."""

from __future__ import annotations

import json

import jsonschema
import pytest

from steps.serving import stream_messages
from steps.serving.messages import Recommendation, Scored
from steps.serving.stream_messages import (
    MOST_BYTES,
    Announcement,
    Answer,
    BadMessageError,
    read_announcement,
    read_request,
    schema,
)

GOOD = {"v": 1, "id": "r-1", "recommend": {"user": "u1", "k": 5}}


def test_a_request_is_read() -> None:
    found = read_request(json.dumps(GOOD).encode())
    assert (found.id, found.recommend.user, found.recommend.k) == ("r-1", "u1", 5)


WRONG = [
    ({"v": 2}, r"\$\.v"),
    ({"v": "1"}, r"\$\.v"),
    ({"v": None}, r"\$\.v"),
    ({"id": ""}, r"\$\.id"),
    ({"id": "x" * 129}, r"\$\.id"),
    ({"id": 7}, r"\$\.id"),
    ({"url": "http://elsewhere"}, "url"),
    ({"recommend": None}, r"\$\.recommend"),
    ({"recommend": []}, r"\$\.recommend"),
    ({"recommend": {"user": ""}}, r"recommend\.user"),
    ({"recommend": {"user": "u1", "k": 0}}, r"recommend\.k"),
    ({"recommend": {"user": "u1", "k": 1001}}, r"recommend\.k"),
    ({"recommend": {"user": "u1", "k": 1.5}}, r"recommend\.k"),
    ({"recommend": {"user": "u1", "nonsense": 1}}, "nonsense"),
]
WRONG_TOGETHER = [
    ({"recommend": {}}, "user"),
    ({"recommend": {"user": "u1", "items": ["i1"]}}, "user"),
    ({"recommend": {"users": ["u1", "u2"]}}, "send a request for each"),
]
"""What no schema says."""


@pytest.mark.parametrize(("change", "named"), WRONG + WRONG_TOGETHER)
def test_a_wrong_field_is_named(change: dict[str, object], named: str) -> None:
    with pytest.raises(BadMessageError, match=named):
        read_request(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("missing", ["v", "id", "recommend"])
def test_a_missing_field_is_named(missing: str) -> None:
    rest = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(BadMessageError, match=missing):
        read_request(json.dumps(rest).encode())


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"v":1,"id":"\xff","recommend":{"user":"u1"}}',
        b'{"v":1,"id":"\\ud800","recommend":{"user":"u1"}}',
        b'{"v":NaN,"id":"a","recommend":{"user":"u1"}}',
        b"[" * 60_000,
        b'{"v":1,"id":"a","recommend":{"user":' + b"[" * 60_000,
        json.dumps(GOOD).encode()[:-1],
        json.dumps(GOOD).encode() + b"}",
        b'{"v":1,"id":"' + b"x" * MOST_BYTES + b'"}',
    ],
)
def test_what_is_no_request_is_refused_in_a_sentence(value: bytes | None) -> None:
    with pytest.raises(BadMessageError) as raised:
        read_request(value)
    assert 0 < len(str(raised.value)) < 300


def test_a_model_message_names_a_version_and_nothing_else() -> None:
    assert read_announcement(b'{"v":1,"about":"release","version":7}') == Announcement(1, "release", 7)
    for wrong in (
        b'{"v":1,"about":"release","version":0}',
        b'{"v":1,"about":"release","version":"7"}',
        b'{"v":1,"about":"anything","version":7}',
        b'{"v":1,"about":"release","version":7,"url":"http://elsewhere/model"}',
    ):
        with pytest.raises(BadMessageError):
            read_announcement(wrong)


def test_the_schema_takes_what_is_taken_and_refuses_what_is_refused() -> None:
    whole = schema()
    jsonschema.Draft202012Validator.check_schema(whole)
    request = jsonschema.Draft202012Validator({**whole, "anyOf": [{"$ref": "#/$defs/Request"}]})
    request.validate(GOOD)
    for change, _ in WRONG:
        assert not request.is_valid({**GOOD, **change}), change
    answer = Answer(1, "r-1", Recommendation(version=3, model="als", known=True, items=[Scored("i1", 0.5)], user="u1"))
    encoded = json.loads(stream_messages.encode(answer))
    jsonschema.Draft202012Validator({**whole, "anyOf": [{"$ref": "#/$defs/Answer"}]}).validate(encoded)
