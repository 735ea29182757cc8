"""One suite that every model family must pass, and a blend of some; a new family joins by itself."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

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
from steps.runtime.errors import CheckFailedError, UsageError

Make = Callable[[str, str], Recommender]

SMALL = ",".join(
    [
        "als.factors=8,als.iterations=10,als.regularization=0.1",
        "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=2",
        "sequence.factors=8,sequence.blocks=1,sequence.epochs=2",
        "two_tower.factors=8,two_tower.hidden=8,two_tower.epochs=2",
    ]
)


ELSEWHERE = """
import json, sys
import tensorflow as tf
found = {}
for name in sys.argv[2:]:
    served = tf.saved_model.load(f"{sys.argv[1]}/{name}/saved_model").signatures["recommend"]
    users = [f"u{number:03d}" for number in range(50)]
    answer = served(users=tf.constant([*users, "a stranger"]), k=tf.constant(10))
    found[name] = {key: value.numpy().tolist() for key, value in answer.items() if key != "items"}
    found[name]["items"] = [[one.decode() for one in row] for row in answer["items"].numpy()]
loaded = [one for one in sys.modules if one.partition(".")[0] in ("steps", "keras_rs")]
print(json.dumps({"found": found, "loaded": loaded}))
"""
"""Run in a fresh process that knows TensorFlow and nothing of this project."""


@pytest.fixture
def model(family: str, make_model: Make) -> Recommender:
    return make_model(family, SMALL)


@pytest.fixture(scope="module")
def trained_on_checkerboard(make_model: Make, checkerboard: Interactions) -> Callable[[str], Recommender]:
    """Each family trained when it is first asked for, and for all tests once."""
    return cache(lambda name: make_model(name, SMALL).fit(checkerboard))


@pytest.fixture
def trained(family: str, trained_on_checkerboard: Callable[[str], Recommender]) -> Recommender:
    return trained_on_checkerboard(family)


@pytest.fixture(scope="module")
def folder_of(
    trained_on_checkerboard: Callable[[str], Recommender],
    checkerboard: Interactions,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Path]:
    """Where a family's model was exported to, side by side with the others."""
    root = tmp_path_factory.mktemp("exported")

    def export(name: str) -> Path:
        trained_on_checkerboard(name).export(root / name, checkerboard.matrix)
        return root / name

    return cache(export)


@pytest.fixture
def exported(family: str, folder_of: Callable[[str], Path]) -> Path:
    return folder_of(family)


@pytest.fixture(scope="module")
def elsewhere(folder_of: Callable[[str], Path]) -> dict[str, Any]:
    """What the exported models answer in a process of their own."""
    everybody = [*families.FAMILIES, families.BLEND]
    root = {folder_of(name).parent for name in everybody}.pop()
    command = [sys.executable, "-c", ELSEWHERE, str(root), *everybody]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root, env={"PATH": ""})
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def codes(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.int32)


def test_a_recommendation_has_the_promised_shapes_and_order(trained: Recommender, checkerboard: Interactions) -> None:
    found = trained.recommend(codes(4), 7)
    assert found.items.shape == found.scores.shape == (4, 7)
    assert found.items.dtype == np.int32
    assert found.scores.dtype == np.float32
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 7 for row in found.items)


def test_what_is_hidden_is_never_recommended(trained: Recommender, checkerboard: Interactions) -> None:
    found = trained.recommend(codes(50), 50, checkerboard.matrix)
    for user in range(50):
        shown = {int(item) for item in found.items[user] if item != NOBODY}
        assert shown.isdisjoint(checkerboard.matrix[[user]].indices)
        assert len(shown) == 50 - checkerboard.matrix[[user]].nnz


def test_a_row_that_runs_out_of_items_is_filled_with_nobody(trained: Recommender, checkerboard: Interactions) -> None:
    found = trained.recommend(codes(1), 60, checkerboard.matrix[[0]])
    left = 50 - checkerboard.matrix[[0]].nnz
    assert (found.items[0, left:] == NOBODY).all()
    assert (found.scores[0, left:] == np.float32(LOWEST)).all()


def test_scores_are_those_of_the_recommendation(trained: Recommender, checkerboard: Interactions) -> None:
    found = trained.recommend(np.array([3], np.int32), 5)
    scores = trained.score(np.full(5, 3, np.int32), found.items[0])
    assert scores == pytest.approx(found.scores[0], rel=1e-5)


def test_unknown_users_get_popular_items_and_say_so(model: Recommender, ids: Callable[[str, int], IdTable]) -> None:
    user, item = np.array([0, 0, 1, 1, 2]), np.array([2, 1, 2, 3, 2])
    bought = Interactions.of(ids("u", 4), ids("i", 5), user, item, np.ones(5))
    found = model.fit(bought).recommend(np.array([UNKNOWN, 3, 0], np.int32), 1)
    assert found.known.tolist() == [False, False, True]
    assert found.items[:2, 0].tolist() == [2, 2]


def test_the_same_seed_gives_the_same_model(
    checkerboard: Interactions, model: Recommender, trained: Recommender
) -> None:
    first = trained.recommend(codes(50), 10)
    second = model.fit(checkerboard).recommend(codes(50), 10)
    assert (first.items == second.items).all()
    assert (first.scores == second.scores).all()


def test_training_on_nothing_fails(model: Recommender, ids: Callable[[str, int], IdTable]) -> None:
    nothing = np.array([], np.int64)
    said = "als" if model.name == families.BLEND else model.name
    with pytest.raises(CheckFailedError, match=f"{said}: .*all zero"):
        model.fit(Interactions.of(ids("u", 3), ids("i", 3), nothing, nothing, np.array([], np.float32)))


@pytest.mark.parametrize(
    ("users", "items", "pairs"),
    [
        (1, 1, [(0, 0)]),
        (1, 3, [(0, 1)]),
        (3, 1, [(0, 0), (1, 0), (2, 0)]),
        (3, 3, [(0, 0), (1, 1), (2, 2)]),
        (3, 4, [(0, 2), (1, 2), (2, 2)]),
    ],
    ids=["one user and item", "one user", "one item", "everybody with one purchase", "everybody with the same one"],
)
def test_tiny_shops_work(
    model: Recommender, ids: Callable[[str, int], IdTable], users: int, items: int, pairs: list[tuple[int, int]]
) -> None:
    user, item = np.array(pairs).T
    found = model.fit(Interactions.of(ids("u", users), ids("i", items), user, item, np.ones(len(pairs))))
    assert np.isfinite(found.recommend(codes(users), 2).scores).all()


def test_the_export_of_a_shop_with_one_user_and_one_item_answers(
    model: Recommender, ids: Callable[[str, int], IdTable], tmp_path: Path
) -> None:
    from steps.models.quiet_tensorflow import tf

    only = np.zeros(1, np.int32)
    model.fit(Interactions.of(ids("u", 1), ids("i", 1), only, only, np.ones(1)))
    model.export(tmp_path, sp.csr_matrix((1, 1), dtype=np.float32))
    served = tf.saved_model.load(str(tmp_path / "saved_model")).signatures["recommend"]
    found = served(users=tf.constant(["u000", "a stranger"]), k=tf.constant(2))
    assert found["items"].numpy().tolist() == [[b"i000", b""]] * 2
    assert found["known"].numpy().tolist() == [True, False]
    assert np.isfinite(found["scores"].numpy()).all()


def test_a_catalogue_of_100_000_items_is_learned_from_in_seconds(
    model: Recommender, ids: Callable[[str, int], IdTable]
) -> None:
    users, items, each = 100, 100_000, 10
    # Users buy what stands near a place of their own: ten share it, and thousands of items lie between two places.
    user = np.repeat(np.arange(users), each)
    item = user % 10 * 10_000 + np.random.default_rng(1).integers(0, 20, len(user))
    table = IdTable.of([f"i{number:05d}" for number in range(items)])
    bought = Interactions.of(ids("u", users), table, user, item, np.ones(len(user)))
    began = time.process_time()
    found = model.fit(bought).recommend(codes(users), 10, bought.matrix)
    assert time.process_time() - began < 60
    assert np.isfinite(found.scores).all()
    assert found.known.all()
    assert all(set(row).isdisjoint(bought.matrix[[user]].indices) for user, row in enumerate(found.items))
    some = np.arange(0, items, 997, dtype=np.int32)
    pairs = model.scorer.pairs(np.zeros(len(some), np.int32), some)
    assert pairs == pytest.approx(model.scorer.personal(codes(1))[0, some], rel=1e-4, abs=1e-5)


def test_ease_says_in_a_sentence_how_large_a_catalogue_is_too_large(ids: Callable[[str, int], IdTable]) -> None:
    user, item = np.divmod(np.arange(300_000), 100_000)
    table = IdTable.of([f"i{number:05d}" for number in range(100_000)])
    bought = Interactions.of(ids("u", 3), table, user, item, np.ones(len(user)))
    said = "ease needs a matrix of items × items, and 100,000 items are more than ease.most_items=20000; leave it out"
    with pytest.raises(UsageError, match=re.escape(said)):
        families.make("ease").fit(bought)


def test_the_exported_model_answers_like_the_trained_one(
    trained: Recommender, exported: Path, checkerboard: Interactions
) -> None:
    from steps.models.quiet_tensorflow import tf

    served = tf.saved_model.load(str(exported / "saved_model"))
    assert sorted(served.signatures) == ["predict", "recommend"]
    users = [*checkerboard.users, "a stranger"]
    asked = np.append(codes(50), UNKNOWN).astype(np.int32)
    expected = trained.recommend(asked, 30, rows_of(checkerboard.matrix, asked))
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
    scores = trained.score(np.array([3, UNKNOWN], np.int32), np.array([4, UNKNOWN], np.int32))
    assert pairs["predictions"].numpy() == pytest.approx(scores, rel=1e-4, abs=1e-6)


def test_the_arrays_that_it_leaves_answer_alike(
    trained: Recommender, exported: Path, checkerboard: Interactions
) -> None:
    folder = next(exported / name for name in names.ARRAYS if (exported / name).is_dir())
    scorer, seen = scorers.load(folder)
    expected = trained.recommend(codes(50), 5, checkerboard.matrix)
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
    learnt = Interactions.of(ids("u", 4), ids("i", 4), user, item, weight)
    before = learnt.matrix.copy()
    fitted = model.fit(learnt)
    assert (learnt.matrix != before).nnz == 0, "the next to learn from it must find it as it was"
    found = fitted.recommend(np.array([0, 3], np.int32), 1)
    assert found.known.tolist() == [True, False]
    assert found.items[1].tolist() == [2]


def test_a_fresh_process_with_nothing_but_tensorflow_recommends_the_same(
    family: str, trained: Recommender, elsewhere: dict[str, Any], checkerboard: Interactions
) -> None:
    asked = np.append(codes(50), UNKNOWN).astype(np.int32)
    expected = trained.recommend(asked, 10, rows_of(checkerboard.matrix, asked))
    found = elsewhere["found"][family]
    assert elsewhere["loaded"] == []
    assert found["known"] == expected.known.tolist()
    assert np.array(found["scores"]) == pytest.approx(expected.scores, rel=1e-4, abs=1e-6)
    for row, items in enumerate(found["items"]):
        # The same items; only one whose score ties with another's may stand in its place.
        scores = trained.score(np.full(10, asked[row], np.int32), checkerboard.items.codes(items))
        assert scores == pytest.approx(expected.scores[row], rel=1e-4, abs=1e-5)
        assert len(set(items)) == 10


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
    trained: Recommender, checkerboard: Interactions
) -> None:
    found = trained.scorer.similar(4, 5)
    if trained.name == "popularity":
        assert found is None
        return
    assert found is not None
    shown = [int(item) for item in found.items[0] if item != NOBODY]
    assert shown
    assert 4 not in shown
    if trained.name in ("als", "ease", "item_knn", "blend"):  # the networks are trained for two passes only
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
