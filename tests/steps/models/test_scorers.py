"""Every kind of scorer: saved and loaded, exported to TensorFlow, and asked for people whom it never saw."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import factors, scorers
from steps.models.blend import Blend
from steps.models.factors import Factors
from steps.models.fold_in import FoldIn
from steps.models.ids import UNKNOWN, IdTable
from steps.models.item_to_item import ItemToItem
from steps.models.recommender import NOBODY
from steps.models.scorer import ABOUT, Scorer, Shared, rows_of
from steps.models.signature import LOWEST
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
    assert (found.recommend_for([basket], 3).items == scorer.recommend_for([basket], 3).items).all()


def test_strangers_get_what_is_popular_without_what_is_hidden_from_each(scorer: Scorer) -> None:
    """Of one nothing is hidden, of one all, of one the best, and of one what is not among the best anyway."""
    strangers = np.array([2, UNKNOWN, 2, UNKNOWN], np.int32)
    hidden = np.zeros((4, ITEMS), np.float32)
    hidden[1], hidden[2, [8, 7, 5]], hidden[3, 0] = 1, 1, 1
    found = scorer.recommend(strangers, 4, sp.csr_matrix(hidden))
    assert found.items.tolist() == [[8, 7, 6, 5], [NOBODY] * 4, [6, 4, 3, 2], [8, 7, 6, 5]]
    expected = [[scorer.popularity[item] if item != NOBODY else LOWEST for item in row] for row in found.items]
    assert found.scores.tolist() == expected
    assert not found.known.any()
    together = scorer.recommend(
        np.append(strangers, 0).astype(np.int32), 4, sp.csr_matrix(np.vstack([hidden, hidden[:1]]))
    )
    assert together.items[:4].tolist() == found.items.tolist()
    assert scorer.recommend(strangers, ITEMS + 2).items[0].tolist() == [8, 7, 6, 5, 4, 3, 2, 1, 0, NOBODY, NOBODY]


def test_nobody_may_be_asked_for(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factors, "pays_for_one", lambda items, k: True)
    found = scorer.recommend(np.empty(0, np.int32), 3)
    assert (found.items.shape, found.scores.shape, found.known.shape) == ((0, 3), (0, 3), (0,))
    assert np.isfinite(found.calculated)


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
    found = scorer.recommend_for([bought[[3]].indices], 5)
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
    found = scorer.recommend_for([np.array([4, UNKNOWN, 4, 7], np.int32)], ITEMS)
    assert set(found.items[0].tolist()) == {*range(ITEMS), NOBODY} - {4, 7}
    same = scorer.recommend_for([np.array([4, 7], np.int32)], ITEMS)
    assert (found.scores == same.scores).all()


def test_somebody_of_whom_nothing_is_known_gets_what_is_popular(scorer: Scorer) -> None:
    found = scorer.recommend_for([np.array([UNKNOWN], np.int32)], 2)
    assert found.known.tolist() == [False]
    assert found.items.tolist() == [[ITEMS - 1, ITEMS - 2]]


def test_factors_that_cannot_fold_in_say_that_nothing_is_known(shared: Shared) -> None:
    scorer = Factors(shared, np.ones((USERS, 1), np.float32), np.ones((ITEMS, 1), np.float32))
    assert scorer.recommend_for([np.array([8], np.int32)], 1).items.tolist() == [[ITEMS - 2]]
    assert not scorer.recommend_for([np.array([8], np.int32)], 1).known[0]


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


def test_similar_items_come_nearest_first_without_the_item_itself(scorer: Scorer) -> None:
    for item in range(ITEMS):
        likeness = scorer.alike(item)
        found = scorer.similar(item, ITEMS)
        assert likeness is not None
        assert found is not None
        wanted = [other for other in np.argsort(-likeness, kind="stable") if other != item and likeness[other] > 0]
        assert [one for one in found.items[0] if one != NOBODY] == wanted
        assert found.scores[0, : len(wanted)] == pytest.approx(likeness[wanted])


def test_vectors_are_alike_by_their_angle(shared: Shared) -> None:
    vectors = np.zeros((ITEMS, 2), np.float32)
    vectors[:4] = [[1, 0], [5, 5], [0, 3], [-1, 0]]
    found = Factors(shared, np.ones((USERS, 2), np.float32), vectors).similar(0, 3)
    assert found is not None
    assert found.items.tolist() == [[1, NOBODY, NOBODY]], "at a right angle and behind, nothing is alike"
    assert found.scores[0, 0] == pytest.approx(np.sqrt(0.5))


def test_items_are_alike_by_what_a_purchase_of_the_other_says(shared: Shared, bought: sp.csr_matrix) -> None:
    matrix = np.zeros((ITEMS, ITEMS), np.float32)
    matrix[1, 0], matrix[2, 0], matrix[0, 3] = 0.5, 0.75, 1.0
    for weights in (matrix, sp.csr_matrix(matrix)):
        found = ItemToItem(shared, ALL, bought, weights).similar(0, 3)
        assert found is not None
        assert found.items.tolist() == [[2, 1, NOBODY]]
        assert found.scores[0, :2].tolist() == [0.75, 0.5]


def test_one_number_an_item_cannot_tell_what_is_alike_or_why(shared: Shared) -> None:
    popular = Factors(shared, np.ones((USERS, 1), np.float32), np.ones((ITEMS, 1), np.float32))
    assert popular.similar(0, 3) is None
    assert popular.because(0, np.array([1, 2], np.int32), 0, 3) is None


def test_the_parts_are_what_the_score_is_the_sum_of(scorer: Scorer, bought: sp.csr_matrix) -> None:
    for user in range(USERS):
        history = bought[[user]].indices
        if isinstance(scorer, Factors):  # its vectors were learned otherwise: it tells of somebody who bought the same
            scores = scorer.folded(bought[[user]])
        else:
            scores = scorer.personal(np.array([user], np.int32))
        assert scores is not None
        for item in range(ITEMS):
            parts = scorer.parts(user, history, item)
            assert parts is not None
            assert parts.shape == history.shape
            assert float(parts.sum()) == pytest.approx(float(scores[0, item]), abs=1e-4)


def test_a_purchase_that_was_not_learned_from_explains_nothing(shared: Shared) -> None:
    history = sp.csr_matrix(np.eye(USERS, ITEMS, dtype=np.float32))
    one = ItemToItem(shared, ALL, history, np.ones((ITEMS, ITEMS), np.float32))
    assert one.parts(3, np.array([1, 3, 5], np.int32), 0).tolist() == [0, 1, 0]


def test_reasons_are_shares_of_what_speaks_for_an_item(shared: Shared) -> None:
    history = np.zeros((USERS, ITEMS), np.float32)
    history[0, :5] = 1
    matrix = np.zeros((ITEMS, ITEMS), np.float32)
    matrix[:5, 8] = [0.25, 0.5, -9.0, 0.25, 0.0]
    matrix[8, 8] = 5.0
    one = ItemToItem(shared, ALL, sp.csr_matrix(history), matrix)
    asked = np.array([0, 1, 2, 3, 4, 8], np.int32)
    found = one.because(0, asked, 8, 10)
    assert found is not None
    assert found[0].tolist() == [1, 0, 3], "neither what speaks against it, nor says nothing, nor the item itself"
    assert found[1].tolist() == [0.5, 0.25, 0.25]
    first = one.because(0, asked, 8, 1)
    assert first is not None
    assert (first[0].tolist(), first[1].tolist()) == ([1], [0.5]), "the share is in all, not in what is shown"


def test_a_blend_explains_by_all_its_members(shared: Shared, bought: sp.csr_matrix) -> None:
    members = {
        "one": ItemToItem(shared, ALL, bought, weights()),
        "other": ItemToItem(shared, ALL, bought, weights().T.copy()),
    }
    blend = Blend(shared, members, {"one": 0.75, "other": 0.25})
    user = int(np.argmax(np.diff(bought.indptr)))
    history = bought[[user]].indices
    scores = blend.personal(np.array([user], np.int32))[0]
    sums = [float(np.sum(blend.parts(user, history, item))) for item in range(ITEMS)]
    # What each member's mean takes away is no purchase's part: it is the same for every item.
    assert np.array(sums) - sums[0] == pytest.approx(scores - scores[0], abs=1e-4)
    assert blend.similar(0, 3) is not None


def test_a_blend_leaves_out_members_that_cannot_tell(shared: Shared, bought: sp.csr_matrix) -> None:
    popular = Factors(shared, np.ones((USERS, 1), np.float32), np.ones((ITEMS, 1), np.float32))
    able = ItemToItem(shared, ALL, bought, weights())
    blend = Blend(shared, {"popularity": popular, "able": able}, {"popularity": 0.5, "able": 0.5})
    history = bought[[0]].indices
    mine, alone = blend.because(0, history, 5, 9), able.because(0, history, 5, 9)
    assert mine is not None
    assert alone is not None
    assert mine[0].tolist() == alone[0].tolist()
    assert mine[1] == pytest.approx(alone[1])
    assert Blend(shared, {"popularity": popular}, {"popularity": 1.0}).similar(0, 3) is None


def test_what_was_loaded_tells_alike_and_why(scorer: Scorer, bought: sp.csr_matrix, tmp_path: Path) -> None:
    scorer.save(tmp_path / "scorer", bought)
    loaded, seen = scorers.load(tmp_path / "scorer")
    for item in range(ITEMS):
        assert loaded.alike(item) == pytest.approx(scorer.alike(item), rel=1e-5, abs=1e-6)
        history = seen[[3]].indices.astype(np.int32)
        assert loaded.parts(3, history, item) == pytest.approx(scorer.parts(3, history, item), rel=1e-4, abs=1e-6)
