"""On feedback that is small enough to be counted by hand, or drawn with known chances."""

from __future__ import annotations

import math

import numpy as np
import pytest

from steps.models import online
from steps.models.online import Actions, Estimate, Followed, Lists

HOUR = 3600


def shown(*lists: tuple[int, int, list[int]], version: int = 1) -> Lists:
    """`(user, time, items)` each."""
    sizes = [len(items) for _, _, items in lists]
    return Lists(
        user=np.array([user for user, _, _ in lists], np.int64),
        time=np.array([time for _, time, _ in lists], np.int64),
        version=np.full(len(lists), version, np.int64),
        starts=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=np.array([item for _, _, items in lists for item in items], np.int64),
    )


def done(*actions: tuple[int, int, int, str]) -> Actions:
    """`(user, time, item, "bought" or "clicked")` each."""
    user, time, item = (np.array([action[part] for action in actions], np.int64) for part in range(3))
    return Actions(user, item, time, np.array([action[3] == "bought" for action in actions], bool))


def places(flags: np.ndarray) -> list[int]:
    return np.flatnonzero(flags).tolist()


def test_an_action_is_joined_with_the_place_where_its_user_saw_the_item() -> None:
    lists = shown((0, 100, [5, 6, 7]), (1, 100, [6, 5]))
    found = online.followed(lists, done((0, 150, 6, "clicked"), (0, 160, 6, "bought"), (1, 150, 5, "bought")), HOUR)
    assert places(found.clicked) == [1]
    assert places(found.bought) == [1, 4]
    assert places(found.taken) == [1, 4]
    assert online.per_list(lists, found.taken).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("action", "joined"),
    [
        ((0, 100, 5, "clicked"), [0]),
        ((0, 100 + HOUR, 5, "clicked"), [0]),
        ((0, 101 + HOUR, 5, "clicked"), []),
        ((0, 99, 5, "clicked"), []),
        ((0, 150, 9, "clicked"), []),
        ((1, 150, 5, "clicked"), []),
        ((9, 150, 5, "clicked"), []),
    ],
)
def test_only_the_same_user_and_item_in_time_count(action: tuple[int, int, int, str], joined: list[int]) -> None:
    assert places(online.followed(shown((0, 100, [5, 6])), done(action), HOUR).clicked) == joined


def test_an_action_counts_for_the_last_list_before_it() -> None:
    lists = shown((0, 300, [5]), (0, 100, [5]), (0, 200, [6, 5]))
    assert places(online.followed(lists, done((0, 250, 5, "bought")), HOUR).bought) == [3]
    assert places(online.followed(lists, done((0, 300, 5, "bought")), HOUR).bought) == [0]


def test_an_item_that_a_list_has_twice_was_seen_at_its_first_place() -> None:
    assert places(online.followed(shown((0, 100, [4, 5, 5])), done((0, 110, 5, "clicked")), HOUR).clicked) == [1]


def test_without_lists_or_actions_nothing_has_followed() -> None:
    assert len(online.followed(shown(), done((0, 1, 2, "bought")), HOUR).taken) == 0
    assert places(online.followed(shown((0, 1, [2])), done(), HOUR).taken) == []


def test_ndcg_is_one_for_hits_at_the_top_and_less_below() -> None:
    lists = shown((0, 0, [1, 2, 3]), (1, 0, [1, 2, 3]), (2, 0, [1, 2, 3]), (3, 0, [1, 2, 3]), (4, 0, [9]))
    hits = np.zeros(13, bool)
    hits[[0, 1, 5, 6, 8]] = True
    third = 1 / math.log2(4)
    both = (1 + third) / (1 + 1 / math.log2(3))
    assert online.ndcg(lists, hits).tolist() == pytest.approx([1.0, third, both, 0.0, 0.0])


def test_a_share_is_of_all_lists_together() -> None:
    user = np.arange(10)
    found = online.estimate(np.array([3, 0, 1, 0, 0, 0, 0, 0, 0, 0]), np.array([5] * 8 + [0] * 2), user)
    assert found.value == pytest.approx(4 / 40)
    assert 0 < found.low < found.value < found.high < 1


def test_of_a_handful_of_users_anything_is_possible() -> None:
    ones = np.ones(400)
    assert online.estimate(ones, ones, np.arange(400) % 4) == Estimate(1.0, 0.0, 1.0)
    assert online.estimate(ones[:0], ones[:0], np.arange(0)) == Estimate(0.0, 0.0, 1.0)


def test_where_nobody_did_anything_the_mean_need_not_be_zero() -> None:
    found = online.estimate(np.zeros(30), np.ones(30), np.arange(30))
    assert (found.value, found.low) == (0.0, 0.0)
    assert 0.05 < found.high < 0.2


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    held, times = 0, 400
    for _ in range(times):
        liking = rng.beta(2, 18, 60)  # users differ: 0.1 in the mean
        user = np.repeat(np.arange(60), 8)
        found = online.estimate(rng.random(480) < liking[user], np.ones(480), user)
        held += found.low <= 0.1 <= found.high
    assert 0.91 < held / times < 0.99


def test_users_who_come_often_are_no_more_evidence_than_they_are_people() -> None:
    likes = np.arange(40) % 4 == 0
    once = online.estimate(likes, np.ones(40), np.arange(40))
    often = online.estimate(np.repeat(likes, 25), np.ones(1000), np.repeat(np.arange(40), 25))
    assert often.value == once.value
    assert (often.low, often.high) == pytest.approx((once.low, once.high), abs=0.01)


def test_wilsons_interval_is_the_one_of_the_books() -> None:
    # Newcombe (1998), Statistics in Medicine 17: 15 of 148 gives 0.0624 to 0.1605.
    found = online.rate(15, 148)
    assert (found.low, found.high) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert online.rate(0, 20).high == pytest.approx(0.1611, abs=5e-5)
    assert online.rate(0, 0) == Estimate(0.0, 0.0, 1.0)
    assert online.rate(30, 20) == online.rate(20, 20) == Estimate(1.0, pytest.approx(0.8389, abs=5e-5), 1.0)
    assert online.wilson(-0.1, 20, online.Z) == online.rate(0, 20)


def test_the_difference_of_two_rates_is_the_one_of_the_books() -> None:
    # Newcombe (1998), the same volume, method 10: 56 of 70 less 48 of 80 gives 0.0524 to 0.3339.
    found = online.difference(online.rate(56, 70), online.rate(48, 80))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_the_stability_index_of_counts_whose_answer_is_known() -> None:
    same = np.array([500_000, 300_000, 200_000])
    assert online.stability(same, same * 2).index == pytest.approx(0, abs=1e-6)
    moved = online.stability(same, np.array([300_000, 300_000, 400_000]))
    by_hand = (0.3 - 0.5) * math.log(0.3 / 0.5) + (0.4 - 0.2) * math.log(0.4 / 0.2)
    assert moved.index == pytest.approx(by_hand, abs=1e-4)
    assert math.isfinite(online.stability(np.array([10, 0]), np.array([0, 10])).index)
    assert online.stability(np.zeros(3, np.int64), np.zeros(3, np.int64)).index == 0


def test_chance_alone_moves_an_index_by_about_what_is_said() -> None:
    rng, shares = np.random.default_rng(3), np.array([0.4, 0.3, 0.2, 0.1])
    found = [online.stability(rng.multinomial(2000, shares), rng.multinomial(500, shares)) for _ in range(300)]
    mean = np.mean([one.index for one in found])
    assert mean == pytest.approx(found[0].by_chance, rel=0.2)


def test_groups_of_items_have_about_equally_many_purchases() -> None:
    counts = np.array([1, 50, 0, 25, 24, 0])
    assert online.equal_groups(counts, 2).tolist() == [1, 0, 2, 1, 1, 2]
    assert online.equal_groups(np.zeros(2, np.int64), 4).tolist() == [4, 4]
    many = np.random.default_rng(1).integers(0, 40, 1000)
    groups = online.equal_groups(many, 10)
    shares = np.bincount(groups, many, minlength=11) / many.sum()
    assert shares[:10] == pytest.approx(0.1, abs=0.01)
    assert shares[10] == 0


def test_users_fall_into_classes_by_what_they_had_bought() -> None:
    assert online.classes(np.array([0, 1, 2, 3, 5, 6, 99]), (0, 1, 2, 6)).tolist() == [0, 1, 2, 2, 2, 3, 3]


def test_what_was_taken_is_what_was_clicked_or_bought() -> None:
    assert Followed(np.array([True, False]), np.array([False, True])).taken.all()
