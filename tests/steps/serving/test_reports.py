"""The pages that steps leave for people, as the server shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Bucket, Store
from steps.runtime.errors import TryAgainError
from steps.serving import reports
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.server import in_background

Run = Callable[..., tuple[int, dict[str, str]]]


@pytest.fixture
def url(folder_store: Store) -> Iterator[str]:
    # These pages do not depend on what is live: nothing is followed.
    live = SimpleNamespace(models=folder_store.models, serving=None, release=None, canary=None, problem="", looked=0.0)
    with in_background(application(Api(cast(Live, live)))) as address:
        yield address


def get(url: str) -> requests.Response:
    return requests.get(url, timeout=60)


def look(store: Store, name: str, **record: Any) -> None:
    store.models.put(f"monitoring/{name}.json", json.dumps(record).encode())
    store.models.put(f"monitoring/{name}.html", f"<p>the look {name}</p>".encode())


def is_a_page_without_scripts(answer: requests.Response) -> bool:
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy


def test_before_anything_was_looked_at_there_is_an_empty_list(url: str) -> None:
    assert get(f"{url}/monitoring").json() == {"looks": []}


def test_a_look_of_monitor_is_listed_as_recorded_and_leads_to_its_page(
    run_step: Run, folder_store: Store, url: str
) -> None:
    assert run_step("monitor", RUN="hourly")[0] == 0
    [found] = get(f"{url}/monitoring").json()["looks"]
    assert (found["run"], found["asked"], found["live"], found["retrain"]) == ("hourly", "look", 0, False)
    assert found["page"] == f"monitoring/{found['name']}"
    answer = get(f"{url}/{found['page']}")
    assert is_a_page_without_scripts(answer)
    assert "Nothing is live yet." in answer.text


def test_looks_come_newest_first_and_not_all_of_them(folder_store: Store, url: str) -> None:
    for hour in range(reports.MOST + 5):
        look(folder_store, f"20260101T{hour:06d}Z", live=hour)
    found = get(f"{url}/monitoring").json()["looks"]
    assert [one["live"] for one in found] == list(range(reports.MOST + 4, 4, -1))
    look(folder_store, "20260102T000000Z", live=1000)
    assert get(f"{url}/monitoring").json()["looks"][0]["live"] == 1000


def test_a_damaged_look_keeps_nobody_from_the_others(folder_store: Store, url: str) -> None:
    look(folder_store, "20260101T000001Z", live=1)
    folder_store.models.put("monitoring/20260101T000002Z.json", b"{")
    folder_store.models.put("monitoring/20260101T000003Z.json", b"[]")
    assert [one["live"] for one in get(f"{url}/monitoring").json()["looks"]] == [1]


def test_the_report_of_a_run_is_shown_whichever_model_it_lies_beside(folder_store: Store, url: str) -> None:
    folder_store.models.put("candidates/run-1/als/factors/item_factors.npy", b"no page")
    folder_store.models.put("candidates/run-1/ease/report.html", "<p>how they did: ü</p>".encode())
    answer = get(f"{url}/reports/run-1")
    assert is_a_page_without_scripts(answer)
    assert answer.text == "<p>how they did: ü</p>"


@pytest.mark.parametrize(
    "path",
    [
        "reports/run-2", "reports/run", "reports/run-1/als", "reports/", "reports/run-1%2F..", "reports/..%2Frun-1",
        "reports/..%2F..%2Fsecret", "reports/RUN-1", "reports/run-1%00", "reports/" + "r" * 500,
        "monitoring/20260101T000009Z", "monitoring/20260101T000001Z.html", "monitoring/20260101T000001", "monitoring/",
        "monitoring/..%2Fsecret", "monitoring/..%2F..%2F..%2Fsecret", "monitoring/%2E%2E%2Fsecret",
    ],
)  # fmt: skip
def test_only_what_the_store_lists_is_shown(folder_store: Store, url: str, path: str) -> None:
    folder_store.models.put("candidates/run-1/als/report.html", b"how they did")
    look(folder_store, "20260101T000001Z")
    # Where a path that leads out of its folder would end: these are not to be seen.
    for key in ("secret.html", "secret", "candidates/secret", "candidates/report.html", "report.html"):
        folder_store.models.put(key, b"nobody's business")
    answer = get(f"{url}/{path}")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("there is no ")
    assert len(answer.json()["detail"]) < 200


def test_a_look_without_a_page_is_said_to_have_none(folder_store: Store, url: str) -> None:
    look(folder_store, "20260101T000001Z")
    folder_store.models.delete(["monitoring/20260101T000001Z.html"])
    assert get(f"{url}/monitoring/20260101T000001Z").status_code == 404


@pytest.mark.parametrize("path", ["monitoring", "monitoring/20260101T000001Z", "reports/run-1", "releases"])
def test_while_the_store_is_away_it_is_asked_later(
    folder_store: Store, url: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Bucket, prefix: str = "") -> None:
        raise TryAgainError("the store at 10.1.2.3 does not answer")

    monkeypatch.setattr(type(folder_store.models), "list", away)
    answer = get(f"{url}/{path}")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "10.1.2.3" not in answer.text


def test_a_release_names_the_report_of_the_run_that_made_its_model(
    folder_store: Store, url: str, make_candidate: Callable[..., Candidate], make_release: Callable[..., Any]
) -> None:
    first, second = make_candidate(folder_store, "run-1"), make_candidate(folder_store, "run-2")
    make_release(folder_store, first, 1)
    make_release(folder_store, second, 2)
    folder_store.models.put(f"{first.path}/report.html", b"how run-1 did")
    newest, oldest = get(f"{url}/releases").json()["versions"]
    assert "report" not in newest
    assert oldest["report"] == "reports/run-1"
    assert get(f"{url}/{oldest['report']}").text == "how run-1 did"


def test_no_server_waits_at_its_start_for_what_monitor_calculates_by() -> None:
    code = "import sys, steps.serving.api; print('steps.models.online' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
