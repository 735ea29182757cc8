from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from steps.models import families, scorers
from steps.models.als import ALS
from steps.models.evaluation import held_out, measure
from steps.models.ids import UNKNOWN, IdTable
from steps.models.interactions import Details, History, Interactions
from steps.models.networks.training import Batches
from steps.models.sequence import Sequence, SequenceSettings, examples, in_order
from steps.runtime.errors import UsageError
from steps.sources import demo

Ids = Callable[[str, int], IdTable]
QUICK = SequenceSettings(factors=32, blocks=1, length=8, epochs=6, learning_rate=0.01, batch=64)


def interactions(
    ids: Ids, users: int, items: int, user: np.ndarray, item: np.ndarray, time: np.ndarray | None, weight: float = 1.0
) -> Interactions:
    weights = np.full(len(user), weight, np.float32)
    history = History(user.astype(np.int32), item.astype(np.int32), weights, time)
    plain = Interactions.of(ids("u", users), ids("i", items), user, item, weights)
    nothing = Details(lambda: history, lambda: plain.user_features, lambda: plain.item_features)
    return Interactions(plain.users, plain.items, plain.matrix, nothing)


@pytest.fixture(scope="module")
def shop() -> tuple[Interactions, Interactions]:
    """A shop where products follow one another: all purchases but each user's last, and those."""
    made = demo.generate(demo.Options(users=500, items=60, days=365, purchases=7500, groups=3, sequences=1))
    order = np.argsort(made.user, kind="stable")
    user, item, time = made.user[order], made.item[order], np.arange(len(order))
    last = np.append(user[1:] != user[:-1], True)

    def table(letter: str, count: int) -> IdTable:
        return IdTable.of([f"{letter}{number:03d}" for number in range(count)])

    before, after = (interactions(table, 500, 60, user[part], item[part], time[part]) for part in (~last, last))
    return before, after


@pytest.fixture(scope="module")
def trained(shop: tuple[Interactions, Interactions]) -> Sequence:
    return Sequence(QUICK).fit(shop[0], seed=1)


def test_where_order_matters_it_beats_matrix_factorisation(
    shop: tuple[Interactions, Interactions], trained: Sequence
) -> None:
    before, after = shop
    held = held_out(before.matrix, after.matrix, 500, 1)
    als = measure(ALS().fit(before, 1).scorer, held, 10).mean("ndcg", 10)
    assert measure(trained.scorer, held, 10).mean("ndcg", 10) > 1.25 * als


def test_the_learning_curve_tells_of_every_epoch_and_gets_better(trained: Sequence) -> None:
    figures = [epoch.figure for epoch in trained.curve if epoch.figure is not None]
    assert len(figures) == len(trained.curve) <= QUICK.epochs
    assert max(figures) > 2 * figures[0] or figures[0] > 0.3
    assert trained.curve[-1].loss < trained.curve[0].loss


def test_somebody_who_bought_the_same_gets_the_same_and_the_order_counts(
    shop: tuple[Interactions, Interactions], trained: Sequence
) -> None:
    history = shop[0].history
    bought = history.item[history.user == 7]
    asked = np.array([7], np.int32)
    known = trained.scorer.recommend(asked, 5, shop[0].matrix[asked])
    folded = trained.scorer.recommend_for([bought], 5)
    assert folded.known.tolist() == [True]
    assert folded.items[0].tolist() == known.items[0].tolist()
    assert folded.scores == pytest.approx(known.scores, rel=1e-3)
    forth, back = (trained.scorer.recommend_for([np.array(three, np.int32)], 5) for three in ([5, 1, 9], [9, 1, 5]))
    assert forth.scores[0].tolist() != back.scores[0].tolist()


def test_of_nobody_with_known_purchases_come_popular_items(trained: Sequence) -> None:
    found = trained.scorer.recommend_for([np.array([UNKNOWN], np.int32)], 3)
    assert found.known.tolist() == [False]
    assert found.items[0, 0] == np.argmax(trained.scorer.popularity)


def test_a_saved_scorer_folds_in_as_before(
    shop: tuple[Interactions, Interactions], trained: Sequence, tmp_path: Path
) -> None:
    trained.scorer.save(tmp_path / "factors", shop[0].matrix)
    found, _ = scorers.load(tmp_path / "factors")
    three = np.array([3, 14, 15], np.int32)
    assert found.recommend_for([three], 9).items.tolist() == trained.scorer.recommend_for([three], 9).items.tolist()
    assert isinstance(found.item_factors, np.memmap)  # type: ignore[attr-defined]


def test_every_purchase_but_the_first_is_guessed_once() -> None:
    histories = [np.arange(7, dtype=np.int32), np.array([5], np.int32), np.array([2, 3], np.int32)]
    found = examples(histories, 3)
    assert found["bought"].tolist() == [[4, 5, 6], [1, 2, 3], [0, 0, 3]]
    assert found["next"].tolist() == [[5, 6, 7], [2, 3, 4], [0, 0, 4]]


def test_dislikes_are_no_purchases_and_what_has_no_order_is_shuffled(ids: Ids) -> None:
    user, item = np.repeat([0, 1], 30), np.tile(np.arange(30), 2)
    liked = interactions(ids, 2, 30, user, item, None)
    first, second = in_order(liked, 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(30))
    assert first.tolist() != list(range(30))
    assert [part.tolist() for part in in_order(liked, 1)] == [first.tolist(), second.tolist()]
    assert [len(part) for part in in_order(interactions(ids, 2, 30, user, item, None, -1.0), 1)] == [0, 0]


def test_batches_hold_every_row_once_an_epoch_in_an_order_that_follows_from_the_seed() -> None:
    rows = {"row": np.arange(10)}
    one, again = Batches(rows, 4, 5), Batches(rows, 4, 5)

    def epoch(batches: Batches) -> list[int]:
        return [int(row) for number in range(len(batches)) for row in batches[number][0]["row"]]

    first = epoch(one)
    assert first == epoch(again)
    assert sorted(first) == list(range(10))
    one.on_epoch_begin()
    assert epoch(one) != first


@pytest.mark.parametrize(
    "text",
    ["sequence.factors=0", "sequence.dropout=1", "sequence.heads=3", "sequence.epochs=0", "sequence.learning_rate=nan"],
)
def test_a_setting_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"sequence\.[a-z_]+ is"):
        families.make("sequence", text)
