"""Every kind of scorer: saved and loaded, exported to TensorFlow, and asked for people whom it never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import scorers
from steps.models.factors import Factors, FoldIn
from steps.models.ids import UNKNOWN, IdTable
from steps.models.item_to_item import ItemToItem
from steps.models.recommender import NOBODY
from steps.models.scorer import ABOUT, Scorer, Shared, rows_of
from steps.runtime.errors import CheckFailedError

USERS, ITEMS = 7, 9
ALL = np.arange(ITEMS, dtype=np.int32)
Ids = Callable[[str, int], IdTable]


@pytest.fixture
def shared(ids: Ids) -> Shared:
    trained = np.arange(USERS) != 2
    return Shared(ids("u", USERS), ids("i", ITEMS), trained, np.linspace(0, 1, ITEMS, dtype=np.float32))


@pytest.fixture
def bought() -> sp.csr_matrix:
    random = np.random.default_rng(3)
    return sp.csr_matrix(random.random((USERS, ITEMS)) < 0.3).astype(np.float32)


def weights() -> np.ndarray:
    return np.random.default_rng(4).normal(size=(ITEMS, ITEMS)).astype(np.float32)


@pytest.fixture(params=["factors", "dense", "sparse", "some items"])
def scorer(request: pytest.FixtureRequest, shared: Shared, bought: sp.csr_matrix) -> Scorer:
    if request.param == "factors":
        random = np.random.default_rng(5)
        vectors = [random.normal(size=(count, 4)).astype(np.float32) for count in (USERS, ITEMS)]
        return Factors(shared, *vectors, FoldIn(2.0, 1.0, 0.5))
    matrix = weights()
    if request.param == "dense":
        return ItemToItem(shared, ALL, bought * np.float32(0.5), matrix, 0.5)
    if request.param == "some items":
        part = np.array([1, 4, 5, 7], np.int32)
        return ItemToItem(shared, part, sp.csr_matrix(bought[:, part]), matrix[np.ix_(part, part)])
    return ItemToItem(shared, ALL, bought, sp.csr_matrix(np.where(matrix > 0.5, matrix, 0)))


def codes(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def test_what_was_saved_answers_alike_from_mapped_files(scorer: Scorer, bought: sp.csr_matrix, tmp_path: Path) -> None:
    scorer.save(tmp_path / "there", bought)
    found, seen = scorers.load(tmp_path / "there")
    assert type(found) is type(scorer)
    assert (seen != bought.astype(bool)).nnz == 0
    asked = np.append(codes(USERS), UNKNOWN).astype(np.int32)
    expected, answered = scorer.recommend(asked, 4), found.recommend(asked, 4)
    assert (answered.items == expected.items).all()
    assert (answered.scores == expected.scores).all()
    basket = np.array([1, 5], np.int32)
    assert (found.recommend_for(basket, 3).items == scorer.recommend_for(basket, 3).items).all()


def test_pairs_have_the_scores_of_the_whole_row(scorer: Scorer) -> None:
    user, item = np.divmod(np.random.default_rng(0).permutation(USERS * ITEMS), ITEMS)
    found = scorer.score(user.astype(np.int32), item.astype(np.int32))
    assert found == pytest.approx(scorer.score_all(codes(USERS))[user, item], rel=1e-5, abs=1e-6)


def test_the_saved_model_answers_alike(scorer: Scorer, bought: sp.csr_matrix, tmp_path: Path) -> None:
    from steps.models.quiet_tensorflow import tf
    from steps.models.saved_model import export

    export(scorer, bought, tmp_path / "model")
    served = tf.saved_model.load(str(tmp_path / "model")).signatures
    names = [*scorer.users, "a stranger"]
    asked = np.append(codes(USERS), UNKNOWN).astype(np.int32)
    expected = scorer.recommend(asked, ITEMS + 1, rows_of(bought, asked))
    found = served["recommend"](users=tf.constant(names), k=tf.constant(ITEMS + 1))
    ids = [["" if code == NOBODY else scorer.items[int(code)] for code in row] for row in expected.items]
    assert [[one.decode() for one in row] for row in found["items"].numpy()] == ids
    assert found["scores"].numpy() == pytest.approx(expected.scores, rel=1e-4, abs=1e-5)
    user, item = np.divmod(np.arange(USERS * ITEMS), ITEMS)
    pairs = served["predict"](
        users=tf.constant([scorer.users[int(one)] for one in user]),
        products=tf.constant([scorer.items[int(one)] for one in item]),
    )
    assert pairs["predictions"].numpy() == pytest.approx(
        scorer.score(user.astype(np.int32), item.astype(np.int32)), rel=1e-4, abs=1e-5
    )


def test_somebody_who_bought_what_a_user_bought_gets_what_the_user_gets(shared: Shared, bought: sp.csr_matrix) -> None:
    scorer = ItemToItem(shared, ALL, bought, weights())
    expected = scorer.recommend(np.array([3], np.int32), 5, bought[[3]])
    found = scorer.recommend_for(bought[[3]].indices, 5)
    assert (found.items == expected.items).all()
    assert found.scores == pytest.approx(expected.scores)
    assert found.known.tolist() == [True]


def test_a_vector_is_folded_in_as_least_squares_have_it(shared: Shared) -> None:
    random = np.random.default_rng(5)
    items = random.normal(size=(ITEMS, 3)).astype(np.float32)
    scorer = Factors(shared, np.ones((USERS, 3), np.float32), items, FoldIn(5.0, 0.25, 2.0, exponent=0.5))
    history = np.array([2, 6])
    found = scorer.folded(sp.csr_matrix((np.ones(2), history, [0, 2]), (1, ITEMS)))
    weight, wanted = np.full(ITEMS, 0.25), np.zeros(ITEMS)
    weight[history], wanted[history] = 5.0, 1.0
    penalty = 2.0 * (2 + 0.25 * ITEMS) ** 0.5
    vector = np.linalg.solve((items.T * weight) @ items + penalty * np.eye(3), (items.T * weight) @ wanted)
    assert found is not None
    assert found[0] == pytest.approx(items @ vector, rel=1e-4)


def test_just_bought_items_are_not_recommended_and_strange_ones_ignored(scorer: Scorer) -> None:
    found = scorer.recommend_for(np.array([4, UNKNOWN, 4, 7], np.int32), ITEMS)
    assert set(found.items[0].tolist()) == {*range(ITEMS), NOBODY} - {4, 7}
    same = scorer.recommend_for(np.array([4, 7], np.int32), ITEMS)
    assert (found.scores == same.scores).all()


def test_somebody_of_whom_nothing_is_known_gets_what_is_popular(scorer: Scorer) -> None:
    found = scorer.recommend_for(np.array([UNKNOWN], np.int32), 2)
    assert found.known.tolist() == [False]
    assert found.items.tolist() == [[ITEMS - 1, ITEMS - 2]]


def test_factors_that_cannot_fold_in_say_that_nothing_is_known(shared: Shared) -> None:
    scorer = Factors(shared, np.ones((USERS, 1), np.float32), np.ones((ITEMS, 1), np.float32))
    assert scorer.recommend_for(np.array([8], np.int32), 1).items.tolist() == [[ITEMS - 2]]
    assert not scorer.recommend_for(np.array([8], np.int32), 1).known[0]


def test_a_folder_that_names_no_kind_holds_factors_as_in_the_first_releases(
    shared: Shared, bought: sp.csr_matrix, tmp_path: Path
) -> None:
    scorer = Factors(shared, np.ones((USERS, 1), np.float32), weights()[:, :1])
    scorer.save(tmp_path / "old", bought)
    (tmp_path / "old" / ABOUT).unlink()
    found, _ = scorers.load(tmp_path / "old")
    assert (found.score_all(codes(USERS)) == scorer.score_all(codes(USERS))).all()


def test_an_unknown_kind_is_refused_by_name(scorer: Scorer, bought: sp.csr_matrix, tmp_path: Path) -> None:
    scorer.save(tmp_path / "odd", bought)
    (tmp_path / "odd" / ABOUT).write_text('{"kind": "oracle"}')
    with pytest.raises(ValueError, match=r"'oracle'.*factors, item_to_item"):
        scorers.load(tmp_path / "odd")


def test_arrays_that_do_not_fit_together_are_refused(shared: Shared, bought: sp.csr_matrix) -> None:
    with pytest.raises(ValueError, match="weights has shape"):
        ItemToItem(shared, ALL, bought, np.ones((ITEMS, ITEMS - 1), np.float32))
    with pytest.raises(ValueError, match="user_factors has shape"):
        Factors(shared, np.ones((USERS + 1, 1), np.float32), np.ones((ITEMS, 1), np.float32))


def test_what_cannot_score_fails_the_check(shared: Shared, bought: sp.csr_matrix) -> None:
    with pytest.raises(CheckFailedError, match="not finite"):
        ItemToItem(shared, ALL, bought, np.full((ITEMS, ITEMS), np.nan, np.float32)).check("ease")
    with pytest.raises(CheckFailedError, match="all zero"):
        ItemToItem(shared, ALL, bought * np.float32(0), weights()).check("ease")
