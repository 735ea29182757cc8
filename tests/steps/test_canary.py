"""model_publish where a version is tried on a share of the users before it goes live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from steps.artifacts import canary, records, release, slots
from steps.artifacts.canary import Canary
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store

Run = Callable[..., tuple[int, dict[str, str]]]
Judge = Callable[..., Verdict]


@pytest.fixture
def live(run_step: Run, folder_store: Store, make_verdict: Judge) -> Store:
    """Version 1 is live, from run-1; run-2 has beaten it."""
    make_verdict(folder_store, "run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    make_verdict(folder_store, "run-2")
    return folder_store


@pytest.fixture
def tried(run_step: Run, live: Store, make_verdict: Judge) -> Store:
    """Version 2 is tried beside it, from run-2; run-3 has beaten version 1 too."""
    assert run_step("model_publish", "--canary", "10", RUN="run-2")[0] == 0
    make_verdict(live, "run-3")
    return live


def running(store: Store) -> Canary:
    found = canary.running(store.models)
    assert found
    return found


def outcome(store: Store, version: int) -> tuple[str, str]:
    found = canary.ended(store.models, canary.read(store.models, version))
    assert found
    return found.outcome, found.reason


def in_slots(store: Store) -> set[str]:
    return {"/".join(entry.key.split("/")[1:3]) for entry in store.models.list("slots/")}


def sentence(caplog: pytest.LogCaptureFixture) -> str:
    return caplog.messages[-1]


def test_a_canary_lies_in_the_idle_slot_and_what_is_live_stays(run_step: Run, live: Store) -> None:
    code, outputs = run_step("model_publish", "--canary", "12.5", RUN="run-2")
    path = "candidates/run-2/als"
    assert (code, outputs) == (0, {"version": "2", "slot": "green", "candidate": path, "became": "canary"})
    found = running(live)
    assert (found.version, found.slot, found.candidate, found.base) == (2, "green", path, 1)
    assert (found.percent, found.mode, found.run, found.reason) == (12.5, "canary", "run-2", "promoted")
    assert (found.model, found.snapshot, found.metrics) == ("als", "s-0000000000000000", {"ndcg@10": 0.5})
    assert release.versions(live.models) == [1]
    assert in_slots(live) == {"blue/1", "green/2"}
    assert live.models.list("claims/") == []


@pytest.mark.parametrize(
    ("flags", "percent", "mode"),
    [
        (("--shadow",), 100, "shadow"),
        (("--shadow", "--canary", "5"), 5, "shadow"),
        (("--canary", "100"), 100, "canary"),
        (("--canary", "0.1"), 0.1, "canary"),
    ],
)
def test_a_canary_is_for_a_share_of_the_users_and_shown_or_only_compared(
    run_step: Run, live: Store, flags: tuple[str, ...], percent: float, mode: str
) -> None:
    assert run_step("model_publish", *flags, RUN="run-2")[0] == 0
    assert (running(live).percent, running(live).mode) == (percent, mode)


@pytest.mark.parametrize("flags", [(), ("--canary", "0"), ("--canary", ""), ("--canary", "0", "--shadow")])
def test_without_a_share_a_version_goes_live_at_once(run_step: Run, live: Store, flags: tuple[str, ...]) -> None:
    assert run_step("model_publish", *flags, RUN="run-2")[1]["became"] == "live"
    assert release.versions(live.models) == [1, 2]
    assert live.models.list("canaries/") == []


def test_where_nothing_is_live_there_is_nothing_to_try_it_against(
    run_step: Run, folder_store: Store, make_verdict: Judge
) -> None:
    make_verdict(folder_store, "run-1")
    first = run_step("model_publish", "--canary", "10", RUN="run-1")
    assert (first[0], first[1]["became"]) == (0, "live")
    assert run_step("model_publish", "--canary", "10", RUN="run-1") == first
    assert release.versions(folder_store.models) == [1]
    assert folder_store.models.list("canaries/") == []


@pytest.mark.parametrize("flags", [(), ("--canary", "10"), ("--canary", "50"), ("--shadow",)])
@pytest.mark.parametrize("run", ["run-2", "run-3"])
def test_while_it_is_tried_nothing_else_is_published(
    run_step: Run, tried: Store, caplog: pytest.LogCaptureFixture, flags: tuple[str, ...], run: str
) -> None:
    before = [entry.key for entry in tried.models.list()]
    code, outputs = run_step("model_publish", *flags, RUN=run)
    assert [entry.key for entry in tried.models.list()] == before
    if (flags, run) == (("--canary", "10"), "run-2"):
        assert (code, outputs["version"]) == (0, "2")  # the same step again
        return
    assert (code, outputs) == (69, {})
    assert sentence(caplog) == (
        "model_publish: version 2, shown to 10 % of the users beside version 1, is still being tried: end that with "
        "--promote or with --abort before anything else is published"
    )


def test_promoted_it_goes_live_under_its_own_number_from_its_own_slot(
    run_step: Run, tried: Store, make_verdict: Judge
) -> None:
    code, outputs = run_step("model_publish", "--promote", "--reason", "more clicks")
    path = "candidates/run-2/als"
    assert (code, outputs) == (0, {"version": "2", "slot": "green", "candidate": path, "became": "live"})
    made = release.require(tried.models, "live")
    assert (made.version, made.slot, made.candidate, made.previous, made.run) == (2, "green", path, 1, "run-2")
    assert made.reason == "promoted, after a canary of 10 % beside version 1: more clicks"
    assert made.metrics == {"ndcg@10": 0.5}
    assert outcome(tried, 2) == ("promoted", made.reason)
    assert canary.running(tried.models) is None
    make_verdict(tried, "run-4")
    assert run_step("model_publish", RUN="run-4")[1]["version"] == "3"
    assert in_slots(tried) == {"green/2", "blue/3"}


def test_aborted_its_number_is_not_used_again(run_step: Run, tried: Store) -> None:
    code, outputs = run_step("model_publish", "--abort", "fewer clicks")
    assert (code, outputs["version"], outputs["became"]) == (0, "2", "aborted")
    assert outcome(tried, 2) == ("aborted", "fewer clicks")
    assert canary.running(tried.models) is None
    assert release.require(tried.models, "live").version == 1
    assert run_step("model_publish", RUN="run-3")[1] == {
        "version": "3", "slot": "green", "candidate": "candidates/run-3/als", "became": "live",
    }  # fmt: skip
    assert release.versions(tried.models) == [1, 3]
    assert release.require(tried.models, "live").previous == 1
    assert in_slots(tried) == {"blue/1", "green/3"}


def test_a_reason_to_abort_may_be_left_out(run_step: Run, tried: Store) -> None:
    assert run_step("model_publish", "--abort")[0] == 0
    assert outcome(tried, 2) == ("aborted", "no reason was given")


def test_a_rollback_to_before_the_canary_is_an_abort(run_step: Run, tried: Store) -> None:
    code, outputs = run_step("model_publish", "--rollback", "canary", "--reason", "complaints", RUN="back")
    assert (code, outputs["version"], outputs["became"]) == (0, "2", "aborted")
    assert outcome(tried, 2) == ("aborted", "complaints")
    assert release.versions(tried.models) == [1]


def test_what_cannot_wait_ends_the_trial_first(run_step: Run, tried: Store, make_verdict: Judge) -> None:
    make_verdict(tried, "refused", promote=False)
    code, outputs = run_step("model_publish", "--force", "the shop is empty", RUN="refused")
    assert (code, outputs["version"], outputs["slot"]) == (0, "3", "green")
    assert outcome(tried, 2) == ("superseded", "forced: the shop is empty")
    assert run_step("model_publish", "--canary", "5", "--force", "once more", RUN="refused")[1]["version"] == "4"
    code, outputs = run_step("model_publish", "--rollback", "1", RUN="back")
    assert (code, outputs["version"], outputs["slot"]) == (0, "5", "blue")
    assert outcome(tried, 4) == ("superseded", "rollback to 1")
    assert (release.versions(tried.models), canary.versions(tried.models)) == ([1, 3, 5], [2, 4])
    assert release.require(tried.models, "live").previous == 3
    assert in_slots(tried) == {"green/3", "blue/5"}


def test_a_refused_candidate_is_tried_only_where_it_is_forced(run_step: Run, live: Store, make_verdict: Judge) -> None:
    make_verdict(live, "refused", promote=False)
    assert run_step("model_publish", "--canary", "10", RUN="refused") == (69, {})
    assert run_step("model_publish", "--canary", "10", "--force", "let us see", RUN="refused")[0] == 0
    assert running(live).reason == "forced: let us see"
    run_step("model_publish", "--promote")
    assert release.require(live.models, "live").reason == "forced: let us see, after a canary of 10 % beside version 1"


def test_a_canary_that_answers_otherwise_than_at_training_is_not_begun(
    run_step: Run, live: Store, make_verdict: Judge
) -> None:
    make_verdict(live, "wrong", wrong=True)
    assert run_step("model_publish", "--canary", "10", RUN="wrong") == (69, {})
    assert live.models.list("canaries/") == live.models.list("claims/") == []
    assert in_slots(live) == {"blue/1"}
    assert run_step("model_publish", "--canary", "10", RUN="run-2")[1]["version"] == "2"


def test_a_canary_whose_slot_answers_no_more_is_not_promoted(
    run_step: Run, tried: Store, caplog: pytest.LogCaptureFixture
) -> None:
    tried.models.put("slots/green/2/factors/item_factors.npy", b"damaged")
    assert run_step("model_publish", "--promote", "--deadline", "2") == (69, {})
    assert "item_factors.npy has changed" in sentence(caplog)
    assert release.versions(tried.models) == [1]
    assert running(tried).version == 2


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--canary", "ten"), "--canary is 'ten': a number is required"),
        (("--canary", "101"), "--canary is 101: 0 to 100 are allowed"),
        (("--canary", "-1"), "--canary is -1: 0 to 100 are allowed"),
        (("--canary", "nan"), "--canary is nan: 0 to 100 are allowed"),
        (("--promote", "--abort"), "--promote and --abort exclude one another: give one of them"),
        (("--rollback", "--promote"), "--rollback and --promote exclude one another: give one of them"),
        (("--promote", "--canary", "5"), "--canary is about a new version: leave it out where --promote is given"),
        (("--abort", "--shadow"), "--shadow is about a new version: leave it out where --abort is given"),
        (("--rollback", "--force", "now"), "--force is about a new version: leave it out where --rollback is given"),
        (("--version", "2"), "--version is '2', but it is for --promote and --abort alone"),
        (("--promote", "--version", "1"), "version '1' is no canary; the newest are 2"),
        (("--abort", "--version", "x"), "version 'x' is no canary; the newest are 2"),
    ],
)
def test_a_wrong_use_is_one_sentence_and_changes_nothing(
    run_step: Run, tried: Store, caplog: pytest.LogCaptureFixture, flags: tuple[str, ...], said: str
) -> None:
    before = [entry.key for entry in tried.models.list()]
    assert run_step("model_publish", *flags, RUN="run-3") == (2, {})
    assert sentence(caplog) == f"model_publish: {said}"
    assert [entry.key for entry in tried.models.list()] == before


@pytest.mark.parametrize("flags", [("--promote",), ("--abort",), ("--rollback", "canary")])
def test_without_a_canary_there_is_nothing_to_end(
    run_step: Run, live: Store, caplog: pytest.LogCaptureFixture, flags: tuple[str, ...]
) -> None:
    assert run_step("model_publish", *flags) == (2, {})
    assert "no canary was ever started" in sentence(caplog)


def test_what_has_ended_is_not_ended_otherwise(
    run_step: Run, tried: Store, make_verdict: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    first = run_step("model_publish", "--abort", "fewer clicks")
    assert run_step("model_publish", "--abort", "later") == first
    assert outcome(tried, 2) == ("aborted", "fewer clicks")
    assert run_step("model_publish", "--promote", "--version", "2") == (69, {})
    assert sentence(caplog) == (
        "model_publish: version 2 is no canary any more: aborted, fewer clicks; version 1 stays live"
    )
    assert run_step("model_publish", "--canary", "10", RUN="run-3")[1]["version"] == "3"
    second = run_step("model_publish", "--promote")
    assert run_step("model_publish", "--promote", "--version", "3") == second
    assert run_step("model_publish", "--abort") == (69, {})
    assert sentence(caplog) == "model_publish: version 3 is no canary any more, it went live: --rollback takes it back"
    run_step("model_publish", "--rollback", RUN="back")
    assert run_step("model_publish", "--promote") == (69, {})
    assert "version 3 is no canary any more: promoted" in sentence(caplog)
    assert sentence(caplog).endswith("version 4 stays live")


def test_one_that_is_named_is_not_mistaken_for_a_later_one(run_step: Run, tried: Store) -> None:
    run_step("model_publish", "--abort", "fewer clicks")
    run_step("model_publish", "--canary", "10", RUN="run-3")
    assert run_step("model_publish", "--promote", "--version", "2")[0] == 69
    assert run_step("model_publish", "--abort", "fewer clicks", "--version", "2")[0] == 0
    assert running(tried).version == 3


def test_a_trial_that_was_taken_back_is_not_begun_again_by_repeating_its_step(
    run_step: Run, tried: Store, caplog: pytest.LogCaptureFixture
) -> None:
    run_step("model_publish", "--abort", "fewer clicks")
    assert run_step("model_publish", "--canary", "10", RUN="run-2") == (69, {})
    assert "run run-2 was tried as version 2 and taken back (fewer clicks)" in sentence(caplog)


START = [(slots, "claim"), (slots, "drop"), (slots, "fill"), (canary, "start"), (slots, "drop_older"),
         (slots, "drop_claims")]  # fmt: skip
PROMOTE = [(canary, "say"), (release, "create"), (canary, "end"), (slots, "drop_older"), (slots, "drop_claims")]
ABORT = [(canary, "end"), (slots, "drop_claims")]
BACK = [(canary, "end"), (slots, "claim"), (slots, "fill"), (release, "create"), (slots, "drop_older"),
        (slots, "drop_claims")]  # fmt: skip


def killed_after(module: Any, write: str, store: Path, run: str, *flags: str) -> None:
    """The program, killed as soon as it has made this write."""
    code = f"""
import os, signal, sys
from steps import model_publish as program
import {module.__name__} as module
from steps.runtime.program import main
real = module.{write}
def killed(*arguments, **named):
    real(*arguments, **named)
    os.kill(os.getpid(), signal.SIGKILL)
module.{write} = killed
sys.exit(main(program.parser(), program.run, {list(flags)!r}))
"""
    environment = {**os.environ, "STORE": f"file:{store}", "RUN": run}
    done = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.parametrize(("module", "write"), START)
def test_killed_while_it_begins_the_same_command_begins_it_once(
    run_step: Run, live: Store, tmp_path: Path, module: Any, write: str
) -> None:
    killed_after(module, write, tmp_path / "store", "run-2", "--canary", "10")
    assert release.require(live.models, "live").version == 1
    assert run_step("model_publish", "--canary", "10", RUN="run-2")[1]["version"] == "2"
    assert canary.versions(live.models) == [2]
    assert running(live).run == "run-2"
    assert in_slots(live) == {"blue/1", "green/2"}
    assert live.models.list("claims/") == []


@pytest.mark.parametrize(("module", "write"), PROMOTE)
def test_killed_while_it_promotes_the_same_command_finishes_that(
    run_step: Run, tried: Store, tmp_path: Path, module: Any, write: str
) -> None:
    killed_after(module, write, tmp_path / "store", "run-2", "--promote")
    if write != "say":
        assert canary.running(tried.models) is None
        assert outcome(tried, 2)[0] == "promoted"
    code, outputs = run_step("model_publish", "--promote", RUN="run-2")
    assert (code, outputs["version"], outputs["became"]) == (0, "2", "live")
    assert release.versions(tried.models) == [1, 2]
    assert tried.models.exists("canaries/2.end.json")
    assert in_slots(tried) == {"blue/1", "green/2"}


@pytest.mark.parametrize(
    ("flags", "run", "answer", "then"),
    [
        (("--abort", "fewer clicks"), "", "version 2 is no canary any more, it went live", [1, 2]),
        ((), "run-3", "run run-3 was judged against version 1, but version 2 is live now", [1, 2]),
        (("--rollback",), "back", "version 3 is live", [1, 2, 3]),
    ],
)
def test_killed_between_the_word_and_the_release_whoever_comes_next_makes_it_live(
    run_step: Run, tried: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    flags: tuple[str, ...], run: str, answer: str, then: list[int],
) -> None:  # fmt: skip
    killed_after(canary, "say", tmp_path / "store", "run-2", "--promote", "--reason", "more clicks")
    assert release.versions(tried.models) == [1]
    assert running(tried).version == 2, "its users go on being shown it"
    code, _ = run_step("model_publish", *flags, RUN=run)
    assert code == (0 if flags == ("--rollback",) else 69)
    assert any(answer in message for message in caplog.messages)
    assert release.versions(tried.models) == then
    made = release.read(tried.models, 2)
    assert (made.slot, made.candidate, made.previous) == ("green", "candidates/run-2/als", 1)
    assert made.reason == "promoted, after a canary of 10 % beside version 1: more clicks"
    assert outcome(tried, 2) == ("promoted", made.reason)
    assert "green/2" in in_slots(tried)


@pytest.mark.parametrize(("flags", "how"), [(("--abort", "worse"), "aborted"), (("--force", "now"), "superseded")])
def test_what_was_ended_while_somebody_was_about_to_promote_it_does_not_go_live(
    run_step: Run, tried: Store, make_verdict: Judge, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture, flags: tuple[str, ...], how: str,
) -> None:  # fmt: skip
    """The other came after the last look at whether it still runs."""
    make_verdict(tried, "refused", promote=False)
    say = canary.say

    def late(models: Any, mine: canary.End) -> canary.End:
        monkeypatch.setattr(canary, "say", say)
        assert run_step("model_publish", *flags, RUN="refused")[0] == 0
        return say(models, mine)

    monkeypatch.setattr(canary, "say", late)
    assert run_step("model_publish", "--promote") == (69, {})
    assert f"version 2 is no canary any more: {how}" in sentence(caplog)
    assert 2 not in release.versions(tried.models)
    assert outcome(tried, 2)[0] == how
    assert canary.running(tried.models) is None


def test_what_cannot_wait_comes_after_what_was_promoted_at_the_same_moment(
    run_step: Run, tried: Store, make_verdict: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word was given after the first look of the other, which ends a trial that is none any more."""
    make_verdict(tried, "refused", promote=False)
    say = canary.say

    def late(models: Any, mine: canary.End) -> canary.End:
        say(models, canary.End(2, canary.PROMOTED, "more clicks", mine.created))
        return say(models, mine)

    monkeypatch.setattr(canary, "say", late)
    code, outputs = run_step("model_publish", "--force", "the shop is empty", RUN="refused")
    assert (code, outputs["version"], outputs["slot"]) == (0, "3", "blue")
    assert [release.read(tried.models, version).previous for version in (2, 3)] == [1, 2]
    assert in_slots(tried) == {"green/2", "blue/3"}


@pytest.mark.parametrize(("module", "write"), ABORT)
def test_killed_while_it_aborts_the_same_command_finishes_that(
    run_step: Run, tried: Store, tmp_path: Path, module: Any, write: str
) -> None:
    killed_after(module, write, tmp_path / "store", "run-2", "--abort", "fewer clicks")
    assert canary.running(tried.models) is None
    assert run_step("model_publish", "--abort", "fewer clicks", RUN="run-2")[0] == 0
    assert outcome(tried, 2) == ("aborted", "fewer clicks")


@pytest.mark.parametrize(("module", "write"), BACK)
def test_killed_while_it_goes_back_from_under_a_canary_the_same_command_finishes_that_and_no_more(
    run_step: Run, live: Store, make_verdict: Judge, tmp_path: Path, module: Any, write: str
) -> None:
    run_step("model_publish", RUN="run-2")
    make_verdict(live, "run-3")
    run_step("model_publish", "--canary", "10", RUN="run-3")
    killed_after(module, write, tmp_path / "store", "back", "--rollback")
    assert canary.running(live.models) is None
    code, outputs = run_step("model_publish", "--rollback", RUN="back")
    assert (code, outputs["version"], outputs["candidate"]) == (0, "4", "candidates/run-1/als")
    assert (release.versions(live.models), canary.versions(live.models)) == ([1, 2, 4], [3])
    assert outcome(live, 3) == ("superseded", "rollback to 1")
    assert in_slots(live) == {"green/2", "blue/4"}
    assert live.models.list("claims/") == []


@pytest.mark.parametrize("flags", [(), ("--canary", "10")])
def test_told_to_stop_right_after_the_record_was_written_the_version_keeps_its_slot(
    run_step: Run, live: Store, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    module, write = (canary, "start") if flags else (release, "create")
    real = getattr(module, write)

    def stopped(*arguments: Any) -> None:
        real(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, write, stopped)
        assert run_step("model_publish", *flags, RUN="run-2")[0] == 130
    assert slots.whole_versions(live.models, "green")[2].candidate == "candidates/run-2/als"
    assert run_step("model_publish", *flags, RUN="run-2")[1]["version"] == "2"


def test_a_number_that_was_taken_while_one_waited_for_it_is_left_alone(
    run_step: Run, live: Store, make_verdict: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other had tidied up its claim already, so that the claim alone tells nothing."""
    make_verdict(live, "run-3")
    claim = slots.claim

    def late(*arguments: Any) -> Any:
        monkeypatch.setattr(slots, "claim", claim)
        assert run_step("model_publish", "--canary", "10", RUN="run-3")[0] == 0
        return claim(*arguments)

    monkeypatch.setattr(slots, "claim", late)
    assert run_step("model_publish", RUN="run-2") == (75, {})
    assert running(live).run == "run-3"
    assert slots.whole_versions(live.models, "green")[2].candidate == "candidates/run-3/als"
    assert release.versions(live.models) == [1]
    assert live.models.list("claims/") == []


@pytest.mark.parametrize("flags", [(), ("--canary", "10")])
def test_what_has_changed_while_the_slot_was_filled_is_noticed(
    run_step: Run, live: Store, make_verdict: Judge, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    """A version was released, or a canary begun, between the first look and the claim."""
    make_verdict(live, "run-3")
    number = canary.next_version

    def late(models: Any) -> int:
        monkeypatch.setattr(canary, "next_version", number)
        assert run_step("model_publish", *flags, RUN="run-3")[0] == 0
        return number(models)

    monkeypatch.setattr(canary, "next_version", late)
    assert run_step("model_publish", RUN="run-2") == (69, {})
    assert number(live.models) == 3
    assert in_slots(live) == {"blue/1", "green/2"}
    assert slots.whole_versions(live.models, "green")[2].candidate == "candidates/run-3/als"
    assert live.models.list("claims/") == []


def test_a_canary_in_a_slot_that_is_not_named_any_more_is_not_promoted(
    run_step: Run, tried: Store, caplog: pytest.LogCaptureFixture
) -> None:
    elsewhere = "left=http://127.0.0.1:9,right=http://127.0.0.1:9"
    assert run_step("model_publish", "--promote", SLOTS=elsewhere) == (2, {})
    assert sentence(caplog) == ("model_publish: SLOTS names left and right, but what is to be asked is in slot green")


def test_of_a_release_and_a_canary_at_once_one_gets_the_number(
    live: Store, make_verdict: Judge, tmp_path: Path
) -> None:
    make_verdict(live, "run-3")

    def publish(run: str, *flags: str) -> int:
        environment = {**os.environ, "STORE": f"file:{tmp_path / 'store'}", "RUN": run}
        command = [sys.executable, "-m", "steps.model_publish", *flags]
        return subprocess.run(command, env=environment, check=False, capture_output=True).returncode

    with ThreadPoolExecutor(2) as pool:
        plain, share = pool.submit(publish, "run-2"), pool.submit(publish, "run-3", "--canary", "10")
        codes = [plain.result(), share.result()]
    assert codes.count(0) == 1
    assert set(codes) <= {0, 69, 75}
    assert (release.versions(live.models), canary.versions(live.models)) == (
        ([1, 2], []) if codes[0] == 0 else ([1], [2])
    )


def test_the_next_publish_writes_down_an_end_that_somebody_was_killed_before_writing(
    run_step: Run, tried: Store, make_verdict: Judge
) -> None:
    made = records.read(tried.models, "releases/1.json", release.Release)
    release.create(tried.models, release.Release(**{**made.__dict__, "version": 3, "previous": 1, "run": "other"}))
    assert canary.running(tried.models) is None
    make_verdict(tried, "run-4")
    assert run_step("model_publish", RUN="run-4")[1]["version"] == "4"
    assert tried.models.exists("canaries/2.end.json")
    assert outcome(tried, 2) == ("superseded", "version 3 went live: promoted")
