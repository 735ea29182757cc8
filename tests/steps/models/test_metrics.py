"""Every expected value is worked out by hand from two users.

The first is shown five items and hits at places 1 and 3 of the three that it bought; the second hits nothing of one.
"""

from __future__ import annotations

from math import log2

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats

from steps.models import metrics
from steps.models.rules import METRICS

HITS = np.array([[True, False, True, False, False], [False] * 5])
RELEVANT = np.array([3, 1])


def test_precision_is_hits_over_places() -> None:
    assert metrics.precision(HITS, RELEVANT).tolist() == [2 / 5, 0]


def test_recall_is_hits_over_what_was_bought() -> None:
    assert metrics.recall(HITS, RELEVANT).tolist() == [2 / 3, 0]


def test_hit_rate_is_one_for_any_hit() -> None:
    assert metrics.hit_rate(HITS, RELEVANT).tolist() == [1, 0]


def test_ndcg_discounts_places_and_divides_by_the_ideal() -> None:
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert metrics.ndcg(HITS, RELEVANT) == pytest.approx([(1 + 1 / log2(4)) / ideal, 0])


def test_ndcg_of_a_perfect_list_is_one_also_when_more_was_bought_than_shown() -> None:
    assert metrics.ndcg(np.ones((1, 2), bool), np.array([9])) == pytest.approx([1])


def test_average_precision_sums_precision_at_hits() -> None:
    assert metrics.average_precision(HITS, RELEVANT) == pytest.approx([(1 / 1 + 2 / 3) / 3, 0])


def test_average_precision_divides_by_places_when_more_was_bought_than_fits() -> None:
    assert metrics.average_precision(np.ones((1, 2), bool), np.array([9])) == pytest.approx([1])


def test_hits_are_found_row_by_row_and_an_empty_place_is_none() -> None:
    shown = np.array([[0, 2, -1], [0, 1, -1]], np.int32)
    bought = sp.csr_matrix(np.array([[1, 0, 1], [0, 0, 1]], np.float32))
    assert metrics.hits_of(shown, bought).tolist() == [[True, True, False], [False, False, False]]


def test_nobody_hits_where_nothing_was_bought() -> None:
    assert not metrics.hits_of(np.zeros((2, 2), np.int32), sp.csr_matrix((2, 3), dtype=np.float32)).any()


def test_coverage_is_the_share_of_the_catalogue_shown() -> None:
    assert metrics.coverage(np.array([[0, 1], [1, -1]]), items=8) == 2 / 8


def test_novelty_is_high_for_what_few_bought() -> None:
    buyers = np.array([7, 0])
    assert metrics.novelty(np.array([[0, -1]]), buyers, users=7) == 0
    assert metrics.novelty(np.array([[1, 1]]), buyers, users=7) == 3
    assert metrics.novelty(np.array([[-1]]), buyers, users=7) == 0


def test_the_bootstrap_interval_holds_the_mean_and_narrows_with_users() -> None:
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.1, 1, 100), rng.normal(0.1, 1, 10_000)
    low, high = metrics.bootstrap(many, seed=1)
    assert low < many.mean() < high
    # The interval of a mean is about ±1.96 standard errors: 0.0392 wide here.
    assert high - low == pytest.approx(2 * 1.96 / 100, rel=0.1)
    wide = metrics.bootstrap(few, seed=1)
    assert wide[1] - wide[0] > 5 * (high - low)
    assert metrics.bootstrap(many, seed=1) == (low, high)


def test_every_metric_that_can_decide_is_defined() -> None:
    assert tuple(metrics.PER_USER) == METRICS


def test_an_interval_is_that_of_the_bootstrap() -> None:
    values = np.random.default_rng(1).beta(0.3, 1.2, 800)
    low, high = metrics.interval(values)
    drawn_low, drawn_high = metrics.bootstrap(values, seed=3)
    assert low == pytest.approx(drawn_low, abs=0.1 * (high - low))
    assert high == pytest.approx(drawn_high, abs=0.1 * (high - low))
    assert low < values.mean() < high


def test_an_interval_stays_within_what_is_possible() -> None:
    assert metrics.interval(np.array([0.7])) == (0.0, 1.0)
    assert metrics.interval(np.array([0.0, 0.0, 0.0, 0.0, 1.0]))[0] == 0.0
    assert metrics.interval(np.array([1.0, 1.0, 1.0, 1.0, 0.0]))[1] == 1.0


def test_the_interval_of_few_users_is_students_and_a_handful_has_none() -> None:
    values = np.array([0.4, 0.5, 0.45, 0.5, 0.6, 0.55])
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert metrics.interval(values) == pytest.approx(tuple(expected))
    assert metrics.interval(np.zeros(3)) == metrics.interval(np.full(4, 0.5)) == (0.0, 1.0)


def test_exposure_is_the_share_of_places_of_the_most_bought() -> None:
    # Item 2 is bought most, then 0, then 1 and 3; of six places it has three, and an empty place is none.
    shown = np.array([[2, 0], [2, 1], [2, 3], [-1, -1]], np.int32)
    buyers = np.array([5, 1, 9, 1])
    assert metrics.exposure(shown, buyers, [0.01, 0.25, 0.5, 1]) == pytest.approx([3 / 6, 3 / 6, 4 / 6, 1])
    assert metrics.exposure(np.full((2, 2), -1, np.int32), buyers, [0.5, 1]) == [0.0, 0.0]


def test_gini_is_zero_where_all_are_shown_alike_and_high_where_one_is_shown_alone() -> None:
    assert metrics.gini(np.array([[0, 1], [2, 3]], np.int32), 4) == pytest.approx(0)
    assert metrics.gini(np.array([[1], [1], [1]], np.int32), 4) == pytest.approx(0.75)
    # Places 0, 0, 1, 3: by the definition, the mean difference of all pairs over twice the mean.
    assert metrics.gini(np.array([[1], [1], [1], [2]], np.int32), 4) == pytest.approx((1 + 3 + 1 + 3 + 2) * 2 / 16 / 2)
    assert metrics.gini(np.array([[-1]], np.int32), 4) == 0.0
