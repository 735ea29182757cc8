from __future__ import annotations

from typing import Any

import pytest

from steps.models import watching
from steps.models.online import Estimate, Figures
from steps.models.watching import ABORT, PROMOTE, Thresholds

RULES = Thresholds("ndcg", min_accuracy=0.9, tolerance=0.1, least_lists=100, without_evidence=PROMOTE)


def seen(value: float, *, lists: int = 1000, wide: float = 0.01, **more: Any) -> Figures:
    """A version whose nDCG was measured to within `wide` to either side."""
    return Figures(lists=lists, metrics={"ndcg": Estimate(value, value - wide, value + wide)}, **more)


def test_without_feedback_nothing_is_said() -> None:
    judged = watching.quality(3, Figures(), {2: seen(0.3)}, RULES)
    assert (judged.fell, judged.accuracy) == (False, None)
    assert judged.reason == "there is no feedback on version 3 in this time"
    few = watching.quality(3, seen(0.0, lists=99), {2: seen(0.3)}, RULES)
    assert (few.fell, few.reason) == (False, "only 99 lists of version 3 were shown, and 100 are needed to judge it")


def test_the_first_that_is_seen_of_a_release_is_its_baseline() -> None:
    judged = watching.quality(1, seen(0.2), {}, RULES)
    assert (judged.fell, judged.accuracy) == (False, 1.0)
    assert judged.reason == (
        "version 1 has ndcg 0.2000 (95 % between 0.1900 and 0.2100), which is its baseline from now on"
    )


@pytest.mark.parametrize(("now", "fell"), [(0.2, False), (0.181, False), (0.179, True), (0.0, True)])
def test_a_release_may_lose_so_much_of_its_own_baseline(now: float, fell: bool) -> None:
    judged = watching.quality(1, seen(now), {1: seen(0.2)}, Thresholds("ndcg", 0.0, 0.1, 100, PROMOTE))
    assert judged.fell is fell
    assert judged.accuracy == pytest.approx(now / 0.2)


def test_what_is_lower_by_chance_is_not_worse() -> None:
    judged = watching.quality(1, seen(0.15, wide=0.06), {1: seen(0.2)}, RULES)
    assert not judged.fell
    assert watching.quality(1, seen(0.15, wide=0.01), {1: seen(0.2)}, RULES).fell


def test_a_release_is_measured_by_the_best_of_those_before_it() -> None:
    before = {1: seen(0.1), 2: seen(0.3), 3: seen(0.2)}
    judged = watching.quality(4, seen(0.24), before, RULES)
    assert judged.fell
    assert judged.accuracy == pytest.approx(0.8)
    assert judged.reason.endswith(": 80 % of the 0.3000 that version 2 began with, and 90 % is the least")
    assert not watching.quality(4, seen(0.28), before, RULES).fell


def test_a_baseline_of_nothing_is_none() -> None:
    nothing = seen(0.0, wide=0.0)
    assert watching.quality(1, nothing, {1: nothing}, RULES) == watching.quality(1, nothing, {}, RULES)
    assert watching.quality(1, nothing, {}, RULES).reason.endswith(", and nothing is no baseline")
    assert watching.quality(1, seen(0.2), {1: nothing}, RULES).reason.endswith("which is its baseline from now on")
    assert watching.quality(2, nothing, {1: seen(0.2), 2: nothing}, RULES).fell


def test_of_lists_too_fresh_to_judge_it_is_said_that_they_are_awaited() -> None:
    judged = watching.quality(3, seen(0.0, lists=99), {}, RULES, fresh=20)
    assert judged.reason == (
        "only 99 lists of version 3 were shown, and 100 are needed to judge it; what follows 20 more is awaited"
    )
    assert watching.quality(3, Figures(), {}, RULES, fresh=20).reason.startswith("only 0 lists")


def test_a_canary_that_is_worse_by_more_than_chance_is_aborted() -> None:
    decision = watching.canary(8, seen(0.1, lists=40), seen(0.2), RULES, shown=True)
    assert decision.what == ABORT
    assert "version 8 has ndcg 0.1000" in decision.reason
    assert decision.reason.endswith("that is worse by more than chance")


@pytest.mark.parametrize("value", [0.195, 0.2, 0.4])
def test_a_canary_that_is_not_worse_is_promoted(value: float) -> None:
    assert watching.canary(8, seen(value), seen(0.2), RULES, shown=True).what == PROMOTE


@pytest.mark.parametrize("without", [PROMOTE, ABORT])
@pytest.mark.parametrize(("tried", "base"), [(99, 1000), (1000, 99), (0, 0)])
def test_of_too_little_feedback_a_flag_decides(without: str, tried: int, base: int) -> None:
    rules = Thresholds("ndcg", 0.9, 0.1, 100, without)
    decision = watching.canary(8, seen(0.2, lists=tried), seen(0.2, lists=base), rules, shown=True)
    assert decision.what == without
    assert decision.reason == (
        f"too little feedback to tell: {tried} lists of version 8 were shown and {base} of the live one, "
        f"and 100 of each are needed; --without-evidence says {without}"
    )


def test_a_canary_that_fails_to_answer_is_aborted_however_good_its_lists_are() -> None:
    base = seen(0.2, requests=10_000, errors=1)
    decision = watching.canary(8, seen(0.4, requests=500, errors=25, degraded=22), base, RULES, shown=True)
    assert decision.what == ABORT
    assert decision.reason == ("version 8 failed to answer 5 % of 500 requests, the live one 0.01 % of 10000")


def test_a_canary_that_fails_as_seldom_as_the_live_one_is_not_aborted_for_that() -> None:
    base = seen(0.2, requests=10_000, errors=120)
    assert watching.canary(8, seen(0.2, requests=1000, errors=14), base, RULES, shown=True).what == PROMOTE
    # One of three requests is an accident.
    assert watching.canary(8, seen(0.2, requests=3, errors=1), base, RULES, shown=True).what == PROMOTE


def test_a_shadow_is_judged_by_its_errors_alone() -> None:
    fine = Figures(requests=1000, errors=1, shadow=(999, 0.75))
    decision = watching.canary(8, fine, seen(0.2, requests=1000), RULES, shown=False)
    assert decision.what == PROMOTE
    assert "was asked 999 times and shares 75 % of what was shown" in decision.reason
    broken = Figures(requests=1000, errors=400, shadow=(600, 0.75))
    assert watching.canary(8, broken, seen(0.2, requests=1000), RULES, shown=False).what == ABORT


def test_an_answer_that_another_version_gave_is_one_failure_and_no_two() -> None:
    assert watching.failures(Figures(requests=100, errors=8, degraded=8)).value == 0.08
    all_of_them = watching.failures(Figures(requests=100, errors=100, degraded=100))
    assert (all_of_them.value, all_of_them.high) == (1.0, 1.0)


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize("base", [Figures(), Figures(requests=1000), Figures(requests=1000, errors=1000)])
@pytest.mark.parametrize("failed", [1, 4, 500])
def test_a_canary_that_was_asked_and_only_failed_is_aborted(failed: int, base: Figures, shown: bool) -> None:
    decision = watching.canary(8, Figures(requests=failed, errors=failed, degraded=failed), base, RULES, shown=shown)
    assert decision.what == ABORT
    assert decision.reason == f"version 8 answered none of the {failed} requests that came to it"


@pytest.mark.parametrize("shown", [True, False])
@pytest.mark.parametrize(
    ("requests", "percent", "loaded"), [(199, 100, True), (200, 100, False), (200, 10, False), (200, 9, True)]
)
def test_a_canary_that_nothing_came_to_although_it_must_have_is_aborted(
    requests: int, percent: float, loaded: bool, shown: bool
) -> None:
    decision = watching.canary(8, Figures(), Figures(requests=requests), RULES, shown=shown, percent=percent)
    assert decision.what == (PROMOTE if loaded else ABORT)
    told = "version 8 was never asked, while the live one had 200 requests: no server seems to have loaded it"
    assert (decision.reason == told) is not loaded


@pytest.mark.parametrize("tried", [Figures(requests=1), seen(0.2, lists=1), Figures(shadow=(1, 1.0))])
def test_a_canary_of_which_anything_was_seen_is_there(tried: Figures) -> None:
    assert watching.canary(8, tried, Figures(requests=10_000), RULES, shown=False).what == PROMOTE
