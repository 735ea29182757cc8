"""A download goes on where it broke off, is whole when it ends, and tells what to try again from what not."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from steps.runtime.errors import BadDataError, TryAgainError, UsageError
from steps.runtime.secret import Secret
from steps.sources.download import Login, download, get_json, shown

DATA = bytes(range(256)) * 20_000


def fetched(web: Any, tmp_path: Path, name: str = "/x", **more: Any) -> bytes:
    download(web.address + name, tmp_path / "x", **more)
    return (tmp_path / "x").read_bytes()


def ranges(web: Any) -> list[str]:
    return [headers.get("Range", "") for _, headers in web.asked]


def test_a_file_arrives_as_it_is(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    assert fetched(web, tmp_path) == DATA


def test_a_broken_download_goes_on_from_where_it_broke(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [1_500_000, 0, 2_000_000]
    assert fetched(web, tmp_path) == DATA
    starts = [int(one.removeprefix("bytes=").removesuffix("-")) if one else 0 for one in ranges(web)]
    assert starts[0] == 0
    assert 0 < starts[1] <= 1_500_000
    assert starts[2] == starts[1]
    assert starts[1] < starts[3] < len(DATA)
    assert len(starts) == 4


def test_a_line_that_often_breaks_still_arrives(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [600_000] * 8
    assert fetched(web, tmp_path) == DATA


def test_a_server_that_brings_nothing_more_is_given_up(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [1_500_000] + [0] * 10
    with pytest.raises(TryAgainError, match="broke off after"):
        fetched(web, tmp_path)
    assert len(web.asked) == 5


def test_a_file_that_changed_in_between_is_fetched_anew(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [1_500_000]
    web.tags = ['"v1"', '"v2"']
    assert fetched(web, tmp_path) == DATA
    assert web.asked[1][1]["If-Range"] == '"v1"'


def test_a_server_without_ranges_sends_all_again(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.ranges = False
    web.break_after = [1_500_000]
    assert fetched(web, tmp_path) == DATA


def test_a_file_of_unknown_length_is_taken_as_it_comes(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.lengths = False
    assert fetched(web, tmp_path) == DATA


def test_an_empty_file_is_a_file(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = b""
    assert fetched(web, tmp_path) == b""


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again(web: Any, tmp_path: Path, status: int) -> None:
    web.files["/x"] = DATA
    web.statuses = [status, status]
    assert fetched(web, tmp_path) == DATA
    web.statuses = [status] * 5
    with pytest.raises(TryAgainError, match=f"answers {status}"):
        fetched(web, tmp_path)


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "refuses access"), (403, "refuses access"), (404, "nothing to read")]
)
def test_a_refusal_is_not_asked_again(web: Any, tmp_path: Path, status: int, sentence: str) -> None:
    web.statuses = [status]
    with pytest.raises(UsageError, match=sentence):
        fetched(web, tmp_path)
    assert len(web.asked) == 1


def test_a_server_that_sends_only_small_parts_is_asked_for_each(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [1_500_000]
    web.most = 1_000_000
    assert fetched(web, tmp_path) == DATA
    assert len(web.asked) == 5


def test_another_part_than_was_asked_for_starts_the_file_again(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [1_500_000]
    web.shift = [1000]
    assert fetched(web, tmp_path) == DATA
    assert ranges(web)[2] == ""


def test_a_part_that_is_not_there_any_more_starts_the_file_again(web: Any, tmp_path: Path) -> None:
    web.files["/x"] = DATA
    web.break_after = [1_500_000]
    web.shift = [len(DATA)]
    assert fetched(web, tmp_path) == DATA
    assert ranges(web)[2] == ""


def test_a_login_is_sent_but_not_to_where_the_server_points(web: Any, tmp_path: Path) -> None:
    web.files["/signed/x"] = DATA
    web.login = ("me", "key")
    web.redirects["/x"] = web.address.replace("127.0.0.1", "localhost") + "/signed/x?signature=abc"
    assert fetched(web, tmp_path, login=Login("me", Secret("key"))) == DATA
    assert "Authorization" in web.asked[0][1]
    assert "Authorization" not in web.asked[1][1]


def test_nobody_at_an_address_is_worth_another_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, web: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(TryAgainError, match="does not answer: ConnectionError"):
        download(f"http://127.0.0.1:{port}/x?token=secret", tmp_path / "x")


def test_an_address_that_leads_in_circles_or_nowhere_is_wrong(web: Any, tmp_path: Path) -> None:
    web.redirects["/x"] = "/x"
    with pytest.raises(UsageError, match="TooManyRedirects"):
        fetched(web, tmp_path)
    with pytest.raises(UsageError, match="InvalidURL"):
        download("http://.example/x", tmp_path / "x")


def test_an_address_is_shown_without_its_secrets() -> None:
    assert shown("https://me:word@host:1/a/b.csv?X-Amz-Signature=abc#x") == "https://host:1/a/b.csv?…"
    assert shown("https://host/a") == "https://host/a"


def test_json_is_read_and_what_is_not_json_is_bad_data(web: Any) -> None:
    web.files["/j"] = b'{"a": [1]}'
    web.files["/h"] = b"<html>"
    assert get_json(f"{web.address}/j", {"page": "2"}, None) == {"a": [1]}
    assert web.asked[0][0] == "/j?page=2"
    with pytest.raises(BadDataError, match="not JSON"):
        get_json(f"{web.address}/h", {}, None)
    web.statuses = [500, 404]
    with pytest.raises(TryAgainError, match="answers 500"):
        get_json(f"{web.address}/j", {}, None)
    with pytest.raises(UsageError, match="answers 404"):
        get_json(f"{web.address}/j", {}, None)
    with pytest.raises(TryAgainError, match="does not answer"):
        get_json("http://127.0.0.1:9/j", {}, None)
