from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import large_pruning, one_by_one, pruning
from steps.models.compiled import matrix_unit, ranking
from steps.models.factors import Factors
from steps.models.fold_in import FoldIn
from steps.models.ids import UNKNOWN, IdTable
from steps.models.large_pruning import InFloats, InHalves, best_of_many, compiling_pays, search_of
from steps.models.one_by_one import best_one_by_one, pays_for_one
from steps.models.pruning import Found, LongestFirst, pays
from steps.models.recommender import NOBODY, Floats
from steps.models.scorer import Scorer, Shared, rows_of
from steps.models.signature import LOWEST

USERS, ITEMS, WIDTH = 1000, 3000, 8
Best = Callable[..., Found]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a thousand users are cut into many parts."""
    monkeypatch.setattr(pruning, "FIRST_ITEMS", 256)
    monkeypatch.setattr(pruning, "FIRST_OF_EACH", 4)
    monkeypatch.setattr(one_by_one, "FIRST_ITEMS", 256)
    monkeypatch.setattr(one_by_one, "FIRST_OF_EACH", 4)
    monkeypatch.setattr(pruning, "SCORES_AT_ONCE", 50_000)
    monkeypatch.setattr(pruning, "PAIRS_AT_ONCE", 100)
    monkeypatch.setattr(large_pruning, "USERS_AT_ONCE", 70)
    monkeypatch.setattr(large_pruning, "ITEMS_AT_ONCE", 128)


@pytest.fixture
def users() -> Floats:
    """Whole numbers, here and of the items: their products have no rounding, and there are ties."""
    return np.random.default_rng(0).integers(-9, 10, (USERS, WIDTH)).astype(np.float32)


@pytest.fixture
def items() -> Floats:
    """Some much longer than others, as those of a shop are."""
    random = np.random.default_rng(1)
    return np.round(random.normal(size=(ITEMS, WIDTH)) * (1 + random.pareto(1.5, (ITEMS, 1)))).astype(np.float32)


@pytest.fixture
def hidden() -> sp.csr_matrix:
    """Of most users a few items, of one all, of one all but three, and of one the first thousand."""
    random = np.random.default_rng(2)
    marked = random.random((USERS, ITEMS)) < 0.01
    marked[5], marked[6], marked[7] = True, True, np.arange(ITEMS) < 1000
    marked[6, [3, 40, 2999]] = False
    return sp.csr_matrix(marked, dtype=np.float32)


def brute_force(users: Floats, items: Floats, k: int, hidden: sp.csr_matrix | None) -> tuple[list[list[int]], Floats]:
    scores = users.astype(np.float64) @ items.T.astype(np.float64)
    if hidden is not None:
        scores[hidden.toarray() > 0] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, order, axis=1)
    return np.where(best > -np.inf, order, NOBODY).tolist(), best


@pytest.fixture(params=["by numpy", "one by one", "compiled", "by the matrix unit"])
def best(request: pytest.FixtureRequest) -> Best:
    """Every way to search."""
    return by(request.param)


@pytest.fixture(params=["compiled", "by the matrix unit"])
def best_of_everybody(request: pytest.FixtureRequest) -> Best:
    """The ways to search for very many."""
    return by(request.param)


def by(way: str) -> Best:
    if way == "by the matrix unit" and not matrix_unit.ready():
        pytest.skip("this processor has no matrix unit, or the system does not give it")

    def best(items: Floats, users: Floats, k: int, hidden: sp.csr_matrix | None, workers: int = 2) -> Found:
        all_items = LongestFirst.of(items)
        if way == "by numpy":
            return all_items.best(users, k, hidden)
        if way == "one by one":
            return best_one_by_one(all_items, users, k, hidden)
        search = InFloats(all_items) if way == "compiled" else InHalves.of(all_items)
        return best_of_many(search, users, k, hidden, workers)

    return best


@pytest.mark.parametrize("k", [1, 12, 100])
@pytest.mark.parametrize("filtered", [True, False], ids=["without what was bought", "all"])
def test_it_is_what_all_scores_in_double_precision_give(
    users: Floats, items: Floats, hidden: sp.csr_matrix, k: int, filtered: bool, best: Best
) -> None:
    chosen = hidden if filtered else None
    found = best(items, users, k, chosen)
    expected, scores = brute_force(users, items, k, chosen)
    assert found.items.tolist() == expected
    assert np.array_equal(found.scores, np.where(scores > -np.inf, scores, np.float32(LOWEST)))


def test_rounding_hides_no_item(hidden: sp.csr_matrix, best: Best) -> None:
    random = np.random.default_rng(4)
    users = random.normal(size=(USERS, 64)).astype(np.float32)
    items = (random.normal(size=(ITEMS, 64)) * random.pareto(1.5, (ITEMS, 1))).astype(np.float32)
    found = best(items, users, 12, hidden)
    _, scores = brute_force(users, items, 12, hidden)
    there = scores > -np.inf
    assert np.array_equal(found.items != NOBODY, there)
    theirs = np.einsum("uf,ukf->uk", users.astype(np.float64), items[np.maximum(found.items, 0)].astype(np.float64))
    # Of two that differ by less than the rounding either may come first.
    assert theirs[there] == pytest.approx(scores[there], rel=1e-6, abs=1e-5 * np.abs(scores[there]).max())


def test_items_that_are_nearly_alike_are_told_apart(best: Best) -> None:
    """By less than eight bits of a number hold, and by far more than is lost of floats."""
    random = np.random.default_rng(6)
    users = random.normal(size=(200, 64)).astype(np.float32)
    items = (random.normal(size=64) + 1e-3 * random.normal(size=(ITEMS, 64))).astype(np.float32)
    found = best(items, users, 12, None)
    _, scores = brute_force(users, items, 12, None)
    theirs = np.einsum("uf,ukf->uk", users.astype(np.float64), items[found.items].astype(np.float64))
    assert theirs == pytest.approx(scores, abs=2e-5)


def test_where_no_item_is_liked_the_least_disliked_are_found(items: Floats, hidden: sp.csr_matrix, best: Best) -> None:
    users = -np.random.default_rng(3).integers(1, 9, (USERS, WIDTH)).astype(np.float32)
    positive = np.abs(items) + 1
    found = best(positive, users, 12, hidden)
    assert found.items.tolist() == brute_force(users, positive, 12, hidden)[0]
    assert (found.scores < 0).all()


def test_ties_go_to_the_lower_code(users: Floats, items: Floats, best: Best) -> None:
    twins = items.copy()
    twins[2000:], twins[1200:1700] = twins[:1000], 0  # the same vectors once more, and some of nothing
    found = best(twins, users, 20, None)
    assert found.items.tolist() == brute_force(users, twins, 20, None)[0]


def test_somebody_of_whom_nothing_was_learned_gets_the_first_items(items: Floats, hidden: sp.csr_matrix) -> None:
    nothing = np.zeros((USERS, WIDTH), np.float32)
    found = LongestFirst.of(items).best(nothing[:10], 12, sp.csr_matrix(hidden[:10]))
    assert found.items.tolist() == brute_force(nothing, items, 12, hidden)[0][:10]


def test_scores_are_the_same_whoever_else_is_asked_for_and_however_many_ask(
    hidden: sp.csr_matrix, best_of_everybody: Best
) -> None:
    random = np.random.default_rng(4)
    users, items = (random.normal(size=(count, 64)).astype(np.float32) for count in (USERS, ITEMS))
    together = best_of_everybody(items, users, 12, hidden, workers=1)
    more = best_of_everybody(items, users, 12, hidden, workers=4)
    some = np.arange(0, USERS, 3)
    fewer = best_of_everybody(items, users[some], 12, sp.csr_matrix(hidden[some]))
    for one, rows in ((more, slice(None)), (fewer, some)):
        assert one.items.tobytes() == together.items[rows].tobytes()
        assert one.scores.tobytes() == together.scores[rows].tobytes()


def test_scores_are_the_same_whoever_else_is_asked_for(
    users: Floats, items: Floats, hidden: sp.csr_matrix, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest_first = LongestFirst.of(items)
    apart = [longest_first.best(users[[row]], 12, sp.csr_matrix(hidden[[row]])) for row in range(0, USERS, 50)]
    monkeypatch.setattr(pruning, "SCORES_AT_ONCE", 1 << 22)
    together = longest_first.best(users, 12, hidden)
    assert np.concatenate([one.scores for one in apart]).tobytes() == together.scores[::50].tobytes()
    assert np.concatenate([one.items for one in apart]).tolist() == together.items[::50].tolist()


def test_most_scores_are_never_calculated(users: Floats, items: Floats, best_of_everybody: Best) -> None:
    usual = LongestFirst.of(items).best(users, 12).calculated
    assert USERS * 256 < usual < 0.25 * USERS * ITEMS
    assert USERS * 128 <= best_of_everybody(items, users, 12, None).calculated < usual
    alike = items / np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1)
    assert LongestFirst.of(alike).best(users, 12).calculated > 2 * usual


def test_nobody_gets_nothing(items: Floats, best: Best) -> None:
    found = best(items, np.empty((0, WIDTH), np.float32), 12, None)
    assert (found.items.shape, found.calculated) == ((0, 12), 0)


def test_few_users_few_items_or_long_lists_are_answered_from_all_scores() -> None:
    assert pays(1000, 1024, 10)
    assert not pays(10, 1024, 10)
    assert not pays(1000, 1000, 10)
    assert not pays(1000, 1024, 100)


def test_a_model_recommends_the_same_by_both_ways(users: Floats, items: Floats, hidden: sp.csr_matrix) -> None:
    trained = np.arange(USERS) % 9 != 0
    popularity = np.random.default_rng(5).random(ITEMS).astype(np.float32)
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    scorer = Factors(Shared(*tables, trained, popularity), users, items)
    asked = np.append(np.arange(USERS - 1)[::-1], UNKNOWN).astype(np.int32)
    for marked in (hidden, None):
        found = scorer.recommend(asked, 12, marked)
        slowly = Scorer.recommend(scorer, asked, 12, marked)
        assert found.items.tolist() == slowly.items.tolist()
        assert found.scores.tolist() == slowly.scores.tolist()
        assert found.known.tolist() == slowly.known.tolist()
        assert found.calculated < 0.5
        assert slowly.calculated == 1


def test_halves_are_the_nearest_floats_with_eight_bits_and_what_is_lost_is_told() -> None:
    vectors = np.array([[1, 1 + 2**-7, 1 + 2**-8, 1 + 3 * 2**-8, -3.14159, 0]], np.float32)
    halves = matrix_unit.Halves.of(vectors)
    kept = (halves.values[:1, :6].astype(np.uint32) << 16).view(np.float32)
    assert kept.tolist() == [[1, 1 + 2**-7, 1, 1 + 2**-6, -3.140625, 0]]
    assert halves.lengths[:1] == pytest.approx(np.linalg.norm(kept))
    assert halves.lost[:1] == pytest.approx(np.linalg.norm(vectors - kept))
    assert halves.values.shape == (32, 32)
    assert not halves.values[1:].any()
    assert not halves.values[:, 6:].any()


UNIT = {"+amx-tile", "+amx-bf16"}


class Refusing:
    """A system that does not give the registers of the unit."""

    def __init__(self, name: str | None) -> None: ...

    def syscall(self, *numbers: int) -> int:
        return -1


@pytest.mark.parametrize(
    ("machine", "features", "refused"),
    [("aarch64", UNIT, False), ("x86_64", {"+avx512f"}, False), ("x86_64", UNIT, True)],
    ids=["another processor", "an older one", "not given"],
)
def test_where_there_is_no_matrix_unit_floats_are_multiplied(
    machine: str, features: set[str], refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matrix_unit.platform, "machine", lambda: machine)
    monkeypatch.setattr(matrix_unit, "compiled_for", lambda: features)
    if refused:
        monkeypatch.setattr(matrix_unit.ctypes, "CDLL", Refusing)
    items = LongestFirst.of(np.ones((3, 2), np.float32))
    matrix_unit.ready.cache_clear()
    try:
        assert not matrix_unit.ready()
        assert isinstance(search_of(items), InFloats)
        with pytest.raises(RuntimeError, match="no matrix unit"):
            InHalves.of(items)
    finally:
        matrix_unit.ready.cache_clear()


def test_a_block_of_many_is_searched_like_all_of_them(users: Floats, items: Floats) -> None:
    """What is asked for in portions must not be answered by another way in each."""
    assert not compiling_pays(100, ITEMS, WIDTH, 12)
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    scorer = Factors(Shared(*tables, np.ones(USERS, bool), np.ones(ITEMS, np.float32)), users, items)
    asked = np.arange(100, dtype=np.int32)
    few = scorer.recommend_many(asked, 12)
    assert "_search" not in vars(scorer)
    some = scorer.recommend_many(asked, 12, of=10_000_000)
    assert "_search" in vars(scorer)
    assert few.items.tolist() == some.items.tolist()
    assert few.scores.tolist() == some.scores.tolist()


def test_a_single_request_has_the_bytes_of_a_batch(hidden: sp.csr_matrix) -> None:
    random = np.random.default_rng(4)
    users, items = (random.normal(size=(count, 64)).astype(np.float32) for count in (USERS, ITEMS))
    items *= random.pareto(1.5, (ITEMS, 1)).astype(np.float32)
    batch, single = (by(way)(items, users, 12, hidden) for way in ("by numpy", "one by one"))
    assert single.items.tobytes() == batch.items.tobytes()
    assert single.scores.tobytes() == batch.scores.tobytes()


@pytest.mark.parametrize("width", [1, 3])
def test_a_list_may_be_longer_than_the_catalogue(width: int, best: Best) -> None:
    random = np.random.default_rng(6)
    users, items = (random.integers(-3, 4, (count, width)).astype(np.float32) for count in (90, 20))
    hidden = sp.csr_matrix(random.random((90, 20)) < 0.2)
    found = best(items, users, 50, hidden)
    expected, scores = brute_force(users, items, 50, hidden)
    assert found.items.shape == (90, 50)
    assert found.items[:, :20].tolist() == expected
    assert np.array_equal(found.scores[:, :20], np.where(scores > -np.inf, scores, np.float32(LOWEST)))
    assert (found.items[:, 20:] == NOBODY).all()


def test_a_request_is_answered_from_the_longest_vectors_where_there_are_many() -> None:
    assert pays_for_one(512, 12)
    assert not pays_for_one(511, 12)
    assert not pays_for_one(512, 65)


def test_a_saved_model_answers_single_requests_from_files_alone(
    users: Floats, items: Floats, hidden: sp.csr_matrix, tmp_path: Path
) -> None:
    trained = np.arange(USERS) % 9 != 0
    popularity = np.random.default_rng(5).random(ITEMS).astype(np.float32)
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    made = Factors(Shared(*tables, trained, popularity), users, items, FoldIn(2.0, 1.0, 0.5))
    made.save(tmp_path / "factors", hidden)
    scorer, seen = Factors.load(tmp_path / "factors")
    assert scorer.mapped is not None
    file = scorer.mapped.vectors.base
    assert isinstance(file, np.memmap)
    assert Path(str(file.filename)) == tmp_path / "factors" / "longest_first.vectors.npy"
    for asked in ([5], [7], [9], [UNKNOWN], [1, 9, 6, UNKNOWN], list(range(60))):
        codes = np.array(asked, np.int32)
        rows = rows_of(seen, codes)
        found, slowly = scorer.recommend(codes, 12, rows), Scorer.recommend(made, codes, 12, rows)
        assert found.items.tolist() == slowly.items.tolist()
        assert found.scores.tolist() == slowly.scores.tolist()
        assert found.known.tolist() == slowly.known.tolist()
    bought = np.array([3, UNKNOWN, 800, 3], np.int32)
    new, slowly = scorer.recommend_for([bought], 12), Scorer.recommend_for(made, [bought], 12)
    assert new.items.tolist() == slowly.items.tolist()
    assert new.scores == pytest.approx(slowly.scores, rel=1e-5)
    assert new.calculated < 0.5
    assert not scorer.recommend_for([np.array([UNKNOWN], np.int32)], 3).known[0]


def test_a_model_that_is_warm_answers_as_before(users: Floats, items: Floats, hidden: sp.csr_matrix) -> None:
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    shared = Shared(*tables, np.arange(USERS) % 9 != 0, np.random.default_rng(5).random(ITEMS).astype(np.float32))
    cold, warm = Factors(shared, users, items), Factors(shared, users, items)
    assert warm.warm_up()
    for asked in ([5], [9], [UNKNOWN], [1, 9, 6, UNKNOWN], list(range(60))):
        codes = np.array(asked, np.int32)
        rows = rows_of(hidden, codes)
        before, after = cold.recommend(codes, 12, rows), warm.recommend(codes, 12, rows)
        assert after.items.tolist() == before.items.tolist()
        assert after.scores == pytest.approx(before.scores, rel=1e-5)
        assert after.known.tolist() == before.known.tolist()


@pytest.mark.parametrize("kind", [InFloats, InHalves])
def test_how_many_ask_together_does_not_change_what_each_is_told(users: Floats, items: Floats, kind: Any) -> None:
    if kind is InHalves and not matrix_unit.ready():
        pytest.skip("this processor has no matrix unit, or the system does not give it")
    ordered = LongestFirst.of(items)
    search = InFloats(ordered) if kind is InFloats else InHalves.of(ordered)
    together = best_of_many(search, users, 12, None, workers=1)
    for count in (1, large_pruning.ALONE, large_pruning.ALONE + 1):
        found = best_of_many(search, users[:count], 12, None, workers=1)
        assert found.items.tolist() == together.items[:count].tolist()
        assert found.scores.tolist() == together.scores[:count].tolist()
        assert found.calculated < count * len(items)


def test_nothing_is_compiled_for_who_asks_a_model_that_is_warm(
    users: Floats, items: Floats, hidden: sp.csr_matrix, tmp_path: Path
) -> None:
    """Also of files, whose arrays may not be written: numba compiles a loop anew for those."""
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    popularity = np.random.default_rng(5).random(ITEMS).astype(np.float32)
    made = Factors(Shared(*tables, np.ones(USERS, bool), popularity), users, items, FoldIn(2.0, 1.0, 0.5))
    made.save(tmp_path / "factors", hidden)
    scorer, seen = Factors.load(tmp_path / "factors")
    assert scorer.warm_up()
    loops = [ranking.take_best_one_by_one, ranking.take_best_in_halves, ranking.take_best]
    before = [list(one.signatures) for one in loops]  # type: ignore[attr-defined]
    assert before[0]
    for count in (1, 2, 30):
        codes = np.arange(count, dtype=np.int32)
        for rows in (None, rows_of(seen, codes)):
            assert scorer.recommend(codes, 12, rows).known.all()
        assert scorer.recommend_for([np.array([3, code]) for code in range(count)], 12).known.all()
    assert [list(one.signatures) for one in loops] == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("warm", [False, True])
def test_baskets_of_one_turn_are_answered_as_each_alone(users: Floats, items: Floats, warm: bool) -> None:
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    popularity = np.random.default_rng(5).random(ITEMS).astype(np.float32)
    scorer = Factors(Shared(*tables, np.ones(USERS, bool), popularity), users, items, FoldIn(2.0, 1.0, 0.5))
    if warm:
        assert scorer.warm_up()
    baskets = [np.array(codes, np.int32) for codes in ([3, UNKNOWN, 800, 3], [7], [*range(40)])]
    first = [scorer.recommend_for([basket], 12).items[0, :2] for basket in baskets]
    hidden = sp.csr_matrix((np.ones(4, bool), [*first[0], *first[2]], [0, 2, 2, 4]), (3, ITEMS))
    together = scorer.recommend_for(baskets, 12, hidden)
    assert together.known.all()
    for row, basket in enumerate(baskets):
        slowly = Scorer.recommend_for(scorer, [basket], 12, hidden[[row]])
        assert together.items[row].tolist() == slowly.items[0].tolist()
        assert together.scores[row] == pytest.approx(slowly.scores[0], rel=1e-5)
        assert set(together.items[row].tolist()).isdisjoint([*basket, *hidden[[row]].indices])
    mixed = scorer.recommend_for([baskets[0], np.array([UNKNOWN], np.int32)], 12)
    assert mixed.known.tolist() == [True, False]
    assert mixed.items[1, 0] == np.argmax(popularity)


def test_a_small_catalogue_needs_no_warming_up() -> None:
    tables = [IdTable.of([f"{number:03d}" for number in range(count)]) for count in (5, 100)]
    shared = Shared(*tables, np.ones(5, bool), np.ones(100, np.float32))
    scorer = Factors(shared, np.ones((5, 3), np.float32), np.ones((100, 3), np.float32))
    assert not scorer.warm_up()


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 4096, 4097, 9000])
@pytest.mark.parametrize("asking", [1, 64, 65])
def test_tiles_follow_each_other_and_are_all_items(count: int, asking: int) -> None:
    tiles = list(large_pruning._tiles_of(count, asking))
    assert [place for tile in tiles for place in range(tile.start, tile.stop)] == list(range(count))
    assert all(tile.start % 32 == 0 and tile.start < tile.stop for tile in tiles)
    assert max(tile.stop - tile.start for tile in tiles) <= large_pruning._most_items(asking)


def test_what_is_saved_is_in_single_precision_whatever_was_given(
    users: Floats, items: Floats, hidden: sp.csr_matrix, tmp_path: Path
) -> None:
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    shared = Shared(*tables, np.ones(USERS, bool), np.ones(ITEMS, np.float32))
    double = Factors(shared, users.astype(np.float64), items.astype(np.float64))  # type: ignore[arg-type]
    double.save(tmp_path / "factors", hidden)
    scorer, _ = Factors.load(tmp_path / "factors")
    assert scorer.mapped is not None
    assert {array.dtype for array in (scorer.user_factors, scorer.item_factors, scorer.mapped.vectors)} == {
        np.dtype(np.float32)
    }


def test_a_model_without_the_sorted_vectors_answers_too(users: Floats, items: Floats, tmp_path: Path) -> None:
    tables = [IdTable.of([f"{number:04d}" for number in range(count)]) for count in (USERS, ITEMS)]
    made = Factors(Shared(*tables, np.ones(USERS, bool), np.ones(ITEMS, np.float32)), users, items)
    made.save(tmp_path / "factors", sp.csr_matrix((USERS, ITEMS)))
    for file in (tmp_path / "factors").glob("longest_first.*"):
        file.unlink()
    scorer, _ = Factors.load(tmp_path / "factors")
    one = np.array([3], np.int32)
    assert scorer.mapped is None
    assert scorer.recommend(one, 12).items.tolist() == made.recommend(one, 12).items.tolist()


def test_a_single_request_leaves_most_scores_alone(users: Floats, items: Floats) -> None:
    few = best_one_by_one(LongestFirst.of(items), users[:50], 12).calculated
    assert 50 * 256 <= few < 0.25 * 50 * ITEMS
