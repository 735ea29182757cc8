"""What a server holds loaded, as releases and canaries come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from steps.artifacts import canary, release
from steps.artifacts.canary import ABORTED, CANARY, PROMOTED, SHADOW, Canary
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.serving import history
from steps.serving.live import Live

Make = Callable[..., Candidate]


@pytest.fixture
def live(folder_store: Store, make_candidate: Make, make_release: Callable[..., Any]) -> Live:
    """Version 1 is live; looks only when told to."""
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    found = Live(folder_store.models, 3600)
    found.refresh()
    return found


@pytest.fixture
def tried(folder_store: Store, make_candidate: Make) -> Callable[..., Canary]:
    """`tried(2)` begins to try version 2."""

    def start(version: int, mode: str = CANARY, percent: float = 10) -> Canary:
        made = make_candidate(folder_store, f"run-{version}")
        one = Canary(
            version=version, slot="green", candidate=made.path, model=made.model, snapshot=made.snapshot, run=made.run,
            base=1, percent=percent, mode=mode, metrics={}, created="2026-01-01T00:00:00Z",
        )  # fmt: skip
        canary.start(folder_store.models, one)
        return one

    return start


def versions(live: Live) -> tuple[int, int | None, int | None, int | None]:
    """Live, canary, shadow, before."""
    serving = live.serving
    assert serving is not None
    others = (serving.canary, serving.shadow, serving.before)
    return (serving.live.version, *(one.version if one else None for one in others))  # type: ignore[return-value]


def test_a_canary_is_followed_until_it_is_aborted(
    live: Live, folder_store: Store, tried: Callable[..., Canary]
) -> None:
    tried(2)
    live.refresh()
    assert versions(live) == (1, 2, None, None)
    assert live.serving is not None
    assert live.serving.percent == 10
    canary.end(folder_store.models, 2, ABORTED, "worse")
    live.refresh()
    assert versions(live) == (1, None, None, None)
    assert live.canary is None


def test_a_canary_that_is_promoted_is_not_loaded_again(
    live: Live, folder_store: Store, tried: Callable[..., Canary]
) -> None:
    one = tried(2)
    live.refresh()
    assert live.serving is not None
    loaded = live.serving.canary
    release.create(folder_store.models, one.as_release())
    canary.end(folder_store.models, 2, PROMOTED, "better")
    live.refresh()
    assert versions(live) == (2, None, None, 1)
    assert live.serving.live is loaded


def test_a_shadow_is_shown_to_nobody(live: Live, tried: Callable[..., Canary]) -> None:
    tried(2, SHADOW, 100)
    live.refresh()
    assert versions(live) == (1, None, 2, None)
    assert live.serving is not None
    assert live.serving.of("anybody").version == 1
    assert live.serving.in_share("anybody")


def test_a_release_beside_a_canary_ends_it_here_before_anybody_wrote_that(
    live: Live,
    folder_store: Store,
    tried: Callable[..., Canary],
    make_candidate: Make,
    make_release: Callable[..., Any],
) -> None:
    tried(2)
    live.refresh()
    make_release(folder_store, make_candidate(folder_store, "run-3"), 3)
    live.refresh()
    assert versions(live) == (3, None, None, 1)


def test_a_canary_that_cannot_be_loaded_leaves_the_live_one_alone(
    live: Live, folder_store: Store, tried: Callable[..., Canary]
) -> None:
    one = tried(2)
    folder_store.models.put(f"{one.candidate}/factors/item_factors.npy", b"damaged")
    with live:
        for _ in range(600):
            if "has changed" in live.problem:
                break
            threading.Event().wait(0.1)
        assert "has changed" in live.problem
        assert versions(live) == (1, None, None, None)


def test_a_canary_that_cannot_be_loaded_is_not_tried_at_every_look(
    live: Live, folder_store: Store, tried: Callable[..., Canary], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tried(2)
    right = folder_store.models.get(f"{one.candidate}/factors/item_factors.npy")
    folder_store.models.put(f"{one.candidate}/factors/item_factors.npy", b"damaged")
    now = [1000.0]
    monkeypatch.setattr("steps.serving.live.time.monotonic", lambda: now[0])
    live.refresh()
    assert "version 2 cannot be tried" in live.problem
    folder_store.models.put(f"{one.candidate}/factors/item_factors.npy", right)
    live.refresh()
    assert versions(live) == (1, None, None, None)
    assert "version 2 cannot be tried" in live.problem
    now[0] += 11
    live.refresh()
    assert versions(live) == (1, 2, None, None)
    assert live.problem == ""


def test_the_one_before_stays_and_older_ones_go(
    live: Live, folder_store: Store, make_candidate: Make, make_release: Callable[..., Any]
) -> None:
    for version in (2, 3):
        make_release(folder_store, make_candidate(folder_store, f"run-{version}"), version)
        live.refresh()
    assert versions(live) == (3, None, None, 2)


def test_the_history_tells_what_became_of_each_version(
    folder_store: Store,
    live: Live,
    tried: Callable[..., Canary],
    make_candidate: Make,
    make_release: Callable[..., Any],
) -> None:
    tried(2)
    canary.end(folder_store.models, 2, ABORTED, "fewer clicks")
    third = tried(3)
    release.create(folder_store.models, third.as_release())
    canary.end(folder_store.models, 3, PROMOTED, "more clicks")
    made = make_candidate(folder_store, "run-4")
    tries = {"slot": "blue", "candidate": made.path, "run": made.run, "base": 3, "percent": 5.0, "mode": SHADOW}
    canary.start(folder_store.models, replace(third, version=4, **tries))
    found = [(one.version, one.what, one.percent) for one in history.versions(folder_store.models).versions]
    assert found == [(4, "shadow", 5.0), (3, "live", 0.0), (2, "aborted", 10.0), (1, "released", 0.0)]
    assert [one.reason for one in history.versions(folder_store.models).versions][2] == "fewer clicks"


def test_before_the_first_release_there_is_no_history(folder_store: Store) -> None:
    assert history.versions(folder_store.models).versions == []
