from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import families
from steps.models.ids import IdTable
from steps.models.interactions import Interactions
from steps.models.item_knn import ItemKNN, ItemKNNSettings, blocks, largest, nearest, weighted
from steps.runtime.errors import UsageError

BOUGHT = (np.random.default_rng(0).random((60, 25)) < 0.3).astype(np.float32)


def silent(done: int, planned: int) -> None:
    """Nobody looks."""


def test_nearness_is_the_shrunk_cosine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.models.item_knn.PAIRS_AT_ONCE", 7)
    found = nearest(sp.csr_matrix(BOUGHT), 25, 4.0, silent).toarray()
    norms = np.sqrt(BOUGHT.sum(0))
    expected = BOUGHT.T @ BOUGHT / (np.outer(norms, norms) + 4.0)
    np.fill_diagonal(expected, 0)
    assert found == pytest.approx(expected, abs=1e-6)


def test_only_the_nearest_are_kept() -> None:
    everything = nearest(sp.csr_matrix(BOUGHT), 25, 0.0, silent).toarray()
    found = nearest(sp.csr_matrix(BOUGHT), 3, 0.0, silent).toarray()
    assert ((found > 0).sum(0) == 3).all()
    for item in range(25):
        kept = found[:, item] > 0
        assert everything[kept, item].min() >= everything[~kept, item].max()


def test_of_equals_the_lower_codes_are_kept() -> None:
    kept = largest(np.ones(4, np.float32), np.array([1, 3, 5, 7], np.int32), np.array([0, 4], np.int32), 2, 9)
    assert kept.indices.tolist() == [1, 3]


def test_of_equals_the_lower_codes_are_kept_in_whatever_order_they_come() -> None:
    values, columns = np.array([2, 1, 1, 3, 1, 0], np.float32), np.array([9, 7, 2, 8, 5, 1], np.int32)
    kept = largest(values, columns, np.array([0, 0, 6], np.int32), 4, 10)
    assert kept.toarray()[1].tolist() == [0, 0, 1, 0, 0, 1, 0, 0, 3, 2]
    assert kept[[0]].nnz == 0


@pytest.mark.parametrize("at_once", [1, 300, 1 << 20])
@pytest.mark.parametrize("weighting", ["cosine", "tfidf"])
def test_the_nearest_are_the_first_of_a_sorted_list(
    monkeypatch: pytest.MonkeyPatch, weighting: str, at_once: int
) -> None:
    """Of few purchases, so that many items are as near as others: which of them are kept must not be left to chance."""
    monkeypatch.setattr("steps.models.item_knn.PAIRS_AT_ONCE", at_once)
    bought = sp.csr_matrix((np.random.default_rng(5).random((30, 80)) < 0.06).astype(np.float32))
    matrix = weighted(bought, weighting)
    everything = nearest(matrix, 80, 2.0, silent).toarray()
    found = nearest(matrix, 5, 2.0, silent)
    for item in range(80):
        near = everything[:, item]
        expected = [other for other in np.lexsort((np.arange(80), -near))[:5] if near[other] > 0]
        assert found[:, [item]].nonzero()[0].tolist() == sorted(expected)
    assert found.has_sorted_indices


def test_items_are_taken_in_turn_and_popular_ones_few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.models.item_knn.PAIRS_AT_ONCE", 8)
    everybody = np.array([[1, 1, 1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0]], np.float32)
    found = blocks(sp.csr_matrix(everybody))
    assert [block.tolist() for block in found] == [[0, 1], [2, 3, 4, 5, 6, 7]]


def test_who_buys_everything_says_less() -> None:
    bought = sp.csr_matrix(np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.float32))
    for weighting in ("tfidf", "bm25"):
        found = weighted(bought, weighting).toarray()
        assert found[0, 0] < found[1, 0]
    assert (weighted(bought, "cosine").toarray() == bought.toarray()).all()


@pytest.mark.parametrize("weighting", ["cosine", "tfidf", "bm25"])
def test_the_withheld_square_of_a_checkerboard_is_found(checkerboard: Interactions, weighting: str) -> None:
    model = ItemKNN(ItemKNNSettings(weighting=weighting)).fit(checkerboard)
    found = model.recommend(np.arange(50, dtype=np.int32), 1, checkerboard.matrix)
    assert found.items[:, 0].tolist() == list(range(50))


def test_a_hundred_thousand_items_need_no_square(ids: Callable[[str, int], IdTable]) -> None:
    random = np.random.default_rng(1)
    items = IdTable.of([f"i{number:06d}" for number in range(100_000)])
    user, item = random.integers(0, 500, 20_000), random.integers(0, 100_000, 20_000)
    model = ItemKNN().fit(Interactions.of(ids("u", 500), items, user, item, np.ones(20_000)))
    assert model.scorer.weights.nnz < 100 * 100_000
    assert (model.recommend(np.arange(5, dtype=np.int32), 3).scores[:, 0] > 0).all()


@pytest.mark.parametrize("text", ["item_knn.neighbours=0", "item_knn.weighting=near", "item_knn.shrink=-1"])
def test_a_setting_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=text.partition("=")[0].replace(".", r"\.")):
        families.make("item_knn", text)
