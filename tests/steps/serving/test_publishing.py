"""Promote, abort and roll back at the server: what the program does, by whoever has a token for it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests

from steps.artifacts import canary, candidate, release, slots
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store
from steps.runtime.errors import TryAgainError
from steps.runtime.kafka_settings import KafkaSettings
from steps.runtime.secret import Secret
from steps.serving import history
from steps.serving.access import Tokens
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.publishing import Done, Publisher
from steps.serving.server import in_background

Run = Callable[..., tuple[int, dict[str, str]]]
Judge = Callable[..., Verdict]

MINE, SHOP = "mine-0123456789abcdef", "shop-0123456789abcdef"
TOKENS = Tokens.parse(Secret(MINE), Secret(f"read+feedback={SHOP}"))


@pytest.fixture
def publisher(folder_store: Store) -> Publisher:
    return Publisher(folder_store.models, {}, saved_model=False, kafka=KafkaSettings(), seconds=60)


@pytest.fixture
def live(folder_store: Store) -> Iterator[Live]:
    # It looks into the store once an hour: what it answers with sooner it was told of.
    with Live(folder_store.models, 3600) as found:
        yield found


@pytest.fixture
def url(live: Live, publisher: Publisher) -> Iterator[str]:
    with in_background(application(Api(live, publisher=publisher), tokens=TOKENS)) as address:
        yield address


@pytest.fixture
def released(run_step: Run, folder_store: Store, make_verdict: Judge) -> Store:
    """Version 1 is live, from run-1; run-2 has beaten it."""
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    make_verdict(folder_store, "run-2")
    return folder_store


@pytest.fixture
def tried(run_step: Run, released: Store) -> Store:
    """Version 2 is tried beside it."""
    assert run_step("model_publish", "--canary", "10", RUN="run-2")[0] == 0
    return released


@pytest.fixture
def replaced(run_step: Run, released: Store) -> Store:
    """Version 2 is live instead."""
    assert run_step("model_publish", RUN="run-2")[0] == 0
    return released


def post(url: str, body: Any, token: str = MINE) -> requests.Response:
    return requests.post(url, json=body, headers={"Authorization": f"Bearer {token}"} if token else {}, timeout=120)


def answers(live: Live, version: int) -> bool:
    """Whether the server answers with a version, within a minute."""
    for _ in range(1200):
        if live.model and live.model.version == version and live.canary is None:
            return True
        threading.Event().wait(0.05)
    return False


def test_a_promoted_canary_answers_at_once(tried: Store, url: str, live: Live) -> None:
    found = post(f"{url}/promote", {"version": 2, "reason": "more clicks"})
    assert found.status_code == 200
    told = found.json()
    assert (told["version"], told["what"], told["run"], told["model"]) == (2, "live", "run-2", "als")
    assert told["reason"] == "promoted, after a canary of 10 % beside version 1: more clicks"
    made = release.require(tried.models, "live")
    assert (made.version, made.previous, made.reason) == (2, 1, told["reason"])
    assert answers(live, 2)
    shown = requests.get(f"{url}/releases", headers={"Authorization": f"Bearer {SHOP}"}, timeout=60).json()
    assert shown["versions"][0] == told


def test_an_aborted_canary_is_asked_no_more(tried: Store, url: str, live: Live) -> None:
    told = post(f"{url}/abort", {"reason": "fewer clicks"}).json()
    assert (told["version"], told["what"], told["reason"], told["percent"]) == (2, "aborted", "fewer clicks", 10)
    assert canary.running(tried.models) is None
    assert release.require(tried.models, "live").version == 1
    assert answers(live, 1)


def test_a_reason_may_be_left_out(tried: Store, url: str) -> None:
    assert post(f"{url}/abort", {}).json()["reason"] == "no reason was given"


def test_what_was_there_before_goes_live_again_under_a_new_version(replaced: Store, url: str, live: Live) -> None:
    told = post(f"{url}/rollback", {"live": 2, "reason": "complaints"}).json()
    assert (told["version"], told["what"], told["reason"]) == (3, "live", "rollback to 1: complaints")
    made = release.require(replaced.models, "live")
    assert (made.version, made.candidate, made.slot, made.previous) == (3, "candidates/run-1/als", "blue", 2)
    assert set(slots.whole_versions(replaced.models, "blue")) == {3}
    assert set(slots.whole_versions(replaced.models, "green")) == {2}
    assert replaced.models.list("claims/") == []
    assert answers(live, 3)
    again = post(f"{url}/rollback", {"live": 2, "reason": "complaints"})
    assert again.status_code == 409
    assert again.json()["detail"] == "version 2 is not live any more, version 3 is: look at that one first"
    assert post(f"{url}/rollback", {"reason": "complaints"}).status_code == 422
    assert release.versions(replaced.models) == [1, 2, 3]
    assert post(f"{url}/rollback", {"version": 2, "live": 3}).json()["reason"] == "rollback to 2"


REFUSED = [
    ("promote", {}, ("--promote",)),
    ("abort", {}, ("--abort",)),
    ("rollback", {"live": 1}, ("--rollback",)),
    ("rollback", {"version": 1}, ("--rollback", "1")),
    ("rollback", {"version": 9}, ("--rollback", "9")),
]


@pytest.mark.parametrize(("path", "body", "flags"), REFUSED)
def test_what_cannot_be_done_is_refused_as_the_program_refuses_it(
    run_step: Run, released: Store, url: str, caplog: pytest.LogCaptureFixture, path: str, body: Any, flags: Any
) -> None:
    found = post(f"{url}/{path}", body)
    assert run_step("model_publish", *flags)[0] == 2
    assert (found.status_code, f"model_publish: {found.json()['detail']}") == (409, caplog.messages[-1])
    assert release.versions(released.models) == [1]


def test_who_hears_of_no_answer_is_still_told_what_was_done(
    replaced: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise TryAgainError("the store does not answer")

    monkeypatch.setattr(history, "version", away)
    told = post(f"{url}/rollback", {"live": 2}).json()
    assert (told["version"], told["what"], told["reason"]) == (3, "live", "rollback to 1")


def test_a_canary_that_is_another_one_by_now_is_not_promoted(run_step: Run, tried: Store, url: str) -> None:
    assert "version '1' is no canary" in post(f"{url}/promote", {"version": 1}).json()["detail"]
    run_step("model_publish", "--abort", "fewer clicks")
    found = post(f"{url}/promote", {"version": 2})
    assert (found.status_code, found.json()["detail"]) == (
        409, "version 2 is no canary any more: aborted, fewer clicks; version 1 stays live"
    )  # fmt: skip


def test_one_that_went_live_is_not_aborted(tried: Store, url: str) -> None:
    assert post(f"{url}/promote", {}).status_code == 200
    found = post(f"{url}/abort", {})
    assert found.status_code == 409
    assert found.json()["detail"] == "version 2 is no canary any more, it went live: --rollback takes it back"


def test_while_another_publishes_nothing_is_done(replaced: Store, url: str) -> None:
    claim = slots.claim(replaced.models, 3, "another", 300)
    found = post(f"{url}/rollback", {"live": 2})
    assert found.status_code == 503
    assert found.json()["detail"] == "run 'another' is publishing version 3 right now; nothing was changed"
    slots.check_claim(replaced.models, claim)
    assert release.versions(replaced.models) == [1, 2]


def test_a_model_that_does_not_answer_as_recorded_does_not_go_live(
    run_step: Run, folder_store: Store, make_verdict: Judge, make_release: Callable[..., Any], url: str
) -> None:
    # As if its files or its libraries had changed since: the first release is one that no slot answers well with.
    judged = make_verdict(folder_store, "run-1", wrong=True)
    make_release(folder_store, candidate.read(folder_store.models, judged.winner), 1)
    make_verdict(folder_store, "run-2")
    assert run_step("model_publish", RUN="run-2")[0] == 0
    found = post(f"{url}/rollback", {"live": 2})
    assert found.status_code == 409
    assert "answers wrongly" in found.json()["detail"]
    assert release.versions(folder_store.models) == [1, 2]
    assert slots.whole_versions(folder_store.models, "blue") == {}


@pytest.mark.parametrize("path", ["promote", "abort", "rollback"])
@pytest.mark.parametrize(("token", "status"), [("", 401), ("nobody-0123456789abcdef", 401), (SHOP, 403)])
def test_nobody_else_may_change_what_is_live(tried: Store, url: str, path: str, token: str, status: int) -> None:
    before = [entry.key for entry in tried.models.list()]
    assert post(f"{url}/{path}", {}, token).status_code == status
    assert requests.get(f"{url}/{path}", headers={"Authorization": f"Bearer {MINE}"}, timeout=60).status_code == 405
    assert [entry.key for entry in tried.models.list()] == before


def test_a_server_without_tokens_changes_nothing_for_anybody(tried: Store, live: Live, publisher: Publisher) -> None:
    with in_background(application(Api(live, publisher=publisher))) as open_to_all:
        found = post(f"{open_to_all}/promote", {}, token="")
    assert (found.status_code, "API_TOKENS" in found.json()["detail"]) == (403, True)
    assert canary.running(tried.models) is not None


@pytest.mark.parametrize("body", [{"version": 0}, {"version": "2"}, {"reason": "r" * 501}, {"slot": "blue"}, []])
def test_a_wrong_body_is_422(tried: Store, url: str, body: Any) -> None:
    assert post(f"{url}/promote", body).status_code == 422
    assert canary.running(tried.models) is not None


def test_of_two_at_the_same_time_the_second_is_told_to_look_first(
    released: Store, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    real = Publisher.abort

    def slow(self: Publisher, version: str, reason: str) -> Done:
        begun.set()
        assert go_on.wait(60)
        return real(self, version, reason)

    monkeypatch.setattr(Publisher, "abort", slow)
    first = threading.Thread(target=post, args=(f"{url}/abort", {}))
    first.start()
    assert begun.wait(60)
    second = post(f"{url}/promote", {})
    go_on.set()
    first.join()
    assert (second.status_code, second.json()["detail"][:23]) == (409, "this server is changing")


def test_a_slot_that_does_not_answer_keeps_a_canary_from_being_promoted(
    tried: Store, live: Live, publisher: Publisher
) -> None:
    nobody = {"blue": "http://127.0.0.1:9", "green": "http://127.0.0.1:9"}
    asked = replace(publisher, addresses=nobody, seconds=1)
    with in_background(application(Api(live, publisher=asked), tokens=TOKENS)) as address:
        found = post(f"{address}/promote", {})
    assert found.status_code == 409
    assert found.json()["detail"].endswith("within 1 seconds; the live release is untouched")
    assert canary.running(tried.models) is not None


def test_a_server_that_may_not_publish_names_the_program_that_does(tried: Store, live: Live) -> None:
    with in_background(application(Api(live), tokens=TOKENS)) as address:
        found = post(f"{address}/promote", {})
    assert (found.status_code, "python -m steps.model_publish" in found.json()["detail"]) == (501, True)
