from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from steps import monitor
from steps.artifacts import canary, feedback, monitoring, release, served
from steps.artifacts.canary import Canary
from steps.artifacts.feedback import BOUGHT, CLICKED, SHOWN, Event
from steps.artifacts.release import Release
from steps.artifacts.served import Answers, Minute
from steps.clients.object_store import Store

Run = Callable[..., tuple[int, dict[str, str]]]
HOUR = timedelta(hours=1)


def ago(**length: float) -> datetime:
    return datetime.now(UTC) - timedelta(**length)


def visits(version: int, users: int, taken: float, when: datetime) -> Iterable[Event]:
    """Every user is shown three items, and a share of them buys the first, having clicked it."""
    time = feedback.stamp(when)
    for number in range(users):
        visit = f"{version}-{time}-{number}"
        yield Event(f"{visit}-s", SHOWN, f"u{number}", ("a", "b", "c"), version, None, time)
        if number < taken * users:
            yield Event(f"{visit}-c", CLICKED, f"u{number}", ("a",), version, None, time)
            yield Event(f"{visit}-b", BOUGHT, f"u{number}", ("a",), 0, None, time)


def told(store: Store, version: int, users: int, taken: float, when: datetime) -> None:
    feedback.write(store.data, list(visits(version, users, taken, when)), when)


def answered(store: Store, version: int, requests: int, errors: int, when: datetime) -> None:
    served.write(store.data, Minute("", "", "host", {version: Answers(requests, errors)}), when)


def go_live(store: Store, version: int, when: datetime) -> None:
    made = Release(
        version=version, slot="blue", candidate="candidates/r/als", model="als", snapshot="s-0123456789abcdef",
        run="r", previous=version - 1, reason="promoted", metrics={}, created=f"{when:%Y-%m-%dT%H:%M:%SZ}",
    )  # fmt: skip
    release.create(store.models, made)


def on_trial(store: Store, version: int, when: datetime, mode: str = canary.CANARY) -> None:
    live = release.live(store.models)
    assert live is not None
    tried = Canary(
        version=version, slot="green", candidate="candidates/r2/als", model="als", snapshot="s-0123456789abcdef",
        run="r2", base=live.version, percent=10, mode=mode, metrics={}, created=f"{when:%Y-%m-%dT%H:%M:%SZ}",
    )  # fmt: skip
    canary.start(store.models, tried)


def page(store: Store, out: dict[str, str]) -> str:
    """The page of a look, found to need nothing from elsewhere."""
    key = out["report"][out["report"].index("monitoring/") :]
    text = store.models.get(key).decode()
    assert not re.search(r"<script|<link|<img|@import|url\(|src=|https?:", text)
    assert "{{" not in text
    return text


def records(store: Store) -> list[dict[str, Any]]:
    keys = [entry.key for entry in store.models.list("monitoring/") if entry.key.endswith(".json")]
    return [json.loads(store.models.get(key)) for key in keys]


def test_before_the_first_release_there_is_nothing_to_do_but_to_make_one(run_step: Run, folder_store: Store) -> None:
    code, out = run_step("monitor")
    assert code == 0
    assert (out["retrain"], out["canary"]) == ("false", "none")
    assert out["reason"] == "nothing has been released yet: run the retrain workflow first"
    assert "python workflows/submit.py retrain" in page(folder_store, out)


def test_without_feedback_the_page_says_how_to_send_it(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 3, ago(hours=30))
    code, out = run_step("monitor")
    assert (code, out["retrain"]) == (0, "false")
    assert out["reason"] == "there is no feedback on version 3 in this time"
    text = page(folder_store, out)
    assert "There is no feedback yet." in text
    assert "/send-feedback" in text
    assert "&#34;version&#34;: 3" in text or '"version": 3' in text
    assert "live release</dt><dd>30 hours old" in text


def test_a_release_that_falls_below_its_baseline_asks_for_a_new_one_once(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    code, out = run_step("monitor", "--hours", "36")
    assert (code, out["retrain"]) == (0, "false")
    assert out["reason"].endswith("which is its baseline from now on")

    told(folder_store, 1, 400, 0.2, ago(hours=1))
    code, out = run_step("monitor", "--hours", "2")
    assert (code, out["retrain"]) == (0, "true")
    assert "50 % less than its own baseline of 0.4000, and 10 % are tolerated" in out["reason"]
    text = page(folder_store, out)
    assert "A new model is asked for." in text
    assert "Accuracy 50 %" in text
    assert 'aria-label="ndcg over time"' in text

    code, out = run_step("monitor", "--hours", "2")
    assert (code, out["retrain"]) == (0, "false")
    assert out["reason"].endswith("a new model was asked for 0.0 hours ago, and the cool-down is 12 hours")
    assert run_step("monitor", "--hours", "2", "--cool-down", "0")[1]["retrain"] == "true"
    assert [one["retrain"] for one in records(folder_store)] == [False, True, False, True]


def test_a_release_as_good_as_it_was_stays(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    for hours in (30, 1):
        told(folder_store, 1, 400, 0.4, ago(hours=hours))
        code, out = run_step("monitor", "--hours", str(hours + 1))
        assert (code, out["retrain"]) == (0, "false")
    assert out["reason"].endswith("its baseline is 0.4000")


def test_a_new_release_that_is_worse_than_the_one_before_asks_for_another(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    run_step("monitor", "--hours", "36")
    go_live(folder_store, 2, ago(hours=2))
    told(folder_store, 2, 400, 0.2, ago(hours=1))
    code, out = run_step("monitor", "--hours", "2")
    assert (code, out["retrain"]) == (0, "true")
    assert "version 2 has ndcg 0.2000" in out["reason"]
    assert "50 % of the 0.4000 that version 1 began with, and 90 % is the least" in out["reason"]
    assert run_step("monitor", "--hours", "2", "--cool-down", "0", "--min-accuracy", "0.5")[1]["retrain"] == "false"


def test_what_was_shown_just_now_is_no_baseline_and_nor_is_nothing(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.0, ago(minutes=20))
    _, out = run_step("monitor")
    assert out["reason"].startswith("only 0 lists of version 1 were shown")
    assert out["reason"].endswith("what follows 400 more is awaited")
    told(folder_store, 1, 400, 0.0, ago(hours=30))
    _, out = run_step("monitor", "--hours", "36")
    assert out["reason"].endswith("and nothing is no baseline")
    assert [one["baselines"] for one in records(folder_store)] == [{}, {}]
    told(folder_store, 1, 400, 0.4, ago(hours=3))
    run_step("monitor", "--hours", "6")
    assert records(folder_store)[-1]["baselines"]["1"]["metrics"]["ndcg"]["value"] == 0.4


def test_a_step_that_is_started_again_answers_as_before(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    run_step("monitor", "--hours", "36", RUN="first")
    told(folder_store, 1, 400, 0.2, ago(hours=1))
    first = run_step("monitor", "--hours", "2", RUN="second")
    assert first[1]["retrain"] == "true"
    assert run_step("monitor", "--hours", "2", RUN="second") == first
    assert run_step("monitor", "--hours", "2", RUN="third")[1]["retrain"] == "false"
    assert len(records(folder_store)) == 3


def test_while_a_canary_runs_no_new_model_is_asked_for(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    run_step("monitor", "--hours", "36")
    told(folder_store, 1, 400, 0.2, ago(hours=1))
    on_trial(folder_store, 2, ago(hours=1))
    code, out = run_step("monitor", "--hours", "2")
    assert (code, out["retrain"]) == (0, "false")
    assert out["reason"].endswith("but version 2 is on trial, and what becomes of it is awaited")


def test_a_canary_is_judged_by_what_was_seen_since_it_began(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 4000, 0.0, ago(hours=3))
    on_trial(folder_store, 2, ago(hours=2))
    told(folder_store, 1, 400, 0.4, ago(hours=1))
    told(folder_store, 2, 110, 0.1, ago(hours=1))
    code, out = run_step("monitor", "--canary")
    assert (code, out["retrain"], out["canary"]) == (0, "false", "abort")
    assert "version 2 has ndcg 0.1000" in out["reason"]
    assert "the live one 0.4000" in out["reason"]
    text = page(folder_store, out)
    assert "Version 2: abort." in text
    assert "version 2 (canary)" in text


def test_a_canary_that_is_as_good_is_promoted(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    on_trial(folder_store, 2, ago(hours=2))
    told(folder_store, 1, 400, 0.4, ago(hours=1))
    told(folder_store, 2, 150, 0.4, ago(hours=1))
    assert run_step("monitor", "--canary")[1]["canary"] == "promote"


def test_a_canary_that_fails_is_aborted_without_any_feedback(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    on_trial(folder_store, 2, ago(hours=2))
    answered(folder_store, 1, 900, 0, ago(hours=1))
    answered(folder_store, 2, 100, 30, ago(hours=1))
    code, out = run_step("monitor", "--canary")
    assert (code, out["canary"]) == (0, "abort")
    assert out["reason"] == "version 2 failed to answer 30 % of 100 requests, the live one 0 % of 900"


@pytest.mark.parametrize("without", ["promote", "abort"])
def test_of_a_canary_that_nobody_saw_a_flag_decides(run_step: Run, folder_store: Store, without: str) -> None:
    go_live(folder_store, 1, ago(hours=40))
    on_trial(folder_store, 2, ago(hours=2), canary.SHADOW)
    assert run_step("monitor", "--canary", "--without-evidence", without)[1]["canary"] == without


def test_a_canary_that_no_server_could_load_is_aborted(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    on_trial(folder_store, 2, ago(hours=2))
    answered(folder_store, 1, 1000, 0, ago(hours=1))
    code, out = run_step("monitor", "--canary")
    assert (code, out["canary"]) == (0, "abort")
    assert out["reason"].startswith("version 2 was never asked, while the live one had 1000 requests")


def test_without_a_canary_nothing_is_decided(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    code, out = run_step("monitor", "--canary")
    assert (code, out["canary"], out["reason"]) == (0, "none", "no canary is running")
    assert "There is no canary." in page(folder_store, out)


def test_a_look_at_a_canary_forgets_nothing_of_the_live_release(run_step: Run, folder_store: Store) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    run_step("monitor", "--hours", "36")
    run_step("monitor", "--canary")
    told(folder_store, 1, 400, 0.2, ago(hours=1))
    assert run_step("monitor", "--hours", "2")[1]["retrain"] == "true"


def test_looks_at_the_same_time_forget_nothing_of_each_other(
    run_step: Run, folder_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_live(folder_store, 1, ago(hours=40))
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    run_step("monitor", "--hours", "36")
    told(folder_store, 1, 400, 0.2, ago(hours=1))

    measured = monitor.drifted

    def meanwhile(*_: object) -> dict[str, Any]:
        monkeypatch.setattr(monitor, "drifted", measured)
        assert run_step("monitor", "--hours", "2")[1]["retrain"] == "true"
        return {}

    monkeypatch.setattr(monitor, "drifted", meanwhile)
    run_step("monitor", "--canary")
    asked, verdict = records(folder_store)[-2:]
    assert (asked["asked"], verdict["asked"]) == (monitoring.LOOK, monitoring.CANARY)
    assert verdict["retrained"] == asked["retrained"] != ""
    assert run_step("monitor", "--hours", "2")[1]["retrain"] == "false"


def test_of_the_baselines_of_several_looks_those_of_the_last_releases_are_kept() -> None:
    def blank(retrained: str, *versions: int) -> monitoring.Record:
        return monitoring.Record(
            created="", run="", asked=monitoring.LOOK, since="", until="", live=0, events=0, versions={},
            baselines={str(one): {"lists": one} for one in versions}, drift={}, freshness={}, thresholds={},
            accuracy=None, retrain=False, reason="", retrained=retrained,
        )  # fmt: skip

    mine, newest, older = blank("", 9, 7), blank("", 6, 8, 10), blank("2026-03-29T12:00:00.000Z", 1)
    found = monitoring.beside(mine, [newest, older])
    assert list(found.baselines) == ["6", "7", "8", "9", "10"]
    assert found.retrained == older.retrained
    assert monitoring.beside(mine, []).retrained == ""


def test_drift_and_ages_are_told_where_there_is_a_snapshot(run_step: Run, folder_store: Store) -> None:
    _, out = run_step("data_publish", "--source", "demo:users=200,items=50,days=60")
    made = Release(
        version=1, slot="blue", candidate="candidates/r/als", model="als", snapshot=out["snapshot"], run="r",
        previous=0, reason="promoted", metrics={}, created=f"{ago(hours=60):%Y-%m-%dT%H:%M:%SZ}",
    )  # fmt: skip
    release.create(folder_store.models, made)
    told(folder_store, 1, 400, 0.4, ago(minutes=90))
    code, out = run_step("monitor")
    assert code == 0
    [record] = records(folder_store)
    assert record["drift"]["users"]["index"] > 0.25  # nobody of these users is in the snapshot
    assert record["freshness"]["newest purchase"] == pytest.approx(1.5, abs=0.1)
    assert record["freshness"]["live release"] == pytest.approx(60, abs=0.1)
    text = page(folder_store, out)
    assert "has moved much" in text
    assert "<dt>newest purchase</dt><dd>90 minutes old" in text or "<dt>newest purchase</dt><dd>91 minutes old" in text


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--metric", "recall"], "--metric is 'recall'; allowed are ndcg, hit_rate, ctr"),
        (["--min-accuracy", "2"], "--min-accuracy is 2: 0 to 1 are allowed"),
        (["--hours", "0"], "--hours is 0"),
        (["--tolerance", "x"], "--tolerance is 'x': a number is required"),
        (["--least-lists", "0"], "--least-lists is 0"),
        (["--without-evidence", "maybe"], "--without-evidence is 'maybe'; it may be promote or abort"),
    ],
)
def test_a_wrong_flag_is_one_sentence(
    run_step: Run, folder_store: Store, caplog: pytest.LogCaptureFixture, flags: list[str], said: str
) -> None:
    assert run_step("monitor", *flags)[0] == 2
    assert said in caplog.text
    assert records(folder_store) == []


def test_what_to_type_next_is_said_unless_a_workflow_goes_on_by_itself(
    run_step: Run, folder_store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def following(*flags: str, **environment: str) -> list[str]:
        caplog.clear()
        assert run_step("monitor", *flags, **environment)[0] == 0
        return re.findall(r"next: (.*)", caplog.text)

    assert following() == ["python workflows/submit.py retrain"]
    go_live(folder_store, 1, ago(hours=40))
    assert following() == ["python -m steps.client --shopper --count 500"]
    told(folder_store, 1, 400, 0.4, ago(hours=30))
    assert following("--hours", "36") == []
    told(folder_store, 1, 400, 0.2, ago(hours=1))
    assert following("--hours", "2", RUN="r") == []
    assert following("--hours", "2", "--cool-down", "0") == ["python workflows/submit.py retrain -p canary=10"]
    on_trial(folder_store, 2, ago(minutes=30))
    assert following("--canary") == ["python -m steps.model_publish --promote --version 2"]
    told(folder_store, 1, 400, 0.4, ago(minutes=20))
    told(folder_store, 2, 400, 0.1, ago(minutes=20))
    [command] = following("--canary")
    assert command.startswith("python -m steps.model_publish --abort 'version 2 has ndcg 0.1000")
    assert command.endswith("worse by more than chance' --version 2")


def test_looks_are_kept_in_order_and_the_oldest_go(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "KEPT", 2)
    blank = monitoring.Record(
        created="", run="", asked=monitoring.LOOK, since="", until="", live=0, events=0, versions={}, baselines={},
        drift={}, freshness={}, thresholds={}, accuracy=None, retrain=False, reason="", retrained="",
    )  # fmt: skip
    noon = datetime(2026, 3, 29, 12, tzinfo=UTC)
    for _ in range(2):  # of the same second: the later one takes the next
        made = monitoring.write(store.models, blank, noon)
        store.models.put(monitoring.page(made), b"page")
    assert made.created == "2026-03-29T12:00:01Z"
    monitoring.write(store.models, blank, noon + HOUR)
    found = [one.created for one in monitoring.newest(store.models, 10)]
    assert found == ["2026-03-29T13:00:00Z", "2026-03-29T12:00:01Z"]
    assert {entry.key for entry in store.models.list("monitoring/")} == {
        "monitoring/20260329T120001Z.json", "monitoring/20260329T120001Z.html", "monitoring/20260329T130000Z.json",
    }  # fmt: skip
