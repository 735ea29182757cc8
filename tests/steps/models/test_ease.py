from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import families
from steps.models.ease import Ease, EaseSettings, add_together, in_runs, solve
from steps.models.ids import IdTable
from steps.models.interactions import Details, History, Interactions
from steps.runtime.errors import UsageError

Ids = Callable[[str, int], IdTable]


@pytest.fixture
def bought() -> np.ndarray:
    return (np.random.default_rng(0).random((80, 30)) < 0.3).astype(np.float32)


def interactions(ids: Ids, bought: np.ndarray, time: np.ndarray | None = None) -> Interactions:
    user, item = np.nonzero(bought)
    weight = np.ones(len(user), np.float32)
    features = sp.csr_matrix((0, 0), dtype=np.float32)
    history = History(user.astype(np.int32), item.astype(np.int32), weight, time)
    details = Details(lambda: history, lambda: features, lambda: features)
    return Interactions.of(ids("u", len(bought)), ids("i", bought.shape[1]), user, item, weight, details)


def test_the_weights_are_those_of_the_closed_form(ids: Ids, bought: np.ndarray) -> None:
    model = Ease(EaseSettings(regularization=7)).fit(interactions(ids, bought))
    inverse = np.linalg.inv(bought.T @ bought + 7 * np.eye(30))
    expected = np.eye(30) - inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert model.scorer.weights == pytest.approx(expected, abs=1e-5)


def test_many_blocks_give_what_one_gives(bought: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.models.ease.COLUMNS_AT_ONCE", 7)
    together = np.zeros((30, 30))
    add_together(together, sp.csr_matrix(bought))
    assert (together == bought.T @ bought).all()
    inverse = np.linalg.inv(together + 5 * np.eye(30))
    expected = np.eye(30) - inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert solve(together, 5.0) == pytest.approx(expected, abs=1e-5)


def test_the_withheld_square_of_a_checkerboard_is_found(checkerboard: Interactions) -> None:
    found = Ease().fit(checkerboard).recommend(np.arange(50, dtype=np.int32), 1, checkerboard.matrix)
    assert found.items[:, 0].tolist() == list(range(50))


def test_runs_follow_the_order_of_the_purchases(ids: Ids) -> None:
    bought = np.ones((2, 20))
    parts = list(in_runs(interactions(ids, bought, np.arange(40)), np.arange(20, dtype=np.int32), 0))
    assert [part.shape[0] for part in parts] == [6, 4, 2, 2]
    assert parts[0].toarray()[0].tolist() == [1] * 8 + [0] * 12
    assert parts[0].toarray()[2].tolist() == [0] * 16 + [1] * 4
    assert (parts[3].toarray() == 1).all()


def test_without_times_the_runs_are_drawn_by_the_seed(ids: Ids) -> None:
    purchases = interactions(ids, np.ones((2, 20)))
    part = np.arange(20, dtype=np.int32)
    first, again, other = (next(in_runs(purchases, part, seed)).toarray() for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).any()
    assert first.sum(1).tolist() == [8, 8, 4, 8, 8, 4]


def test_what_is_bought_near_each_other_counts_more_in_stretches(ids: Ids) -> None:
    random = np.random.default_rng(0)
    user = np.repeat(np.arange(60), 40)
    # Everybody buys all forty, always in pairs: 0 with 1, 2 with 3, …
    item = np.concatenate([(random.permutation(20)[:, None] * 2 + [0, 1]).ravel() for _ in range(60)])
    history = History(user.astype(np.int32), item.astype(np.int32), np.ones(2400, np.float32), np.arange(2400))
    nothing = sp.csr_matrix((0, 0), dtype=np.float32)
    purchases = Interactions.of(
        ids("u", 60),
        ids("i", 40),
        user,
        item,
        np.ones(2400),
        Details(lambda: history, lambda: nothing, lambda: nothing),
    )
    plain = Ease().fit(purchases).scorer.weights
    near = Ease(EaseSettings(stretches=True)).fit(purchases).scorer.weights
    assert plain[4, 5] == pytest.approx(plain[4, 6], abs=1e-4)
    assert near[4, 5] > 2 * near[4, 6]


def test_items_that_hardly_anybody_bought_take_no_part(ids: Ids, bought: np.ndarray) -> None:
    bought[:, 3] = 0
    bought[:2, 3] = 1
    scorer = Ease(EaseSettings(least_buyers=3)).fit(interactions(ids, bought)).scorer
    assert 3 not in scorer.part.tolist()
    assert (scorer.score_all(np.arange(80, dtype=np.int32))[:, 3] == 0).all()


def test_a_catalogue_that_does_not_fit_is_refused_in_a_sentence(ids: Ids, bought: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"30 items are more than ease\.most_items=29; leave it out"):
        Ease(EaseSettings(most_items=29)).fit(interactions(ids, bought))


def test_stretches_are_read_from_text() -> None:
    assert families.make("ease", "ease.stretches=true,ease.regularization=50").settings == EaseSettings(
        regularization=50, stretches=True
    )
    with pytest.raises(UsageError, match=r"ease\.stretches"):
        families.make("ease", "ease.stretches=perhaps")


@pytest.mark.parametrize(
    "text", ["ease.regularization=0", "ease.regularization=nan", "ease.least_buyers=0", "ease.most_items=0"]
)
def test_a_setting_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=text.partition("=")[0].replace(".", r"\.")):
        families.make("ease", text)
