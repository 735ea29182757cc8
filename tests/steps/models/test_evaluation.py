from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import evaluation
from steps.models.evaluation import LIVE, POPULARITY, Decision, Measured
from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.rules import Rules
from steps.models.scorer import Shared

RULES = Rules("recall", 2, tolerance=0.1)


def matrix(rows: list[list[float]]) -> sp.csr_matrix:
    return sp.csr_matrix(np.array(rows, np.float32))


def recalls(*values: float) -> Measured:
    """A model whose recall@2 is the given value for each user, each of whom bought 100 items."""
    hits = np.array([[value >= 0.01, value >= 0.02] for value in values])
    return Measured(np.zeros((len(values), 2), np.int32), hits, np.full(len(values), 100))


def decide_by(rules: Rules, candidates: Mapping[str, Measured], bars: Mapping[str, Measured]) -> Decision:
    return evaluation.decide(rules, candidates, bars, seed=1)


def decide(candidates: Mapping[str, Measured], bars: Mapping[str, Measured]) -> Decision:
    return decide_by(RULES, candidates, bars)


def test_only_new_purchases_of_the_test_period_count() -> None:
    train = matrix([[1, 0, 0], [1, 0, 0], [0, 0, 0]])
    test = matrix([[1, 2, 0], [1, 0, 0], [0, 0, -1]])
    held = evaluation.held_out(train, test, most=10, seed=0)
    assert held.users.tolist() == [0]
    assert held.bought.toarray().tolist() == [[0, 1, 0]]
    assert held.before.toarray().tolist() == [[1, 0, 0]]
    assert held.relevant.tolist() == [1]


def test_more_users_than_asked_for_are_drawn_by_the_seed() -> None:
    train, test = matrix([[0, 0]] * 100), matrix([[1, 0]] * 100)
    first = evaluation.held_out(train, test, most=10, seed=1).users
    assert len(set(first.tolist())) == 10
    assert evaluation.held_out(train, test, most=10, seed=1).users.tolist() == first.tolist()
    assert evaluation.held_out(train, test, most=10, seed=2).users.tolist() != first.tolist()


def factors(users: IdTable, items: IdTable, scores: list[list[float]]) -> Factors:
    values = np.array(scores, np.float32)
    shared = Shared(users, items, np.ones(len(users), bool), values.mean(0))
    return Factors(shared, values, np.eye(len(items), dtype=np.float32))


def test_a_model_of_another_snapshot_is_asked_in_its_own_ids() -> None:
    mine, theirs = IdTable.of(["a", "b"]), IdTable.of(["b", "z"])
    items, their_items = IdTable.of(["w", "x", "y"]), IdTable.of(["old", "x", "y"])
    held = evaluation.held_out(matrix([[0, 0, 0], [0, 1, 0]]), matrix([[0, 0, 1], [0, 0, 1]]), 10, 0)
    live = factors(theirs, their_items, [[0.9, 0.8, 0.7], [0, 0, 0]])
    found = evaluation.measure_foreign(live, mine, items, held, 2)
    # b: "old" cannot be a hit but takes a place; x was bought before; so y comes second.
    assert found.hits.tolist() == [[False, False], [False, True]]
    # a is unknown there and gets its popular items: old and x.
    assert found.shown.tolist() == [[-1, 1], [-1, 2]]


def test_the_best_candidate_wins_and_must_beat_popularity() -> None:
    strong, weak = recalls(*[0.02] * 5), recalls(*[0.01] * 5)
    decision = decide({"als": strong, "popularity": weak}, {POPULARITY: weak})
    assert (decision.winner, decision.promote) == ("als", True)
    refused = decide({"als": weak}, {POPULARITY: weak})
    assert (refused.winner, refused.promote) == ("als", False)
    assert "does not beat popularity" in refused.reason


@pytest.mark.parametrize(("live", "promote"), [([0.02] * 20, True), ([0.02] * 10 + [0.01] * 10, True)])
def test_a_candidate_within_the_tolerance_of_live_goes_live(live: list[float], promote: bool) -> None:
    candidate = recalls(*[0.02] * 17, *[0.01] * 3)  # mean 0.0185, 7.5 % below 0.02
    bars = {POPULARITY: recalls(*[0.0] * 20), LIVE: recalls(*live)}
    assert decide({"als": candidate}, bars).promote is promote


def test_a_candidate_worse_than_live_by_more_than_the_tolerance_stays_out() -> None:
    candidate = recalls(*[0.02] * 15, *[0.01] * 5)  # mean 0.0175, 12.5 % below 0.02
    bars = {POPULARITY: recalls(*[0.0] * 20), LIVE: recalls(*[0.02] * 20)}
    decision = decide({"als": candidate}, bars)
    assert not decision.promote
    assert "worse than the live model" in decision.reason


def test_a_figure_that_was_demanded_alone_suffices() -> None:
    rules = Rules("recall", 2, 0.1, floor=("hit_rate", 1, 0.9))
    bars = {POPULARITY: recalls(0.02, 0.02)}
    assert decide_by(rules, {"als": recalls(0.01, 0.01)}, bars).promote
    assert not decide_by(rules, {"als": recalls(0.0, 0.01)}, bars).promote


def test_popularity_goes_live_where_nothing_is_and_nothing_beats_it() -> None:
    found = {"popularity": recalls(0.02), "als": recalls(0.01)}
    decision = decide(found, {POPULARITY: found["popularity"]})
    assert (decision.winner, decision.promote) == ("popularity", True)
    assert "no model beats popularity" in decision.reason


def test_a_model_that_only_equals_popularity_gives_way_to_it() -> None:
    same = recalls(0.0)
    decision = decide({"als": same, "popularity": same}, {POPULARITY: same})
    assert (decision.winner, decision.promote) == ("popularity", True)


def test_popularity_replaces_only_a_live_model_that_fell_behind_it() -> None:
    popular = recalls(*[0.02] * 5)
    bars = {POPULARITY: popular, LIVE: recalls(*[0.01] * 5)}
    assert decide({"popularity": popular}, bars).promote
    bars[LIVE] = recalls(*[0.02] * 5)
    assert not decide({"popularity": popular}, bars).promote


AHEAD_BY_CHANCE = recalls(*[0.02] * 6, *[0.0] * 34)
POPULAR = recalls(*[0.0] * 30, *[0.02] * 5, *[0.0] * 5)
SURELY_AHEAD = recalls(*[0.0] * 30, *[0.02] * 5, *[0.01] * 5)
"""Means of 0.003, 0.0025 and 0.00375; the last is ahead for five users and behind for none."""


def test_a_lead_that_may_be_chance_is_no_lead() -> None:
    decision = decide({"als": AHEAD_BY_CHANCE}, {POPULARITY: POPULAR})
    assert (decision.winner, decision.promote) == ("als", False)
    said = "als has recall@2 0.0030 and popularity 0.0025, but the difference may be chance: its interval is -0.00"
    assert decision.reason.startswith(said), decision.reason
    again = decide({"als": AHEAD_BY_CHANCE}, {POPULARITY: POPULAR, LIVE: recalls(*[0.0] * 40)})
    assert not again.promote


def test_that_a_handful_of_users_was_better_served_may_be_chance() -> None:
    better, popular = recalls(*[0.02] * 4), recalls(*[0.0] * 4)
    decision = decide({"als": better, "popularity": popular}, {POPULARITY: popular})
    assert (decision.winner, decision.promote) == ("popularity", True)
    assert "als has recall@2 0.0200 and popularity 0.0000, but the difference may be chance" in decision.reason
    live = decide({"popularity": better}, {POPULARITY: better, LIVE: popular})
    assert not live.promote


def test_where_a_lead_may_be_chance_and_nothing_is_live_popularity_goes_live() -> None:
    decision = decide({"als": AHEAD_BY_CHANCE, "popularity": POPULAR}, {POPULARITY: POPULAR})
    assert (decision.winner, decision.promote) == ("popularity", True)
    assert decision.reason.startswith("no model surely beats popularity: als has recall@2 0.0030 and popularity 0.0025")


def test_a_model_that_is_surely_better_wins_over_one_that_may_be_ahead_by_chance() -> None:
    lucky = recalls(*[0.02] * 8, *[0.0] * 32)  # mean 0.004
    found = {"als": lucky, "ease": SURELY_AHEAD, "popularity": POPULAR}
    decision = decide(found, {POPULARITY: POPULAR})
    assert (decision.winner, decision.promote) == ("ease", True)
    assert decision.reason.startswith("ease has recall@2 0.0038 against popularity's 0.0025; als has recall@2 0.0040")


def test_popularity_replaces_no_live_model_by_chance() -> None:
    bars = {POPULARITY: AHEAD_BY_CHANCE, LIVE: POPULAR}
    decision = decide({"popularity": AHEAD_BY_CHANCE}, bars)
    assert not decision.promote
    assert "that the live model's 0.0025 is behind its recall@2 0.0030 may be chance" in decision.reason


def test_of_equal_candidates_the_first_by_name_wins() -> None:
    same = recalls(0.02)
    assert decide({"b": same, "a": same}, {POPULARITY: recalls(0.0)}).winner == "a"


def test_the_difference_comes_with_its_interval() -> None:
    bar = evaluation.against(RULES, recalls(*[0.02] * 50), recalls(*[0.01] * 50), seed=0)
    assert bar.mean == pytest.approx(0.01)
    assert (bar.difference, bar.low, bar.high) == pytest.approx((0.01, 0.01, 0.01))


def test_groups_cut_users_by_what_they_had_and_bought(ids: Callable[[str, int], IdTable]) -> None:
    train = matrix([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0]])
    test = matrix([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]])
    held = evaluation.held_out(train, test, 10, 0)
    groups = evaluation.slices(held, train.getnnz(axis=0))
    assert groups["new users"].tolist() == [True, False, False]
    assert groups["light users"].tolist() == [False, True, False]
    assert groups["heavy users"].tolist() == [False, False, True]
    assert groups["bought rare or new items"].tolist() == [False, True, True]
    assert groups["bought well-known items"].tolist() == [True, False, False]
