"""Who answers whom: live, canary, shadow, and what happens where one of them breaks."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from steps.artifacts.feedback import BOUGHT, Event
from steps.models.als import ALS, ALSSettings
from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.popularity import Popularity
from steps.models.scorer import Scorer
from steps.serving.answers import Answers
from steps.serving.messages import Recommendation
from steps.serving.models import Bought, Model, Nothing, Serving, Wanted, place_of
from steps.serving.recent import Recent
from steps.serving.statistics import Statistics


class Broken:
    """A scorer of which nothing can be had."""

    def __getattr__(self, name: str) -> object:
        raise OSError("the file is gone")


BROKEN = cast(Scorer, Broken())


@pytest.fixture
def model(checkerboard: Interactions) -> Model:
    scorer = ALS(ALSSettings(factors=2, regularization=0.1)).fit(checkerboard, 1).scorer
    return Model(7, "als", scorer, checkerboard.matrix)


@pytest.fixture
def statistics() -> Statistics:
    return Statistics(["/recommend"])


@pytest.fixture
def answers(statistics: Statistics) -> Answers:
    return Answers(statistics, Nothing())


USERS = [f"u{number:03d}" for number in range(50)]
WANTED = [Wanted(3, user) for user in USERS]


def names(found: Recommendation) -> list[str]:
    return [one.item for one in found.items]


def alone(model: Model, wanted: Wanted, recent: Bought | None = None) -> Recommendation:
    return model.answer([wanted], recent or Nothing())[0]


def test_answers_do_not_depend_on_who_asks_at_the_same_time(model: Model) -> None:
    mixed = [
        Wanted(3, "u003"), Wanted(5, "u004"), Wanted(3, "a stranger"), Wanted(2, None, ("i004", "i008")),
        Wanted(3, "u003", exclude=("i003",)), Wanted(2, None, ("not sold here",)),
    ]  # fmt: skip
    assert model.answer(mixed, Nothing()) == [alone(model, wanted) for wanted in mixed]


def test_what_is_excluded_is_replaced_by_what_would_have_come_next(model: Model) -> None:
    first = names(alone(model, Wanted(4, "u003")))
    assert names(alone(model, Wanted(3, "u003", exclude=(first[0], "not sold here")))) == first[1:]
    basket = names(alone(model, Wanted(4, None, ("i004", "i008"))))
    assert names(alone(model, Wanted(3, None, ("i004", "i008"), (basket[1],)))) == [basket[0], *basket[2:]]


def test_what_was_bought_since_is_not_shown_and_counts(model: Model) -> None:
    recent = Recent()
    first = names(alone(model, Wanted(3, "u003"), recent))
    recent.take([Event("e1", BOUGHT, "u003", (first[0],), 7, None, "2026-01-01T00:00:00.000Z")])
    assert first[0] not in names(alone(model, Wanted(20, "u003"), recent))
    assert names(alone(model, Wanted(3, "u004"), recent)) == names(alone(model, Wanted(3, "u004")))


def test_a_stranger_is_known_by_the_first_purchase(model: Model) -> None:
    recent = Recent()
    assert not alone(model, Wanted(3, "new"), recent).known
    for number, item in enumerate(("i004", "i008", "i012")):
        recent.take([Event(f"e{number}", BOUGHT, "new", (item,), 7, None, "2026-01-01T00:00:00.000Z")])
    found = alone(model, Wanted(5, "new"), recent)
    assert (found.known, found.user) == (True, "new")
    assert all(int(name[1:]) % 2 == 0 for name in names(found))
    assert {"i004", "i008", "i012"}.isdisjoint(names(found))


def test_where_a_model_cannot_fold_in_what_was_bought_since_is_hidden_still(checkerboard: Interactions) -> None:
    model = Model(1, "popularity", Popularity().fit(checkerboard).scorer, checkerboard.matrix)
    recent = Recent()
    first = names(alone(model, Wanted(3, "u003"), recent))
    recent.take([Event("e1", BOUGHT, "u003", (first[0],), 7, None, "2026-01-01T00:00:00.000Z")])
    found = alone(model, Wanted(3, "u003"), recent)
    assert names(found)[:2] == first[1:]
    assert found.known


def test_a_canary_answers_its_share_of_the_users_always_the_same(model: Model, answers: Answers) -> None:
    serving = Serving(model, canary=replace(model, version=8), percent=30)
    first = [one.version for one in answers.of(serving, WANTED)]
    assert first == [one.version for one in reversed(answers.of(serving, WANTED[::-1]))]
    assert first == [8 if place_of(user, 8) < 30 else 7 for user in USERS]
    assert set(first) == {7, 8}


def test_the_share_of_a_canary_is_what_was_said_and_another_for_the_next_one() -> None:
    users = [f"user {number}" for number in range(20_000)]
    places = np.array([[place_of(user, version) for user in users] for version in (8, 9)])
    assert (places < 10).mean(1) == pytest.approx([0.1, 0.1], abs=0.01)
    assert ((places[0] < 10) & (places[1] < 10)).mean() == pytest.approx(0.01, abs=0.005)


def test_who_only_brings_a_basket_is_answered_by_what_is_live(model: Model, answers: Answers) -> None:
    serving = Serving(model, canary=replace(model, version=8), percent=100)
    [found] = answers.of(serving, [Wanted(3, None, ("i004",))])
    assert found.version == 7


def test_a_broken_canary_is_noticed_and_nobody_goes_without(
    model: Model, answers: Answers, statistics: Statistics
) -> None:
    serving = Serving(model, canary=replace(model, version=8, scorer=BROKEN), percent=100)
    found = answers.of(serving, WANTED)
    assert {(one.version, one.degraded) for one in found} == {(7, True)}
    assert [names(one) for one in found] == [names(one) for one in model.answer(WANTED, Nothing())]
    counts = statistics.versions()
    assert (counts[8]["errors"], counts[8]["degraded"], counts[8]["answers"]) == (50, 50, 0)
    assert (counts[7]["errors"], counts[7]["degraded"], counts[7]["answers"]) == (0, 0, 50)


def test_where_the_live_one_breaks_the_one_before_answers(model: Model, answers: Answers) -> None:
    serving = Serving(replace(model, version=8, scorer=BROKEN), before=model)
    [found] = answers.of(serving, [Wanted(3, "u003")])
    assert (found.version, found.degraded, found.known) == (7, True, True)


def test_what_breaks_for_one_user_is_popular_items_for_that_user(model: Model, answers: Answers) -> None:
    class Picky(Recent):
        def of(self, user: str) -> Sequence[str]:
            if user == "u003":
                raise KeyError(user)
            return super().of(user)

    answers.recent = Picky()
    found = answers.of(Serving(model), [Wanted(3, "u003"), Wanted(3, "u004")])
    assert [(one.degraded, one.known, len(one.items)) for one in found] == [(True, False, 3), (False, True, 3)]


def test_where_nothing_answers_it_is_an_error(model: Model, answers: Answers) -> None:
    with pytest.raises(RuntimeError, match="no release that is loaded can answer"):
        answers.of(Serving(replace(model, scorer=BROKEN)), [Wanted(3, "u003")])


def test_a_shadow_is_compared_and_never_shown(model: Model, answers: Answers, statistics: Statistics) -> None:
    serving = Serving(model, shadow=replace(model, version=8), percent=100)
    assert {one.version for one in answers.of(serving, WANTED)} == {7}
    for _ in range(600):
        if statistics.versions().get(8, {}).get("agreed"):
            break
        threading.Event().wait(0.1)
    assert statistics.versions()[8] == {
        "answers": 0, "errors": 0, "degraded": 0, "strangers": 0, "shadowed": 50, "agreed": 50_000_000,
    }  # fmt: skip


def test_what_was_bought_last_comes_last_for_models_that_ask_for_the_order(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[int]] = []

    def after(self: Scorer, bought: Codes) -> None:
        asked.append(bought.tolist())

    monkeypatch.setattr(Scorer, "after", after)
    times = ["2026-01-01T00:00:00.000Z", "2026-01-01T00:00:01.000Z"]
    recent = Recent()
    recent.take(
        Event(time, BOUGHT, "u002", (model.scorer.items[code],), 7, None, time)
        for time, code in zip(times, (9, 1), strict=True)
    )
    alone(model, Wanted(3, "u002"), recent)
    assert asked == [[*model.history(model.scorer.users.code("u002")).tolist(), 9, 1]]
