"""One suite that every model family must pass; a new family joins by its name in `families.FAMILIES`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from steps.artifacts import names
from steps.models import families, scorers
from steps.models.ids import UNKNOWN, IdTable
from steps.models.interactions import Interactions
from steps.models.recommender import NOBODY, Recommender
from steps.models.scorer import rows_of
from steps.models.signature import LOWEST
from steps.runtime.errors import CheckFailedError

SMALL = ",".join(
    [
        "als.factors=8,als.iterations=10,als.regularization=0.1",
        "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=2",
        "sequence.factors=8,sequence.blocks=1,sequence.epochs=2",
        "two_tower.factors=8,two_tower.hidden=8,two_tower.epochs=2",
    ]
)


@pytest.fixture(params=sorted(families.FAMILIES))
def model(request: pytest.FixtureRequest) -> Recommender:
    return families.make(request.param, SMALL)


def codes(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def test_a_recommendation_has_the_promised_shapes_and_order(model: Recommender, checkerboard: Interactions) -> None:
    found = model.fit(checkerboard).recommend(codes(4), 7)
    assert found.items.shape == found.scores.shape == (4, 7)
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 7 for row in found.items)


def test_what_is_hidden_is_never_recommended(model: Recommender, checkerboard: Interactions) -> None:
    found = model.fit(checkerboard).recommend(codes(50), 50, checkerboard.matrix)
    for user in range(50):
        shown = {int(item) for item in found.items[user] if item != NOBODY}
        assert shown.isdisjoint(checkerboard.matrix[[user]].indices)
        assert len(shown) == 50 - checkerboard.matrix[[user]].nnz


def test_a_row_that_runs_out_of_items_is_filled_with_nobody(model: Recommender, checkerboard: Interactions) -> None:
    found = model.fit(checkerboard).recommend(codes(1), 60, checkerboard.matrix[[0]])
    left = 50 - checkerboard.matrix[[0]].nnz
    assert (found.items[0, left:] == NOBODY).all()
    assert (found.scores[0, left:] == np.float32(LOWEST)).all()


def test_scores_are_those_of_the_recommendation(model: Recommender, checkerboard: Interactions) -> None:
    found = model.fit(checkerboard).recommend(np.array([3], np.int32), 5)
    scores = model.score(np.full(5, 3, np.int32), found.items[0])
    assert scores == pytest.approx(found.scores[0], rel=1e-5)


def test_unknown_users_get_popular_items_and_say_so(model: Recommender, ids: Callable[[str, int], IdTable]) -> None:
    user, item = np.array([0, 0, 1, 1, 2]), np.array([2, 1, 2, 3, 2])
    bought = Interactions.of(ids("u", 4), ids("i", 5), user, item, np.ones(5))
    found = model.fit(bought).recommend(np.array([UNKNOWN, 3, 0], np.int32), 1)
    assert found.known.tolist() == [False, False, True]
    assert found.items[:2, 0].tolist() == [2, 2]


def test_the_same_seed_gives_the_same_model(checkerboard: Interactions, model: Recommender) -> None:
    again = type(model)(model.settings)
    first = model.fit(checkerboard, seed=5).recommend(codes(50), 10)
    second = again.fit(checkerboard, seed=5).recommend(codes(50), 10)
    assert (first.items == second.items).all()
    assert (first.scores == second.scores).all()


def test_training_on_nothing_fails(model: Recommender, ids: Callable[[str, int], IdTable]) -> None:
    nothing = np.array([], np.int64)
    with pytest.raises(CheckFailedError, match=f"{model.name}: .*all zero"):
        model.fit(Interactions.of(ids("u", 3), ids("i", 3), nothing, nothing, np.array([], np.float32)))


@pytest.mark.parametrize(
    ("users", "items", "pairs"),
    [(1, 1, [(0, 0)]), (1, 3, [(0, 1)]), (3, 1, [(0, 0), (1, 0), (2, 0)]), (3, 3, [(0, 0), (1, 1), (2, 2)])],
    ids=["one user and item", "one user", "one item", "everybody with one purchase"],
)
def test_tiny_shops_work(
    model: Recommender, ids: Callable[[str, int], IdTable], users: int, items: int, pairs: list[tuple[int, int]]
) -> None:
    user, item = np.array(pairs).T
    found = model.fit(Interactions.of(ids("u", users), ids("i", items), user, item, np.ones(len(pairs))))
    assert np.isfinite(found.recommend(codes(users), 2).scores).all()


def test_the_exported_model_answers_like_the_trained_one(
    model: Recommender, checkerboard: Interactions, tmp_path: Path
) -> None:
    from steps.models.quiet_tensorflow import tf

    model.fit(checkerboard).export(tmp_path, checkerboard.matrix)
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert sorted(served.signatures) == ["predict", "recommend"]
    users = [*checkerboard.users, "a stranger"]
    asked = np.append(codes(50), UNKNOWN).astype(np.int32)
    expected = model.recommend(asked, 30, rows_of(checkerboard.matrix, asked))
    found = served.signatures["recommend"](users=tf.constant(users), k=tf.constant(30))
    ids = [["" if code == NOBODY else checkerboard.items[int(code)] for code in row] for row in expected.items]
    assert found["known"].numpy().tolist() == expected.known.tolist()
    assert found["scores"].numpy() == pytest.approx(expected.scores, rel=1e-4, abs=1e-6)
    # Items may only differ where their scores tie.
    for row, (mine, theirs) in enumerate(zip(ids, found["items"].numpy(), strict=True)):
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            if one != other.decode():
                scores = expected.scores[row]
                assert min(abs(scores[place] - np.delete(scores, place))) < 1e-5
    pairs = served.signatures["predict"](users=tf.constant(["u003", "a stranger"]), products=tf.constant(["i004", "x"]))
    scores = model.score(np.array([3, UNKNOWN], np.int32), np.array([4, UNKNOWN], np.int32))
    assert pairs["predictions"].numpy() == pytest.approx(scores, rel=1e-4, abs=1e-6)


def test_the_arrays_that_it_leaves_answer_alike(model: Recommender, checkerboard: Interactions, tmp_path: Path) -> None:
    model.fit(checkerboard).export(tmp_path, checkerboard.matrix)
    folder = next(tmp_path / name for name in names.ARRAYS if (tmp_path / name).is_dir())
    scorer, seen = scorers.load(folder)
    expected = model.recommend(codes(50), 5, checkerboard.matrix)
    found = scorer.recommend(codes(50), 5, rows_of(seen, codes(50)))
    assert (found.items == expected.items).all()
    assert found.scores == pytest.approx(expected.scores, rel=1e-6)
    assert isinstance(scorer.popularity, np.memmap)


def test_ids_with_odd_characters_survive_the_export(model: Recommender, tmp_path: Path) -> None:
    from steps.models.quiet_tensorflow import tf

    odd = sorted(["a b", 'quo"te', "new\nline", "sl/ash", "日本", "tab\t", "'"], key=str.encode)
    table = IdTable.of(odd)
    everybody = np.repeat(np.arange(7), 2)
    bought = Interactions.of(table, table, everybody, (everybody + np.tile([0, 1], 7)) % 7, np.ones(14))
    model.fit(bought).export(tmp_path, sp.csr_matrix(bought.matrix.shape, dtype=np.float32))
    served = tf.saved_model.load(str(tmp_path / "saved_model"))
    found = served.signatures["recommend"](users=tf.constant(odd), k=tf.constant(7))
    assert found["known"].numpy().all()
    assert {one.decode() for one in found["items"].numpy()[0]} == set(odd)


def test_a_user_of_whom_only_dislikes_are_known_gets_what_is_popular(
    model: Recommender, ids: Callable[[str, int], IdTable]
) -> None:
    user, item = np.array([0, 0, 1, 2, 3]), np.array([1, 2, 2, 2, 0])
    weight = np.array([1.0, 1.0, 1.0, 1.0, -1.0])
    fitted = model.fit(Interactions.of(ids("u", 4), ids("i", 4), user, item, weight))
    found = fitted.recommend(np.array([0, 3], np.int32), 1)
    assert found.known.tolist() == [True, False]
    assert found.items[1].tolist() == [2]


def test_the_exported_model_answers_alike_in_another_process(
    model: Recommender, checkerboard: Interactions, tmp_path: Path
) -> None:
    model.fit(checkerboard).export(tmp_path, checkerboard.matrix)
    code = (
        "import sys, json; from steps.models.quiet_tensorflow import tf\n"
        "served = tf.saved_model.load(sys.argv[1]).signatures['recommend']\n"
        "found = served(users=tf.constant(['u003', 'u010', 'nobody']), k=tf.constant(5))\n"
        "print(json.dumps([[one.decode() for one in row] for row in found['items'].numpy()]))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "saved_model")]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    asked = np.array([3, 10, UNKNOWN], np.int32)
    expected = model.recommend(asked, 5, rows_of(checkerboard.matrix, asked))
    for row, found in enumerate(json.loads(said)):
        # The same items; only one whose score ties with another's may stand in its place.
        scores = model.score(np.full(5, asked[row], np.int32), checkerboard.items.codes(found))
        assert scores == pytest.approx(expected.scores[row], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_the_same_seed_leaves_the_same_bytes(name: str, checkerboard: Interactions, tmp_path: Path) -> None:
    for folder in ("first", "second"):
        model = families.make(name, SMALL).fit(checkerboard, seed=5)
        model.scorer.save(tmp_path / folder, checkerboard.matrix)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()


def test_a_shop_where_everybody_bought_everything_works(model: Recommender, ids: Callable[[str, int], IdTable]) -> None:
    user, item = np.divmod(np.arange(30), 5)
    found = model.fit(Interactions.of(ids("u", 6), ids("i", 5), user, item, np.ones(30))).recommend(codes(6), 5)
    assert np.isfinite(found.scores).all()
    assert found.known.all()


def test_what_is_alike_is_liked_by_the_same_people_or_cannot_be_told(
    model: Recommender, checkerboard: Interactions
) -> None:
    scorer = model.fit(checkerboard).scorer
    found = scorer.similar(4, 5)
    if model.name == "popularity":
        assert found is None
        return
    assert found is not None
    shown = [int(item) for item in found.items[0] if item != NOBODY]
    assert shown
    assert 4 not in shown
    if model.name in ("als", "ease", "item_knn"):  # the networks are trained for two passes only
        assert all(item % 2 == 0 for item in shown)


@pytest.mark.parametrize("name", ["als", "ease", "item_knn"])
def test_a_recommendation_comes_of_purchases_of_its_own_kind(name: str, checkerboard: Interactions) -> None:
    # User 50 bought as the even ones do, and two odd items: what speaks for an even item is even.
    users, items = IdTable.of([f"u{n:03d}" for n in range(51)]), checkerboard.items
    pairs = checkerboard.matrix.tocoo()
    mixed = np.array([0, 2, 4, 6, 8, 11, 13])
    user, item = np.append(pairs.row, np.full(7, 50)), np.append(pairs.col, mixed)
    scorer = families.make(name, SMALL).fit(Interactions.of(users, items, user, item, np.ones(len(user)))).scorer
    found = scorer.because(50, mixed.astype(np.int32), 20, 10)
    assert found is not None
    assert float(found[1].sum()) == pytest.approx(1, abs=1e-5)
    even = found[0] % 2 == 0
    assert found[1][even].sum() > 0.95
    assert set(found[0][even]) == {0, 2, 4, 6, 8}
