"""Each rule divides as it says, leaves both train and test, and random sides stay when the data grows."""

from __future__ import annotations

import numpy as np
import pytest

from steps.artifacts.dataset import Split
from steps.artifacts.splits import Rule, Splits, divide
from steps.models.ids import IdTable
from steps.runtime.errors import BadDataError, UsageError

TRAIN, VALIDATION, TEST = (int(split) for split in Split)


def table(count: int, letter: str = "x") -> IdTable:
    return IdTable.of([f"{letter}{number:06d}" for number in range(count)])


def divided(rule: str, user: list[int], item: list[int], time: list[int] | None, seed: int = 7) -> list[int]:
    users, items = table(max(user) + 1), table(max(item) + 1)
    times = None if time is None else np.array(time, np.int64)
    resolved = Rule.parse(rule).resolve(times)
    return divide(resolved, users, items, np.array(user, np.int32), np.array(item, np.int32), times, seed).tolist()


def with_others(rule: str, user: list[int], item: list[int], time: list[int] | None, goal: list[int]) -> list[int]:
    """As `divided`, where only some events are purchases."""
    users, items = table(max(user) + 1), table(max(item) + 1)
    times = None if time is None else np.array(time, np.int64)
    codes = np.array(user, np.int32), np.array(item, np.int32)
    return divide(Rule.parse(rule), users, items, *codes, times, 7, np.array(goal, bool)).tolist()


def with_led(rule: str, user: list[int], item: list[int], time: list[int] | None, led: list[int]) -> list[int]:
    """As `divided`, where lists have led to some purchases."""
    users, items = table(max(user) + 1), table(max(item) + 1)
    times = None if time is None else np.array(time, np.int64)
    codes = np.array(user, np.int32), np.array(item, np.int32)
    return divide(Rule.parse(rule), users, items, *codes, times, 7, None, np.array(led, bool)).tolist()


def by_time(rule: str, time: list[int]) -> list[int]:
    return divided(rule, [0] * len(time), [0] * len(time), time)


def shares(split: Splits | list[int]) -> list[float]:
    return [float(share) for share in np.bincount(np.asarray(split), minlength=3) / len(split)]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("auto", Rule("auto")),
        ("time", Rule("time", share=0.1)),
        ("time:0.2", Rule("time", share=0.2)),
        ("time:.05", Rule("time", share=0.05)),
        ("last:1", Rule("last", count=1)),
        ("random", Rule("random", share=0.25)),
        ("random:0.4", Rule("random", share=0.4)),
    ],
)
def test_rules_are_read(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule
    assert Rule.parse(str(rule)) == rule


@pytest.mark.parametrize(
    "text", ["", "date", "auto:1", "time:", "time:0", "time:0.5", "time:1", "time:-0.1", "time:nan", "last", "last:0",
             "last:x", "random:0", "random:2", "random:0.5"],
)  # fmt: skip
def test_a_wrong_rule_is_told_what_is_allowed(text: str) -> None:
    with pytest.raises(UsageError, match="it may be auto, time, time:SHARE, last:N"):
        Rule.parse(text)


def test_auto_is_by_time_where_times_differ_and_at_random_where_not() -> None:
    auto = Rule.parse("auto")
    assert str(auto.resolve(np.array([1, 2]))) == "time:0.1"
    assert str(auto.resolve(np.array([1, 1]))) == "random:0.25"
    assert str(auto.resolve(None)) == "random:0.25"


@pytest.mark.parametrize("rule", ["time:0.1", "last:1"])
def test_a_rule_that_needs_times_says_so(rule: str) -> None:
    with pytest.raises(UsageError, match=f"--split {rule} needs a time, and the purchases have none"):
        Rule.parse(rule).resolve(None)


def test_by_time_the_last_tenth_is_test_and_the_tenth_before_is_validation() -> None:
    assert by_time("time", list(range(20))) == [TRAIN] * 16 + [VALIDATION] * 2 + [TEST] * 2
    assert by_time("time:0.25", [7, 3, 1, 5, 0, 2, 6, 4]) == [
        TEST, TRAIN, TRAIN, VALIDATION, TRAIN, TRAIN, TEST, VALIDATION,
    ]  # fmt: skip


def test_purchases_of_one_moment_are_never_divided() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        time = rng.integers(0, rng.integers(2, 30), rng.integers(2, 200))
        if time.min() == time.max():
            continue
        split = np.array(by_time(f"time:{rng.uniform(0.05, 0.45):.2f}", time.tolist()))
        assert all(len(set(split[time == moment])) == 1 for moment in np.unique(time))
        order = np.argsort(time)
        assert (np.diff(split[order]) >= 0).all()
        assert {TRAIN, TEST} <= set(split)


def test_of_two_moments_the_first_is_train_and_the_second_test() -> None:
    assert by_time("time", [5, 5, 5, 9]) == [TRAIN, TRAIN, TRAIN, TEST]
    assert by_time("time", [5, 9, 9, 9]) == [TRAIN, TEST, TEST, TEST]


def test_the_cut_is_the_boundary_nearest_to_the_share() -> None:
    # 100 purchases; the boundaries lie after 60, 85 and 93.
    time = [0] * 60 + [1] * 25 + [2] * 8 + [3] * 7
    assert shares(by_time("time:0.1", time)) == [0.85, 0.08, 0.07]
    assert shares(by_time("time:0.2", time)) == [0.6, 0.25, 0.15]


def test_one_moment_cannot_be_divided_by_time() -> None:
    with pytest.raises(BadDataError, match=r"all 3 happened at the same time; use random:0\.25"):
        by_time("time", [4, 4, 4])


def test_the_last_purchases_of_each_user_are_held_out() -> None:
    user = [0, 1, 0, 1, 0, 1, 0, 2, 2]
    time = [4, 1, 3, 9, 1, 5, 2, 1, 2]
    item = list(range(9))
    assert divided("last:1", user, item, time) == [
        TEST, TRAIN, VALIDATION, TEST, TRAIN, VALIDATION, TRAIN, TRAIN, TRAIN,
    ]  # fmt: skip


def test_the_last_two_need_five_purchases() -> None:
    user, time = [0] * 5 + [1] * 4, [1, 2, 3, 4, 5, 1, 2, 3, 4]
    assert divided("last:2", user, list(range(9)), time) == [TRAIN, VALIDATION, VALIDATION, TEST, TEST] + [TRAIN] * 4


def test_last_is_independent_of_the_order_of_rows() -> None:
    rng = np.random.default_rng(2)
    user, item, time = rng.integers(0, 9, 200), rng.integers(0, 20, 200), rng.integers(0, 10, 200)
    split = np.array(divided("last:2", user.tolist(), item.tolist(), time.tolist()))
    shuffle = rng.permutation(200)
    again = np.array(divided("last:2", user[shuffle].tolist(), item[shuffle].tolist(), time[shuffle].tolist()))

    def held(order: np.ndarray, result: np.ndarray) -> list[tuple[int, ...]]:
        return sorted(zip(user[order], item[order], time[order], result, strict=True))

    assert held(np.arange(200), split) == held(shuffle, again)


def test_users_with_one_purchase_each_have_no_last_to_hold_out() -> None:
    with pytest.raises(BadDataError, match=r"no user has more than 2 purchases \(3 users, 3 purchases\)"):
        divided("last:1", [0, 1, 2], [0, 0, 0], [1, 2, 3])


def grid(users: int, items: int) -> tuple[list[int], list[int]]:
    user, item = np.divmod(np.arange(users * items), items)
    return user.tolist(), item.tolist()


def test_at_random_the_shares_are_as_asked_for() -> None:
    user, item = grid(200, 100)
    assert shares(divided("random:0.25", user, item, None)) == pytest.approx([0.65, 0.1, 0.25], abs=0.01)
    assert shares(divided("random:0.05", user, item, None)) == pytest.approx([0.9, 0.05, 0.05], abs=0.01)


def test_at_random_every_user_and_every_item_has_its_share() -> None:
    user, item = grid(200, 400)
    test = np.array(divided("random:0.25", user, item, None)).reshape(200, 400) == TEST
    # Four standard deviations of a fair draw.
    assert np.abs(test.mean(axis=1) - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / 400)
    assert np.abs(test.mean(axis=0) - 0.25).max() < 4.5 * np.sqrt(0.25 * 0.75 / 200)


def test_at_random_a_pair_is_never_on_two_sides() -> None:
    rng = np.random.default_rng(3)
    user, item = rng.integers(0, 20, 2000), rng.integers(0, 10, 2000)
    split = np.array(divided("random:0.25", user.tolist(), item.tolist(), None))
    sides: dict[tuple[int, int], set[int]] = {}
    for one in zip(user, item, split, strict=True):
        sides.setdefault((one[0], one[1]), set()).add(one[2])
    assert all(len(found) == 1 for found in sides.values())


def test_at_random_purchases_stay_on_their_side_when_users_and_items_come() -> None:
    few_users, few_items = IdTable.of(["b", "d"]), IdTable.of([f"{number:03d}" for number in range(0, 100, 2)])
    more_users, more_items = IdTable.of(["a", "b", "c", "d"]), IdTable.of([f"{number:03d}" for number in range(100)])
    rule = Rule.parse("random:0.25")
    user, item = (np.array(one, np.int32) for one in grid(2, 50))
    before = divide(rule, few_users, few_items, user, item, None, 7)
    after = divide(rule, more_users, more_items, user * 2 + 1, item * 2, None, 7)
    assert np.array_equal(before, after)


def test_another_seed_is_another_split() -> None:
    user, item = grid(20, 20)
    assert divided("random", user, item, None, seed=1) == divided("random", user, item, None, seed=1)
    assert divided("random", user, item, None, seed=1) != divided("random", user, item, None, seed=2)


def test_the_random_split_is_the_same_on_every_machine_and_in_every_version() -> None:
    assert divided("random", *grid(4, 4), None) == [1, 0, 0, 2, 2, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 1]


@pytest.mark.parametrize("seed", range(20))
def test_two_pairs_are_enough_for_a_train_and_a_test(seed: int) -> None:
    split = divided("random", [0, 1, 0], [0, 0, 0], None, seed=seed)
    assert {TRAIN, TEST} <= set(split)
    assert split[0] == split[2]


def test_one_pair_cannot_be_divided() -> None:
    with pytest.raises(BadDataError, match="only one pair of a user and an item among 2 purchases"):
        divided("random", [0, 0], [0, 0], None)


@pytest.mark.parametrize("rule", ["time:0.2", "last:1", "random:0.3"])
def test_what_lists_have_led_to_is_for_training_alone_and_moves_no_cut(rule: str) -> None:
    user, item = grid(10, 10)
    time = None if rule.startswith("random") else [place // 10 + 10 * (place % 10) for place in range(100)]
    plain = divided(rule, user, item, time)
    # Each user is led to more, later than all else and between it.
    more = list(range(10)) * 2
    later = None if time is None else [*time, *[500] * 10, *[45] * 10]
    split = with_led(rule, user + more, item + [10] * 10 + [11] * 10, later, [0] * 100 + [1] * 20)
    assert set(split[100:]) == {TRAIN}
    assert split[:100] == plain
    assert {TRAIN, VALIDATION, TEST} <= set(plain)


@pytest.mark.parametrize(
    ("rule", "time", "said"),
    [
        ("time:0.1", [5, 5, 7, 9], r"all 2 happened at the same time \(2 more came from lists"),
        (
            "last:1",
            [1, 2, 3, 4],
            r"\(2 users, 2 purchases\) \(2 more came from lists of recommendations, and are never",
        ),
        ("random:0.25", None, r"only one pair of a user and an item among 2 purchases \(2 more came from lists"),
    ],
)
def test_too_little_without_what_lists_have_led_to_is_said(rule: str, time: list[int] | None, said: str) -> None:
    user = [0, 1, 0, 0] if rule == "last:1" else [0, 0, 0, 0]
    with pytest.raises(BadDataError, match=said):
        with_led(rule, user, [1, 1, 2, 3], time, [0, 0, 1, 1])


def test_nothing_but_what_lists_have_led_to_cannot_be_divided() -> None:
    with pytest.raises(BadDataError, match=r"no pair of a user and an item among 0 purchases \(2 more"):
        with_led("random:0.25", [0, 1], [0, 1], None, [1, 1])


def test_other_events_do_not_move_the_cut_and_fall_on_its_sides() -> None:
    goal = [1, 0, 1, 0, 1, 1, 0, 0, 0, 0]
    split = with_others("time:0.25", [0] * 10, [0] * 10, list(range(10)), goal)
    assert split == [TRAIN, TRAIN, TRAIN, TRAIN, VALIDATION, *[TEST] * 5]


def test_the_last_purchases_of_a_user_are_held_out_and_no_later_event_is_known() -> None:
    #        purchase 1, view 2, purchase 3, view 4, purchase 5, view 6; another user has a view at the end only
    user, time, goal = [0, 0, 0, 0, 0, 0, 1], [1, 2, 3, 4, 5, 6, 9], [1, 0, 1, 0, 1, 0, 0]
    split = with_others("last:1", user, [0] * 7, time, goal)
    assert split == [TRAIN, TRAIN, VALIDATION, VALIDATION, TEST, TEST, TRAIN]


def test_by_chance_all_events_of_a_pair_fall_together_and_purchases_are_on_both_sides() -> None:
    users, items = [0, 0, 1, 1, 1], [0, 0, 1, 1, 2]
    split = with_others("random:0.4", users, items, None, [1, 0, 1, 0, 0])
    assert split[0] == split[1]
    assert split[2] == split[3]
    assert {split[0], split[2]} == {TRAIN, TEST}


def test_views_alone_leave_nothing_to_judge_by() -> None:
    with pytest.raises(BadDataError, match=r"1 users?, 1 purchases"):
        with_others("last:1", [0] * 4, [0] * 4, [1, 2, 3, 4], [1, 0, 0, 0])
