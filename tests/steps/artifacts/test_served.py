from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from steps.artifacts import served
from steps.artifacts.served import Answers, Minute, Shadow
from steps.clients.object_store import Store
from steps.runtime.errors import BadDataError

NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
MINUTE = Minute(
    "2026-03-29T11:59:00Z",
    "2026-03-29T12:00:00Z",
    "serve-1",
    {7: Answers(100, 2, 1, 30, (1.5, 9.25), Shadow(10, 0.75)), 6: Answers(5)},
)


def test_what_a_server_counted_is_read_as_it_was_written(store: Store) -> None:
    place = served.write(store.data, MINUTE, NOON)
    assert place.startswith("serving/2026-03-29/12/0000000-")
    assert list(served.read(store.data, NOON, NOON + timedelta(hours=1))) == [MINUTE]
    assert list(served.read(store.data, NOON - timedelta(hours=1), NOON)) == []


def test_it_is_written_as_people_and_other_programs_read_it() -> None:
    value = json.loads(served.encode(MINUTE))
    assert (value["from"], value["to"], value["host"]) == (MINUTE.since, MINUTE.until, "serve-1")
    assert value["versions"]["7"] == {
        "requests": 100, "errors": 2, "degraded": 1, "unknown_users": 30, "ms": [1.5, 9.25],
        "shadow": {"asked": 10, "overlap": 0.75},
    }  # fmt: skip
    assert "shadow" not in value["versions"]["6"]


def test_only_the_number_of_requests_must_be_there() -> None:
    content = b'{"from": "a", "to": "b", "host": "h", "versions": {"3": {"requests": 4}}, "more": 1}'
    assert served.decode(content).versions == {3: Answers(4)}


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"from": "a"}', b'{"from":"a","to":"b","host":"h","versions":[]}'])
def test_what_is_no_count_is_said_and_left_out(
    content: bytes, folder_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(BadDataError, match="not what a server counts"):
        served.decode(content)
    folder_store.data.put(served.write(folder_store.data, MINUTE, NOON), content)
    served.write(folder_store.data, MINUTE, NOON)
    assert list(served.read(folder_store.data, NOON, NOON + timedelta(hours=1))) == [MINUTE]
    assert "is left out: not what a server counts" in caplog.text
