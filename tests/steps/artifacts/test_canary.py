from __future__ import annotations

from collections.abc import Callable

import pytest

from steps.artifacts import canary, release
from steps.artifacts.canary import Canary, End
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Store
from steps.runtime.errors import BadDataError, TryAgainError, UsageError

Make = Callable[..., Candidate]
MakeRelease = Callable[..., Release]


def trial(made: Candidate, version: int, base: int) -> Canary:
    return Canary(
        version=version, slot="green", candidate=made.path, model=made.model, snapshot=made.snapshot, run=made.run,
        base=base, percent=12.5, mode=canary.CANARY, metrics={"ndcg@10": 0.5}, created="2026-01-02T00:00:00Z",
        reason="promoted",
    )  # fmt: skip


def test_in_a_store_without_canaries_none_runs_and_versions_go_on_as_ever(
    store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    assert (canary.running(store.models), canary.next_version(store.models)) == (None, 1)
    make_release(store, make_candidate(store, "run-1"), 4)
    assert (canary.running(store.models), canary.next_version(store.models)) == (None, 5)
    with pytest.raises(UsageError, match=r"no canary was ever started in .*: --canary PERCENT starts one"):
        canary.require(store.models, "")


def test_it_runs_until_its_end_is_written_and_of_two_ends_the_first_stands(
    store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    models, made = store.models, make_candidate(store, "run-1")
    make_release(store, made, 9)
    mine = trial(made, 10, 9)
    canary.start(models, mine)
    assert canary.running(models) == mine
    assert canary.ended(models, mine) is None
    assert canary.next_version(models) == 11
    with pytest.raises(TryAgainError, match="a canary of version 10 was started by someone else meanwhile"):
        canary.start(models, mine)
    first = canary.end(models, 10, canary.ABORTED, "fewer clicks")
    assert (first.version, first.outcome, first.reason) == (10, "aborted", "fewer clicks")
    assert canary.end(models, 10, canary.PROMOTED, "too late") == first
    assert canary.ended(models, mine) == first
    assert canary.running(models) is None
    assert canary.next_version(models) == 11


def test_the_newest_runs_also_beyond_nine_and_any_can_be_named(
    folder_store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    models, made = folder_store.models, make_candidate(folder_store, "run-1")
    make_release(folder_store, made, 1)
    for version in (8, 9, 10):
        canary.start(models, trial(made, version, 1))
        if version < 10:
            canary.end(models, version, canary.ABORTED, "worse")
    assert canary.versions(models) == [8, 9, 10]
    assert [one.version for one in canary.newest_first(models)] == [10, 9, 8]
    assert canary.running(models) == canary.require(models, "") == canary.require(models, "10")
    assert canary.require(models, "8").version == 8
    for text in ("1", "11", "-8", "newest"):
        with pytest.raises(UsageError, match=f"version '{text}' is no canary; the newest are 8, 9, 10"):
            canary.require(models, text)


def test_it_is_over_once_another_version_is_live_and_that_can_be_written_down(
    folder_store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    models, made = folder_store.models, make_candidate(folder_store, "run-1")
    make_release(folder_store, made, 1)
    mine = trial(made, 2, 1)
    canary.start(models, mine)
    canary.settle(models)
    assert canary.running(models) == mine
    for version in (3, 4):
        make_release(folder_store, made, version)
    assert canary.running(models) is None
    superseded = End(2, "superseded", "version 3 went live: promoted", "2026-01-01T00:00:00Z")
    assert canary.ended(models, mine) == superseded
    assert not models.exists("canaries/2.end.json")
    canary.settle(models)
    assert models.exists("canaries/2.end.json")
    found = canary.ended(models, mine)
    assert found
    assert (found.outcome, found.reason) == ("superseded", "version 3 went live: promoted")


def test_what_was_released_was_promoted_whatever_else_is_written(
    folder_store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    """Killed between the release and the end, or aborted by someone else at that very moment."""
    models, made = folder_store.models, make_candidate(folder_store, "run-1")
    make_release(folder_store, made, 1)
    mine = trial(made, 2, 1)
    canary.start(models, mine)
    make_release(folder_store, made, 2)
    for _ in range(2):
        found = canary.ended(models, mine)
        assert found
        assert found.outcome == "promoted"
        assert canary.running(models) is None
        canary.end(models, 2, canary.ABORTED, "worse")


def test_what_was_promoted_goes_on_until_it_is_live_and_whoever_settles_makes_it_so_once(
    store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    models, made = store.models, make_candidate(store, "run-1")
    make_release(store, made, 1)
    mine = trial(made, 2, 1)
    canary.start(models, mine)
    canary.say(models, End(2, canary.PROMOTED, "more clicks", "2026-01-03T00:00:00Z"))
    assert (canary.running(models), canary.ended(models, mine)) == (mine, None)
    for _ in range(2):
        canary.settle(models)
        assert release.versions(models) == [1, 2]
        assert release.read(models, 2).reason == "more clicks"
        assert canary.running(models) is None
    found = canary.ended(models, mine)
    assert found
    assert (found.outcome, found.reason) == ("promoted", "more clicks")


def test_what_was_promoted_does_not_come_back_under_what_is_live_by_now(
    folder_store: Store, make_candidate: Make, make_release: MakeRelease
) -> None:
    models, made = folder_store.models, make_candidate(folder_store, "run-1")
    make_release(folder_store, made, 1)
    mine = trial(made, 2, 1)
    canary.start(models, mine)
    canary.say(models, End(2, canary.PROMOTED, "more clicks", "2026-01-03T00:00:00Z"))
    make_release(folder_store, made, 3)
    canary.settle(models)
    assert release.versions(models) == [1, 3]
    assert canary.running(models) is None
    found = canary.ended(models, mine)
    assert found
    assert (found.outcome, found.reason) == ("superseded", "version 3 went live: promoted")


def test_it_says_what_it_is_and_what_it_becomes(folder_store: Store, make_candidate: Make) -> None:
    mine = trial(make_candidate(folder_store, "run-1"), 2, 1)
    assert str(mine) == "version 2, shown to 12.5 % of the users beside version 1"
    shadow = Canary(**{**mine.__dict__, "mode": canary.SHADOW})
    assert str(shadow) == "version 2, asked in the shadow for 12.5 % of the users beside version 1"
    made = mine.as_release("more clicks")
    assert (made.version, made.slot, made.previous, made.run, made.metrics) == (2, "green", 1, "run-1", mine.metrics)
    assert made.reason == "promoted, after a canary of 12.5 % beside version 1: more clicks"


@pytest.mark.parametrize("key", ["canaries/newest.json", "canaries/3.start.json", "canaries/3/end.json"])
def test_what_is_no_canary_is_named(folder_store: Store, key: str) -> None:
    folder_store.models.put(key, b"{}")
    with pytest.raises(BadDataError, match=f"{key} is neither a canary nor the end of one"):
        canary.running(folder_store.models)


def test_a_broken_record_is_bad_data_not_a_traceback(folder_store: Store) -> None:
    folder_store.models.put("canaries/2.json", b'{"version": 2}')
    with pytest.raises(BadDataError, match=r"2\.json is not a Canary"):
        canary.running(folder_store.models)
