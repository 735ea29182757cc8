from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import families, large_least_squares, least_squares
from steps.models.als import ALS, DAY, ALSSettings, confidence, first_vectors
from steps.models.fold_in import FoldIn
from steps.models.ids import IdTable
from steps.models.interactions import Details, History, Interactions
from steps.models.large_least_squares import LargeSides, compiling_pays, shares
from steps.models.least_squares import Sides, blocks, solve_side
from steps.models.recommender import Floats
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
        theirs.user_factors, theirs.item_factors = np.zeros((90, 6), np.float32), first_vectors(40, 6, seed=1)
        theirs.fit(bought.matrix, show_progress=False)
    expected = theirs.user_factors @ theirs.item_factors.T
    found = ALS(ours).fit(bought, seed=1).scorer.score_all(np.arange(90, dtype=np.int32))
    assert found == pytest.approx(expected, abs=2e-4)
    # Somebody new is found as implicit finds them.
    basket = sp.csr_matrix(np.isin(np.arange(40), [3, 9, 11]).astype(np.float32)[None])
    vector = theirs.recalculate_user(0, basket)
    folded = ALS(ours).fit(bought, seed=1).scorer.folded(basket)
    assert folded[0] == pytest.approx(np.ravel(vector) @ theirs.item_factors.T, abs=2e-4)


SYSTEMS = {
    "defaults": (FoldIn(1.0, 0.3, 0.5, 0.5), 1.0),
    "the example's": (FoldIn(1.0, 1.0, 0.01), 1.0),
    "sure purchases": (FoldIn(40.0, 1.0, 10.0), 40.0),
    "what never met counts nothing": (FoldIn(1.0, 0.0, 0.3, 0.5), 1.0),
    "barely kept small": (FoldIn(1.0, 0.003, 0.01), 1.0),
}


@pytest.fixture
def pairs() -> sp.csr_matrix:
    """300 users × 80 items: purchases of different weights, some dislikes, a user with all items and one with none."""
    random = np.random.default_rng(0)
    bought = random.random((300, 80)) < random.beta(0.5, 4, (300, 1))
    bought[17], bought[18] = True, False
    weights = np.where(bought, random.uniform(0.5, 3, bought.shape), 0)
    return sp.csr_matrix(np.where(random.random(bought.shape) < 0.1, -weights, weights), dtype=np.float32)


@pytest.fixture
def other() -> Floats:
    """Vectors of which some axes say far more than others, as those that are learned."""
    random = np.random.default_rng(1)
    return (random.normal(size=(80, 12)) * np.geomspace(2, 0.02, 12)).astype(np.float32)


WAYS = ["by numpy", "users, compiled", "items, compiled"]


def solved(pairs: sp.csr_matrix, other: Floats, how: FoldIn, way: str, workers: int = 2) -> tuple[Floats, Floats]:
    """The vectors of all rows, and those of the columns along the same axes."""
    with ThreadPoolExecutor(workers) as pool:
        if way == "by numpy":
            turned, found = other.copy(), np.zeros((pairs.shape[0], other.shape[1]), np.float32)
            solve_side(found, turned, pairs, how, pool)
            return found, turned
        if way == "users, compiled":
            sides = LargeSides.of(pairs, other, how.unobserved)
            sides.improve_users(how, pool)
            return sides.vectors()
        nothing = np.zeros((pairs.shape[0], other.shape[1]), np.float32)
        sides = LargeSides.of(pairs.T.tocsr(), nothing, how.unobserved)
        sides.users[:, : other.shape[1]] = other
        sides.improve_items(how, pool)
        turned, found = sides.vectors()
        return found, turned


def at_the_least_loss(pairs: sp.csr_matrix, other: Floats, how: FoldIn) -> Floats:
    """All scores by the vectors that make the loss of all pairs the least, one row after the other."""
    found, vectors = np.zeros(pairs.shape), other.astype(np.float64)
    for row in np.flatnonzero(np.diff(pairs.indptr)):
        sure = pairs[[row]].toarray()[0].astype(np.float64)
        weight = np.where(sure != 0, np.abs(sure), how.unobserved)
        strength = how.strength((sure != 0).sum(), len(vectors))
        system = (vectors.T * weight) @ vectors + strength * np.eye(vectors.shape[1])
        found[row] = vectors @ np.linalg.solve(system, vectors.T @ np.maximum(sure, 0))
    return found


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", SYSTEMS)
def test_the_loss_of_every_pair_is_at_its_least(name: str, way: str, pairs: sp.csr_matrix, other: Floats) -> None:
    how, alpha = SYSTEMS[name]
    found, turned = solved(pairs * np.float32(alpha), other, how, way)
    assert found @ turned.T == pytest.approx(at_the_least_loss(pairs * alpha, other, how), abs=1e-3)
    assert not found[18].any()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("width", [1, 12])
def test_odd_customers_and_products_are_solved_like_others(width: int, way: str, other: Floats) -> None:
    """One who bought 2,000 times, one who never bought, a product of everybody and one of nobody, both ways round."""
    how, random = SYSTEMS["the example's"][0], np.random.default_rng(5)
    bought = (random.random((60, 80)) < 0.05).astype(np.float32)
    bought[3], bought[4], bought[:, 7], bought[:, 9] = 2000 / 80, 0, 1, 0
    for table, vectors in ((bought, other), (bought.T, other[:60])):
        pairs = sp.csr_matrix(np.ascontiguousarray(table))
        found, turned = solved(pairs, np.ascontiguousarray(vectors[:, :width]), how, way)
        best = at_the_least_loss(pairs, vectors[:, :width], how)
        assert found @ turned.T == pytest.approx(best, abs=1e-3)
        assert not found[~table.any(axis=1)].any()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("apart", [0.0, 1e-5, 1e-2])
def test_products_that_are_nearly_the_same_do_not_make_a_sure_row_wrong(way: str, apart: float, other: Floats) -> None:
    """Two of them bought 2,000 times each, where purchases count 40 and hardly anything else does."""
    how, random = FoldIn(40.0, 0.01, 0.05), np.random.default_rng(0)
    twins = other.copy()
    twins[1] = twins[0] * (1 + apart)
    bought = np.where(random.random((50, 80)) < 0.02, np.float32(40), np.float32(0))
    bought[7, :2] = 40 * 2000
    found, turned = solved(sp.csr_matrix(bought), twins, how, way)
    assert found @ turned.T == pytest.approx(at_the_least_loss(sp.csr_matrix(bought), twins, how), abs=5e-3)


@pytest.mark.parametrize("way", WAYS)
def test_turning_changes_no_score(way: str, pairs: sp.csr_matrix, other: Floats) -> None:
    _, turned = solved(pairs, other, SYSTEMS["defaults"][0], way)
    assert turned @ turned.T == pytest.approx(other @ other.T, abs=1e-4)
    assert np.abs(turned - other).max() > 0.1


@pytest.mark.parametrize(
    ("name", "way"),
    [("LONGEST", "by numpy"), *(("MOST_STEPS", way) for way in WAYS)],
    ids=["long rows", *(f"slow rows, {way}" for way in WAYS)],
)
def test_what_is_solved_directly_is_the_same(
    name: str, way: str, pairs: sp.csr_matrix, other: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, _ = SYSTEMS["defaults"]
    by_steps, turned = solved(pairs, other, how, way)
    limits = {"LONGEST": 1, "MOST_STEPS": 0}
    for module in (least_squares, large_least_squares):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, limits[name])
    monkeypatch.setattr(least_squares, "BLOCK_FLOATS", 1)
    monkeypatch.setattr(least_squares, "ROWS_AT_ONCE", 30)
    directly, turned_too = solved(pairs, other, how, way)
    assert directly.tobytes() != by_steps.tobytes()
    assert directly @ turned_too.T == pytest.approx(by_steps @ turned.T, abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_bytes_come_of_any_number_of_workers(
    way: str, pairs: sp.csr_matrix, other: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(least_squares, "BLOCK_FLOATS", 1000)
    for module in (least_squares, large_least_squares):
        monkeypatch.setattr(module, "ROWS_AT_ONCE", 7)
    one, many = (solved(pairs, other, SYSTEMS["defaults"][0], way, workers) for workers in (1, 4))
    assert [array.tobytes() for array in one] == [array.tobytes() for array in many]


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_where_a_row_begins_does_not_change_where_it_ends(
    warm: bool, pairs: sp.csr_matrix, other: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_least_squares, "MANY", 0 if warm else 2)
    how = SYSTEMS["defaults"][0]
    sides = LargeSides.of(pairs, other, how.unobserved)
    sides.users[:, :12] = 1
    with ThreadPoolExecutor(2) as pool:
        sides.improve_users(how, pool)
    users, items = sides.vectors()
    assert users @ items.T == pytest.approx(at_the_least_loss(pairs, other, how), abs=1e-3)


def test_both_solvers_train_the_same_model(pairs: sp.csr_matrix) -> None:
    how = SYSTEMS["defaults"][0]
    first = first_vectors(80, 20, seed=3)
    sides = [Sides.of(pairs, first), LargeSides.of(pairs, first, how.unobserved)]
    for one in sides:
        for _ in range(4):
            one.improve(how, 2)
    by_numpy, compiled = (users @ items.T for users, items in (one.vectors() for one in sides))
    assert compiled == pytest.approx(by_numpy, abs=1e-3)
    assert np.abs(by_numpy).max() > 0.5


def test_a_pair_that_counts_like_those_that_never_met_is_no_extra(pairs: sp.csr_matrix) -> None:
    bought = sp.csr_matrix(np.array([[1, 0, 2], [0, 0, 0], [0, -1, 1]], np.float32))
    sides = LargeSides.of(bought, np.ones((3, 2), np.float32), 1.0)
    assert (sides.extras.starts.tolist(), sides.extras.columns.tolist()) == ([0, 1, 1, 1], [2])
    assert (sides.transposed.starts.tolist(), sides.transposed.columns.tolist()) == ([0, 0, 0, 1], [0])
    assert sides.extras.values.tolist() == sides.transposed.values.tolist() == [1]
    assert sides.sure.values.tolist() == [1, 2, 0, 1]
    assert [lengths.tolist() for lengths in sides.lengths] == [[2, 0, 2], [1, 1, 2]]


def test_the_sides_come_back_in_the_order_they_came_in(pairs: sp.csr_matrix) -> None:
    items = first_vectors(80, 5, seed=3)
    sides = Sides.of(pairs, items)
    sides.users[:] = sides.user_order[:, None]
    assert (np.diff(np.diff(sides.weights.indptr)) >= 0).all()
    assert (np.diff(np.diff(sides.transposed.indptr)) >= 0).all()
    assert [array.tolist() for array in sides.vectors()] == [[[row] * 5 for row in range(300)], items.tolist()]
    ordered = pairs.toarray()[sides.user_order][:, sides.item_order]
    assert np.array_equal(sides.weights.toarray(), ordered)
    assert np.array_equal(sides.transposed.toarray(), ordered.T)


def test_the_first_vectors_are_small_and_depend_on_the_seed() -> None:
    first, other = first_vectors(500, 3, seed=1), first_vectors(500, 3, seed=2)
    assert np.std(first) == pytest.approx(0.1 / np.sqrt(3), rel=0.1)
    assert first.tobytes() == first_vectors(500, 3, seed=1).tobytes() != other.tobytes()


def test_blocks_hold_every_row_once_and_stay_small() -> None:
    lengths = np.sort(np.random.default_rng(0).integers(0, 60, 5000))
    lengths[-1] = 100_000
    found = list(blocks(lengths, 128))
    assert np.array_equal(np.concatenate([np.arange(5000)[rows] for rows in found]), np.arange(5000))
    assert found[-1] == slice(4999, 5000)
    held = [128 * int(lengths[rows].max()) * (rows.stop - rows.start) for rows in found[:-1]]
    assert max(held) <= least_squares.BLOCK_FLOATS
    assert len(found) < 150


def test_shares_hold_every_row_once_and_about_the_same_work() -> None:
    lengths = np.random.default_rng(0).geometric(0.02, 10_000)
    lengths[:50] = 0
    starts = np.concatenate([[0], np.cumsum(lengths)])
    found = list(shares(starts))
    assert np.array_equal(np.concatenate([np.arange(10_000)[rows] for rows in found]), np.arange(10_000))
    work = [lengths[rows].sum() + rows.stop - rows.start for rows in found]
    assert len(found) == large_least_squares.SHARES
    assert max(work) < 1.2 * min(work)
    assert [len(list(shares(np.zeros(rows + 1, np.int64)))) for rows in (0, 1, 3)] == [0, 1, 3]


def test_numba_compiles_only_where_that_is_won_back() -> None:
    assert not compiling_pays(100_000, 64, 15)
    assert compiling_pays(1_000_000, 64, 15)


def test_without_regularization_too_few_items_leave_vectors_open(ids: Ids) -> None:
    bought = Interactions.of(ids("u", 3), ids("i", 2), np.arange(3), np.arange(3) % 2, np.ones(3))
    with pytest.raises(CheckFailedError, match="a vector is not determined; try more regularization"):
        ALS(ALSSettings(factors=8, regularization=0)).fit(bought)


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
