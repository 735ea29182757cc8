from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import families
from steps.models.als import ALS, DAY, ALSSettings, confidence, first_vectors
from steps.models.factors import FoldIn
from steps.models.ids import IdTable
from steps.models.interactions import Details, History, Interactions
from steps.models.least_squares import blocks, solve_side
from steps.runtime.errors import CheckFailedError, UsageError

Ids = Callable[[str, int], IdTable]


def test_the_withheld_square_of_a_checkerboard_is_found(checkerboard: Interactions) -> None:
    model = ALS(ALSSettings(factors=2, regularization=0.1, alpha=5)).fit(checkerboard, seed=1)
    found = model.recommend(np.arange(50, dtype=np.int32), 1, checkerboard.matrix)
    assert found.items[:, 0].tolist() == list(range(50))


def test_progress_is_reported_once_an_iteration(checkerboard: Interactions) -> None:
    seen: list[tuple[int, int]] = []
    ALS(ALSSettings(factors=2, iterations=3)).fit(checkerboard, report=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_dislike_pushes_an_item_down(ids: Callable[[str, int], IdTable]) -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 40, 400), rng.integers(0, 10, 400)
    weight = np.where(item == 7, -1.0, 1.0)
    liked = Interactions.of(ids("u", 40), ids("i", 10), user, item, np.ones(400))
    disliked = Interactions.of(ids("u", 40), ids("i", 10), user, item, weight)
    everybody, seventh = np.arange(40, dtype=np.int32), np.full(40, 7, np.int32)
    settings = ALSSettings(factors=4, regularization=1.0)
    with_likes = ALS(settings).fit(liked, seed=1).score(everybody, seventh).mean()
    with_dislikes = ALS(settings).fit(disliked, seed=1).score(everybody, seventh).mean()
    assert with_dislikes < with_likes - 0.3


@pytest.mark.parametrize("dislikes", [False, True], ids=["purchases", "with dislikes"])
def test_where_the_settings_coincide_it_is_the_model_of_implicit(ids: Ids, dislikes: bool) -> None:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    random = np.random.default_rng(3)
    user, item, weight = random.integers(0, 90, 900), random.integers(0, 40, 900), random.integers(1, 4, 900) * 1.0
    if dislikes:
        weight[::7] *= -1
    bought = Interactions.of(ids("u", 90), ids("i", 40), user, item, weight)
    ours = ALSSettings(
        factors=6, regularization=0.7, alpha=2.0, unobserved=1.0, exponent=0.0, repeats=1.0, iterations=5
    )
    with threadpool_limits(1, "blas"):
        theirs = AlternatingLeastSquares(
            factors=6, regularization=0.7, alpha=2.0, iterations=5, use_cg=False, dtype=np.float32, num_threads=1
        )
        theirs.user_factors, theirs.item_factors = first_vectors((90, 40), 6, seed=1)
        theirs.fit(bought.matrix, show_progress=False)
    expected = theirs.user_factors @ theirs.item_factors.T
    found = ALS(ours).fit(bought, seed=1).scorer.score_all(np.arange(90, dtype=np.int32))
    assert found == pytest.approx(expected, abs=2e-4)
    # Somebody new is found as implicit finds them.
    basket = sp.csr_matrix(np.isin(np.arange(40), [3, 9, 11]).astype(np.float32)[None])
    vector = theirs.recalculate_user(0, basket)
    folded = ALS(ours).fit(bought, seed=1).scorer.folded(basket)
    assert folded[0] == pytest.approx(np.ravel(vector) @ theirs.item_factors.T, abs=2e-4)


def test_the_loss_of_every_pair_is_at_its_least(ids: Ids) -> None:
    random = np.random.default_rng(0)
    weights = sp.csr_matrix(np.where(random.random((12, 9)) < 0.4, random.uniform(0.5, 2, (12, 9)), 0))
    other = random.normal(size=(9, 3)).astype(np.float32)
    how = FoldIn(1.0, 0.2, 0.3, exponent=0.5)
    found = np.empty((12, 3), np.float32)
    solve_side(found, other, weights.astype(np.float32), how, workers=2)
    for row in range(12):
        confidence = weights.toarray()[row]
        weight = np.where(confidence > 0, confidence, 0.2)
        penalty = 0.3 * ((confidence > 0).sum() + 0.2 * 9) ** 0.5
        expected = np.linalg.solve(
            (other.T * weight) @ other + penalty * np.eye(3), (other.T * weight) @ (confidence > 0)
        )
        assert found[row] == pytest.approx(expected, rel=1e-3)


def test_the_same_bytes_come_of_any_number_of_workers(checkerboard: Interactions) -> None:
    other = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    one, many = np.empty((50, 4), np.float32), np.empty((50, 4), np.float32)
    how = FoldIn(1.0, 0.1, 0.1)
    solve_side(one, other, checkerboard.matrix, how, workers=1)
    solve_side(many, other, checkerboard.matrix, how, workers=4)
    assert one.tobytes() == many.tobytes()


def test_blocks_hold_every_row_once_and_stay_small() -> None:
    random = np.random.default_rng(0)
    matrix = sp.random_array((5000, 300), density=0.1, rng=random, format="csr")
    long = sp.csr_matrix(np.ones((1, 300)))
    rows = list(blocks(sp.csr_matrix(sp.vstack([long, matrix])), 128))
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(5001))
    assert len(rows) > 10


def test_a_long_gone_purchase_counts_less(ids: Ids) -> None:
    days = np.array([0, 90, 30, 90], np.int64) * DAY
    user, item = np.array([0, 0, 1, 1], np.int32), np.array([0, 1, 0, 0], np.int32)
    history = History(user, item, np.ones(4, np.float32), days)
    nothing = sp.csr_matrix((0, 0), dtype=np.float32)
    details = Details(lambda: history, lambda: nothing, lambda: nothing)
    bought = Interactions.of(ids("u", 2), ids("i", 2), user, item, np.ones(4), details)
    assert confidence(bought, ALSSettings(half_life=30)).data == pytest.approx([0.125, 1.0, 1.0])
    assert confidence(bought, ALSSettings()).data == pytest.approx([1.0, 1.0, 1.0])


def test_repeats_count_as_the_settings_say(ids: Ids) -> None:
    bought = Interactions.of(ids("u", 1), ids("i", 3), np.array([0, 0, 0]), np.arange(3), np.array([0.5, 1.0, 3.0]))
    assert confidence(bought, ALSSettings(alpha=2)).data.tolist() == [1, 2, 2]
    assert confidence(bought, ALSSettings(alpha=2, repeats=1)).data.tolist() == [1, 2, 6]


def test_factors_that_are_not_finite_fail_the_training(
    checkerboard: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full((50, 2), np.nan, np.float32)
    monkeypatch.setattr(ALS, "vectors", lambda *arguments: (broken, broken))
    with pytest.raises(CheckFailedError, match="not finite"):
        ALS().fit(checkerboard)


@pytest.mark.parametrize(
    "text",
    [
        "als.factors=0",
        "als.iterations=0",
        "als.regularization=nan",
        "als.alpha=0",
        "als.unobserved=-1",
        "als.repeats=-1",
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=text.partition("=")[0].replace(".", r"\.")):
        families.make("als", text)
