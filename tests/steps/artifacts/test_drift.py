from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steps.artifacts import dataset, drift
from steps.artifacts.dataset import Split
from steps.artifacts.feedback import BOUGHT, Event
from steps.artifacts.window import Window
from steps.clients.object_store import Store
from steps.models.online import Estimate, Figures

Run = Callable[..., tuple[int, dict[str, str]]]
SHOP = "demo:users=300,items=80,days=100"
NOON = "2026-03-29T12:00:00.000Z"


def window(pairs: list[tuple[str, str]]) -> Window:
    """Of purchases alone."""
    return Window.of([Event(f"e{n}", BOUGHT, user, (item,), 0, None, NOON) for n, (user, item) in enumerate(pairs)], 60)


def test_the_same_shop_has_not_moved_and_another_one_has(run_step: Run, folder_store: Store, tmp_path: Path) -> None:
    code, out = run_step("data_publish", "--source", SHOP)
    assert code == 0
    data = dataset.load(folder_store, out["snapshot"], tmp_path / "read")
    # The last days of the snapshot again, as if it had been published just before them.
    last = np.flatnonzero(data.split == Split.TEST)
    same = [(data.users[int(data.user[at])], data.items[int(data.item[at])]) for at in last]
    found = drift.since_training(folder_store, out["snapshot"], window(same), tmp_path / "a")
    assert set(found) == {"users", "items"}
    assert found["items"].index < 0.25
    assert found["users"].index < 0.25
    strangers = [(f"stranger {number}", same[0][1]) for number in range(200)]
    moved = drift.since_training(folder_store, out["snapshot"], window(strangers), tmp_path / "b")
    assert moved["users"].index > 1
    assert moved["items"].index > 1
    assert moved["users"].seen == 200


def test_of_too_few_purchases_nothing_is_said(run_step: Run, folder_store: Store, tmp_path: Path) -> None:
    _, out = run_step("data_publish", "--source", SHOP)
    assert drift.since_training(folder_store, out["snapshot"], window([("u", "p")] * 49), tmp_path / "a") == {}


def test_new_users_are_no_drift_where_there_always_were_as_many() -> None:
    users = drift.SIDES["users"]
    # Before the test period everybody of the first hundred had bought once; in it, half of the purchases are by others.
    before, test = np.arange(100), np.concatenate([np.arange(100), np.arange(100, 200)])
    half_unknown = np.concatenate([np.full(100, -1), np.arange(100, 200)])
    assert drift.moved(users, before, test, half_unknown, 200).index < 0.01
    assert drift.moved(users, before, test, np.full(200, -1), 200).index > 0.25


@pytest.mark.parametrize(("now", "moved"), [((60, 30, 10), False), ((10, 30, 60), True)])
def test_places_are_compared_with_those_of_the_baseline(now: tuple[int, ...], moved: bool) -> None:
    metrics = {"ndcg": Estimate(0.1, 0.0, 0.2)}
    first, then = Figures(lists=100, metrics=metrics, taken_at=(60, 30, 10)), Figures(taken_at=now)
    assert (drift.of_places(then, first)["places"].index > 0.25) is moved
    assert drift.of_places(then, None) == {}
    assert drift.of_places(Figures(taken_at=(40, 9)), first) == {}
