from __future__ import annotations

from collections.abc import Callable

import pytest

from steps.artifacts import release
from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.runtime.errors import BadDataError, TryAgainError, UsageError

Make = Callable[..., Candidate]


def test_nothing_is_live_in_an_empty_store(store: Store) -> None:
    assert release.live(store.models) is None
    with pytest.raises(UsageError, match="nothing has been released"):
        release.require(store.models, "")


def test_the_highest_number_is_live_also_beyond_nine(
    store: Store, make_candidate: Make, make_release: Callable[..., object]
) -> None:
    made = make_candidate(store, "run-1")
    for version in range(1, 12):
        make_release(store, made, version)
    assert release.versions(store.models) == list(range(1, 12))
    live = release.live(store.models)
    assert live
    assert live.version == 11
    assert release.require(store.models, "3").version == 3


def test_a_version_is_released_once(
    store: Store, make_candidate: Make, make_release: Callable[..., release.Release]
) -> None:
    first = make_release(store, make_candidate(store, "run-1"))
    with pytest.raises(TryAgainError, match="released by someone else"):
        make_release(store, make_candidate(store, "run-2"))
    assert release.live(store.models) == first


@pytest.mark.parametrize("text", ["7", "0", "-1", "latest"])
def test_an_unknown_version_is_refused_with_those_there_are(
    folder_store: Store, make_candidate: Make, make_release: Callable[..., object], text: str
) -> None:
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    with pytest.raises(UsageError, match="the newest are 1"):
        release.require(folder_store.models, text)


def test_what_is_no_release_is_named(folder_store: Store) -> None:
    folder_store.models.put("releases/newest.json", b"{}")
    with pytest.raises(BadDataError, match=r"newest\.json"):
        release.live(folder_store.models)


@pytest.mark.parametrize("content", [b"", b"not json", b"[1]", b'{"version": 1}'])
def test_a_broken_record_is_bad_data_not_a_traceback(folder_store: Store, content: bytes) -> None:
    folder_store.models.put("releases/1.json", content)
    with pytest.raises(BadDataError, match=r"1\.json"):
        release.live(folder_store.models)
