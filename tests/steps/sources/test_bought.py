"""Purchases that feedback told of, published together with those of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from steps.artifacts import dataset, feedback
from steps.artifacts.dataset import Split
from steps.artifacts.feedback import BOUGHT, CLICKED, SHOWN, Event
from steps.clients.object_store import Store

Run = Callable[..., tuple[int, dict[str, str]]]
SALES = [(f"u{n % 7}", f"i{n % 5}", f"2026-01-{n % 28 + 1:02d}") for n in range(60)]
LATER = "2026-03-01T10:00:00.000Z"


def told(store: Store, *bought: tuple[str, str, str], kind: str = BOUGHT, version: int = 0) -> None:
    events = [
        Event(f"{kind}-{version}-{user}-{item}-{time}", kind, user, (item,), version, None, time)
        for user, item, time in bought
    ]
    feedback.write(store.data, events)


def sales(folder: Path, **columns: object) -> str:
    """A file of sales with more columns; one that is None is left out."""
    frame = pl.DataFrame(SALES, schema=["user", "item", "time"], orient="row")
    for name, values in columns.items():
        frame = frame.drop(name) if values is None else frame.with_columns(pl.Series(name, values))
    path = folder / "sales.csv"
    frame.write_csv(path)
    return str(path)


@pytest.fixture
def published(run_step: Run, folder_store: Store, tmp_path: Path) -> Callable[..., Any]:
    """`published("--source", …)` → the snapshot, read."""

    def publish(*flags: str) -> Any:
        code, out = run_step("data_publish", *flags)
        assert code == 0
        return dataset.load(folder_store, out["snapshot"], tmp_path / "cache" / out["snapshot"])

    return publish


def pairs(data: Any) -> list[tuple[str, str]]:
    return [(data.users[int(user)], data.items[int(item)]) for user, item in zip(data.user, data.item, strict=True)]


def test_without_feedback_the_snapshot_is_the_same_either_way(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    source = sales(tmp_path)
    plain = published("--source", source, "--feedback", "false")
    assert published("--source", source).id == plain.id
    told(folder_store, ("u1", "i1", LATER), kind=CLICKED)
    feedback.write(folder_store.data, [Event("list", SHOWN, "u1", ("i1", "i2"), 1, None, LATER)])
    assert published("--source", source).id == plain.id
    assert "feedback" not in plain.manifest["origin"]


def test_what_was_bought_joins_the_purchases_and_may_be_new(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    source = sales(tmp_path)
    told(folder_store, ("u1", "i1", LATER), ("newcomer", "new item", LATER))
    told(folder_store, ("u1", "i1", LATER))  # the same event once more
    data = published("--source", source)
    assert len(data) == len(SALES) + 2
    assert pairs(data).count(("newcomer", "new item")) == 1
    assert data.time.max() == 1_772_359_200_000_000
    assert data.manifest["origin"]["feedback"] == {"purchases": 2, "in_the_source": 0, "led": 0}
    assert len(published("--source", source, "--feedback", "false")) == len(SALES)


def test_a_purchase_that_the_source_tells_of_too_is_one_purchase(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    source = sales(tmp_path)
    user, item, day = SALES[3]
    told(folder_store, (user, item, f"{day}T23:59:59.000Z"))
    plain = published("--source", source, "--feedback", "false")
    data = published("--source", source)
    assert data.id == plain.id
    told(folder_store, (user, item, "2026-02-20T00:00:00.000Z"))
    again = published("--source", source)
    assert len(again) == len(SALES) + 1
    assert again.manifest["origin"]["feedback"] == {"purchases": 2, "in_the_source": 1, "led": 0}


@pytest.mark.parametrize(
    ("rule", "always"),
    [
        ("auto", "s-e55eb8aa6590e5b1"),
        ("last:1", "s-8c429c580229d702"),
        ("random:0.25", "s-85146a3e79529872"),
    ],
)
def test_a_snapshot_without_feedback_is_the_one_that_it_always_was(
    published: Callable[..., Any], tmp_path: Path, rule: str, always: str
) -> None:
    assert published("--source", sales(tmp_path), "--split", rule).id == always


@pytest.mark.parametrize("rule", ["time:0.1", "last:1", "random:0.25"])
def test_what_a_list_has_led_to_is_learned_from_and_never_held_out(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path, rule: str
) -> None:
    source = sales(tmp_path)
    plain = published("--source", source, "--split", rule)
    told(folder_store, *[(f"u{n % 7}", f"new {n}", LATER) for n in range(40)], version=3)
    data = published("--source", source, "--split", rule)
    led = np.array([item.startswith("new") for _, item in pairs(data)])
    assert led.sum() == 40
    assert set(data.split[led]) == {Split.TRAIN}
    held = [(pair, split) for pair, split, mine in zip(pairs(data), data.split, ~led, strict=True) if mine]
    assert sorted(held) == sorted(zip(pairs(plain), plain.split, strict=True))
    assert data.manifest["origin"]["feedback"] == {"purchases": 40, "in_the_source": 0, "led": 40}


def test_what_was_bought_without_a_list_too_needed_none(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    user, item, _ = SALES[3]
    told(folder_store, (user, item, LATER), ("u1", "found", LATER), ("u1", "shown", LATER), version=3)
    told(folder_store, ("u1", "found", "2026-03-01T11:00:00.000Z"), ("u2", "found", LATER))
    data = published("--source", sales(tmp_path))
    held = {pair for pair, split in zip(pairs(data), data.split, strict=True) if split == Split.TEST}
    assert {(user, item), ("u1", "found"), ("u2", "found")} <= held
    assert ("u1", "shown") not in held
    assert data.manifest["origin"]["feedback"]["led"] == 1


def test_a_source_all_of_whose_purchases_lists_have_led_to_has_nothing_to_judge_by(
    run_step: Run, folder_store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "sales.csv"
    path.write_text("user,item,time\nu1,i1,2026-01-01\n")
    told(folder_store, *[(f"u{n + 2}", "i1", f"2026-02-{n + 10}T00:00:00.000Z") for n in range(9)], version=1)
    assert run_step("data_publish", "--source", str(path))[0] == 65
    assert "only one pair of a user and an item among 1 purchases (9 more came from lists" in caplog.text


def test_having_looked_at_a_product_is_not_having_bought_it(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    source = sales(tmp_path, event=["order" if n % 2 else "view" for n in range(len(SALES))])
    user, item, day = SALES[26]
    told(folder_store, (user, item, f"{day}T12:00:00.000Z"), version=3)
    data = published("--source", source)
    assert len(data) == len(SALES) + 1
    assert data.manifest["origin"]["feedback"] == {"purchases": 1, "in_the_source": 0, "led": 1}


def test_of_a_source_without_times_every_pair_that_it_has_is_known(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    source = sales(tmp_path, time=None)
    told(folder_store, (*SALES[0][:2], LATER), ("newcomer", "i1", LATER))
    data = published("--source", source)
    assert data.time is None
    assert len(data) == len(SALES) + 1


@pytest.mark.parametrize(
    ("kinds", "flags", "meant"),
    [
        (["view", "order"], (), "order"),
        (["view", "order"], ("--event-weights", "view=0.1,order=2"), "order"),
        (["order", "order"], (), None),
    ],
)
def test_it_is_called_what_the_source_calls_a_purchase(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path, kinds: list[str], flags: tuple[str, ...],
    meant: str | None,
) -> None:  # fmt: skip
    source = sales(tmp_path, event=[kinds[n % 2] for n in range(len(SALES))])
    told(folder_store, ("newcomer", "i1", LATER))
    data = published("--source", source, *flags)
    assert len(data) == len(SALES) + 1
    if meant is None:
        assert data.kinds is None
        return
    assert data.kinds.names == ("order", "view")
    [place] = [place for place, pair in enumerate(pairs(data)) if pair == ("newcomer", "i1")]
    assert data.kinds.names[data.event[place]] == meant


def test_columns_that_feedback_does_not_have_may_be_in_the_source(
    published: Callable[..., Any], folder_store: Store, tmp_path: Path
) -> None:
    named = [f"Item {item}" for _, item, _ in SALES]
    source = sales(tmp_path, title=named, quantity=[2] * len(SALES))
    told(folder_store, ("newcomer", "i1", LATER), ("newcomer", "unheard of", LATER))
    data = published("--source", source)
    assert data.item_names == [f"Item i{n}" for n in range(5)] + ["unheard of"]
    [place] = [place for place, pair in enumerate(pairs(data)) if pair == ("newcomer", "i1")]
    assert data.weight[place] == 1.0


def test_the_generated_shop_goes_on_with_what_was_bought(published: Callable[..., Any], folder_store: Store) -> None:
    told(folder_store, ("u0001", "p0001", LATER), ("newcomer", "p0001", LATER))
    data = published("--source", "demo:users=50,items=20,days=30")
    assert data.manifest["counts"]["purchases"] == 50 * 25 + 2
    assert "newcomer" in list(data.users)


def test_feedback_is_true_or_false(run_step: Run) -> None:
    assert run_step("data_publish", "--feedback", "maybe")[0] == 2
